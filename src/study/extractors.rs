//! What each published rule reads in the same replies: the extractor matrix, computed here.

use serde::{Deserialize, Serialize};

use crate::{
    exam::{Choice, Letter, Question, QuestionId},
    protocol::{FinishReason, Reading, Reason, RuleId, read},
};

const EMBEDDED: &str = include_str!("../../golden/replies/extractor_matrix.toml");

/// The matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExtractorMatrix {
    /// Ids of the rules, one a column.
    pub rules: Vec<String>,
    /// One a reply.
    pub rows: Vec<ExtractorRow>,
}

/// One reply under every rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExtractorRow {
    /// The reply.
    pub reply: String,
    /// One a rule: the character that counts; `retry` where the rule asks again; `none`.
    pub picked: Vec<String>,
    /// One a rule: whether nothing matched and the rule answers regardless.
    pub by_default: Vec<bool>,
    /// Number of different letters that the rules read.
    pub letters: usize,
}

#[derive(Deserialize)]
struct Golden {
    rules: Vec<RuleId>,
    row: Vec<GoldenRow>,
}

#[derive(Deserialize)]
struct GoldenRow {
    reply: String,
}

impl ExtractorMatrix {
    /// Reads every reply of the golden table by every rule of it, for a question with the options
    /// A to E.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn compute() -> Self {
        let golden: Golden =
            toml::from_str(EMBEDDED).expect("the embedded table is read by a test");
        let question = question();
        let row = |GoldenRow { reply }: GoldenRow| {
            let readings: Vec<_> = golden
                .rules
                .iter()
                .map(|rule| read(*rule, &question, &reply, FinishReason::EndOfText))
                .collect();
            let mut letters: Vec<char> =
                readings.iter().filter_map(|reading| reading.picked).collect();
            letters.sort_unstable();
            letters.dedup();
            ExtractorRow {
                reply,
                picked: readings
                    .iter()
                    .map(|reading| match (reading.picked, reading.reading) {
                        (Some(picked), _) => picked.to_string(),
                        (None, Reading::Unparsed { reason: Reason::RetriesSpent }) => {
                            "retry".into()
                        }
                        (None, _) => "none".into(),
                    })
                    .collect(),
                by_default: readings
                    .iter()
                    .map(|reading| matches!(reading.reading, Reading::Default { .. }))
                    .collect(),
                letters: letters.len(),
            }
        };
        let rows = golden.row.into_iter().map(row).collect();
        Self { rules: golden.rules.iter().map(ToString::to_string).collect(), rows }
    }
}

fn question() -> Question {
    let texts = ["Amoxicillin", "Penicillin", "Doxycycline", "Vancomycin", "Gentamicin"];
    let options = texts.iter().enumerate().filter_map(|(index, text)| {
        Some(Choice { letter: Letter::from_index(index)?, text: (*text).to_owned() })
    });
    Question {
        id: QuestionId("matrix".into()),
        step: None,
        text: String::new(),
        options: options.collect(),
        answer: Letter::from_char('B').expect("B is a capital"),
        has_image: false,
        source: "matrix".into(),
    }
}
