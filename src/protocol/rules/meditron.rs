//! Meditron's rule: the first letter or digit of the reply, if it is a to e.

use super::RuleReading;
use crate::{exam::Question, protocol::Reason};

/// Reads the first ASCII letter or digit, in lower case: `Beta` is b, `Answer: B` is a.
///
/// If the reply holds a heading on its own line (`\n##`), only the rest of that line counts. F and
/// later letters are never read: a to e is the source's list.
///
/// Source: epfLLM/meditron a7c7cda, `evaluation/evaluate.py`, `eval` and `clean_mcq_answer` with
/// `answer_type="mcq"`, no examples and no chain of thought, as for MedQA. Its `accuracy` counts an
/// unread reply as wrong; its `accuracy_calibrate` leaves them out.
pub(super) fn meditron(question: &Question, reply: &str) -> RuleReading {
    let lower = reply.to_lowercase();
    let text = match lower.split("\n##").nth(1) {
        Some(heading) => heading.split('\n').next().unwrap_or_default(),
        None => &lower,
    };
    match text.chars().find(char::is_ascii_alphanumeric) {
        Some(first @ 'a'..='e') => RuleReading::picked(question, first.to_ascii_uppercase()),
        Some(_) => RuleReading::nothing(Reason::NoForm),
        None => RuleReading::nothing(Reason::Empty),
    }
}
