//! Stack Exchange: `Posts.xml` of a site's dump, one `<row …/>` a post.
//!
//! Read twice: first for which questions have an answer with enough votes, then for the texts. So
//! memory holds only questions that still wait for such an answer.

use std::{collections::HashMap, path::Path};

use super::{
    Reject, Sink, SourceError,
    html::{self, TooDeep},
    xml::{Part, Xml},
};

const QUESTION: &str = "1";
const ANSWER: &str = "2";

/// A question, and how many answers are still to come.
struct Question {
    text: Option<Result<String, TooDeep>>,
    waiting: usize,
}

/// Reads answers with at least `min_votes`, each with its question: title, blank line, body.
pub(super) fn read(path: &Path, min_votes: i64, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let mut questions = wanted(path, min_votes)?;
    let mut early: Vec<(String, String, Result<String, TooDeep>)> = Vec::new();
    let names = ["Id", "PostTypeId", "ParentId", "Score", "Title", "Body"];
    let mut xml = Xml::open(path, &names)?;
    while let Some(part) = xml.next()? {
        let Part::Start(name, post) = part else { continue };
        if name != "row" {
            continue;
        }
        let get = |name: &str| {
            post.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
        };
        match get("PostTypeId") {
            QUESTION => {
                if let Some(question) = questions.get_mut(get("Id")) {
                    let body = html::text(get("Body"));
                    question.text = Some(body.map(|body| format!("{}\n\n{body}", get("Title"))));
                }
            }
            ANSWER => {
                let Ok(score) = get("Score").parse::<i64>() else {
                    sink.reject(Reject::Malformed);
                    continue;
                };
                if score < min_votes {
                    sink.reject(Reject::LowScore);
                    continue;
                }
                let (id, parent) = (get("Id"), get("ParentId"));
                let answer = html::text(get("Body"));
                if questions.get(parent).is_some_and(|question| question.text.is_some()) {
                    join(&mut questions, parent, id, answer, sink);
                } else {
                    // Merged questions can be younger than their answers.
                    early.push((id.to_owned(), parent.to_owned(), answer));
                }
            }
            _ => sink.reject(Reject::OtherPost),
        }
    }
    for (id, parent, answer) in early {
        join(&mut questions, &parent, &id, answer, sink);
    }
    Ok(())
}

/// Makes a row, and forgets a question whose last answer this was.
fn join(
    questions: &mut HashMap<String, Question>,
    parent: &str,
    id: &str,
    answer: Result<String, TooDeep>,
    sink: &mut Sink<'_>,
) {
    let question = questions.get_mut(parent);
    let Some((question, text)) = question.and_then(|q| Some((q.text.clone()?, q))) else {
        return sink.reject(Reject::Orphan);
    };
    match question.and_then(|question| Ok((question, answer?))) {
        Ok((question, answer)) => sink.row(id, &question, &answer),
        Err(TooDeep) => sink.reject(Reject::TooDeep),
    }
    text.waiting = text.waiting.saturating_sub(1);
    if text.waiting == 0 {
        questions.remove(parent);
    }
}

/// The questions that have answers with enough votes.
fn wanted(path: &Path, min_votes: i64) -> Result<HashMap<String, Question>, SourceError> {
    let mut questions: HashMap<String, Question> = HashMap::new();
    let mut xml = Xml::open(path, &["PostTypeId", "ParentId", "Score"])?;
    while let Some(part) = xml.next()? {
        let Part::Start(_, post) = part else { continue };
        let get = |name: &str| post.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let score = get("Score").and_then(|score| score.parse::<i64>().ok());
        let is_answer = get("PostTypeId").is_some_and(|kind| kind == ANSWER);
        if is_answer
            && score.is_some_and(|score| score >= min_votes)
            && let Some(parent) = get("ParentId")
        {
            let question = Question { text: None, waiting: 0 };
            questions.entry(parent.clone()).or_insert(question).waiting += 1;
        }
    }
    Ok(questions)
}
