//! The two rules of MedAlpaca's author.

use super::{RuleReading, python_strip};
use crate::{exam::Question, protocol::Reason};

/// The retry rule behind the paper's table.
///
/// Everything but ASCII letters and digits comes off both ends. What is left must be a capital,
/// then nothing, `:` or `.`, then a blank and at least one more character on the same line; else the
/// script asks again, here [`Reason::RetriesSpent`]. So `A 45-year-old man` is A, `I think` is I
/// (accepted, not asked again), and a bare `B` is refused.
///
/// Source: kbressem/medAlpaca 05fa7d5, `eval/eval_usmle.py`, `strip_special_chars` and
/// `starts_with_capital_letter`. Scoring the first letter is inferred from issue 33.
pub(super) fn medalpaca(question: &Question, reply: &str) -> RuleReading {
    let reply = reply.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let mut chars = reply.chars();
    let Some(first) = chars.next().filter(char::is_ascii_uppercase) else {
        return RuleReading::nothing(Reason::RetriesSpent);
    };
    let rest = chars.as_str();
    let rest = rest.strip_prefix([':', '.']).unwrap_or(rest);
    match rest.strip_prefix(' ') {
        Some(text) if !text.is_empty() && !text.starts_with('\n') => {
            RuleReading::picked(question, first)
        }
        _ => RuleReading::nothing(Reason::RetriesSpent),
    }
}

/// The first character of the reply, with no check of the form: `Beta-lactam` is B.
///
/// Source: kbressem/medAlpaca 47a979e, `eval/eval_models.ipynb`, `answer0.startswith(correct)`;
/// `eval/inferer.py` has stripped the reply.
pub(super) fn startswith(question: &Question, reply: &str) -> RuleReading {
    match python_strip(reply).chars().next() {
        Some(first) => RuleReading::picked(question, first),
        None => RuleReading::nothing(Reason::Empty),
    }
}
