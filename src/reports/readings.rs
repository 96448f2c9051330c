//! What every reading rule makes of every stored reply of a run.

use std::collections::HashMap;

use serde::Serialize;

use super::RunRecords;
use crate::{
    exam::{Letter, Question, QuestionId},
    protocol::{Reading, RuleId, read},
};

/// The readings of one run.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Ids of the rules, in the order of the characters of `codes`.
    pub rules: Vec<String>,
    /// Parallel to the run's attempts: one character a rule, see [`code`]. Empty where there was
    /// no reply to read.
    pub codes: Vec<String>,
    /// What each rule makes of the run.
    pub totals: Vec<RuleTotals>,
}

/// What one rule makes of a run, over the last reply to each question.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RuleTotals {
    /// The rule.
    pub rule: String,
    /// Replies read.
    pub replies: usize,
    /// Of these, an option was read out of the text.
    pub parsed: usize,
    /// Nothing matched, and the rule returned an option regardless.
    pub defaulted: usize,
    /// Right, by either of the two.
    pub correct: usize,
    /// Right by default alone.
    pub correct_by_default: usize,
}

impl Readings {
    /// Reads every reply of `run` by every rule there is.
    pub fn of(run: &RunRecords) -> Self {
        let questions: HashMap<&QuestionId, &Question> =
            run.questions.iter().map(|question| (&question.id, question)).collect();
        let names: Vec<String> = RuleId::ALL.map(|rule| rule.to_string()).to_vec();
        let mut totals: Vec<RuleTotals> = names
            .iter()
            .map(|rule| RuleTotals { rule: rule.clone(), ..RuleTotals::default() })
            .collect();
        let mut codes = Vec::with_capacity(run.attempts.len());
        for attempt in &run.attempts {
            let unread = !attempt.scores.is_empty() || attempt.error.is_some();
            let Some(question) = questions.get(&attempt.question_id).filter(|_| !unread) else {
                codes.push(String::new());
                continue;
            };
            let readings = RuleId::ALL
                .map(|rule| read(rule, question, &attempt.text, attempt.finish_reason).reading);
            if attempt.is_final {
                for (total, reading) in totals.iter_mut().zip(readings) {
                    total.count(reading, question.answer);
                }
            }
            codes.push(readings.map(code).iter().collect());
        }
        Self { rules: names, codes, totals }
    }
}

impl RuleTotals {
    fn count(&mut self, reading: Reading, answer: Letter) {
        self.replies += 1;
        match reading {
            Reading::Letter { letter } => {
                self.parsed += 1;
                self.correct += usize::from(letter == answer);
            }
            Reading::Default { letter } => {
                self.defaulted += 1;
                self.correct += usize::from(letter == answer);
                self.correct_by_default += usize::from(letter == answer);
            }
            _ => {}
        }
    }
}

/// Returns a reading in one character: a capital for the option read, the small letter for an
/// option returned by default, `-` for nothing.
pub fn code(reading: Reading) -> char {
    match reading {
        Reading::Letter { letter } => letter.as_char(),
        Reading::Default { letter } => letter.as_char().to_ascii_lowercase(),
        _ => '-',
    }
}
