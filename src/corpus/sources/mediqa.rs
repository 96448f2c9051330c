//! MEDIQA 2019, task 3: questions with answers, each scored by a reference.
//!
//! Scores are 4 excellent, 3 correct but incomplete, 2 related, 1 incorrect (A. Ben Abacha et al.,
//! BioNLP 2019). Only answers that are at least correct are learnt from.

use std::path::Path;

use super::{
    Reject, Sink, SourceError,
    xml::{Part, Xml},
};

#[derive(Default)]
struct Answer {
    id: String,
    score: Option<String>,
    text: String,
}

/// Reads the answers whose reference score is at least `min_score`.
pub(super) fn read(path: &Path, min_score: i64, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let mut xml = Xml::open(path, &["AID", "ReferenceScore"])?;
    let (mut question, mut answer) = (String::new(), Answer::default());
    let mut inside = Vec::new();
    while let Some(part) = xml.next()? {
        match part {
            Part::Start(name, attributes) => {
                let mut attributes = attributes.into_iter();
                match name.as_str() {
                    "Question" => question.clear(),
                    "Answer" => {
                        answer = Answer::default();
                        for (key, value) in attributes.by_ref() {
                            match key.as_str() {
                                "AID" => answer.id = value,
                                _ => answer.score = Some(value),
                            }
                        }
                    }
                    _ => {}
                }
                inside.push(name);
            }
            // Text of an element inside it, such as `<i>`, is its text too.
            Part::Text(text) => {
                let within = |name: &str| inside.iter().any(|open| open == name);
                if within("AnswerText") {
                    answer.text.push_str(&text);
                } else if within("QuestionText") {
                    question.push_str(&text);
                }
            }
            Part::End(name) => {
                inside.pop();
                if name == "Answer" {
                    match answer.score.as_deref().map(str::parse::<i64>) {
                        None => sink.reject(Reject::NotScored),
                        Some(Err(_)) => sink.reject(Reject::Malformed),
                        Some(Ok(score)) if score < min_score => sink.reject(Reject::LowScore),
                        Some(Ok(_)) => sink.row(&*answer.id, &question, &answer.text),
                    }
                }
            }
        }
    }
    Ok(())
}
