//! Rules that are one pattern and its first match: simple-evals and MMLU-Pro.

use std::sync::LazyLock;

use regex::Regex;

use super::{RuleReading, unread};
use crate::exam::Question;

/// Reads the first `Answer: X`, in any case, with `$` allowed before the letter; A to D by design.
///
/// A small letter is found and then compared with the capital, so it never counts.
///
/// Source: openai/simple-evals ee3b031, `common.py`, `ANSWER_PATTERN_MULTICHOICE`, as `gpqa_eval.py`
/// uses it.
pub(super) fn simple_evals(question: &Question, reply: &str) -> RuleReading {
    static ANSWER: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)answer[ \t]*:[ \t]*\$?([A-D])").expect("a constant pattern")
    });
    first_letter(&ANSWER, question, reply)
}

/// Reads the first `answer is X` or `answer is (X`; A to J by design.
///
/// Source: TIGER-AI-Lab/MMLU-Pro f418b11, `compute_accuracy.py`, the first of its two levels. The
/// replies recorded there in 2024 were read by this level alone; later versions search on.
pub(super) fn mmlu_pro(question: &Question, reply: &str) -> RuleReading {
    static ANSWER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"answer is \(?([A-J])").expect("a constant pattern"));
    first_letter(&ANSWER, question, reply)
}

fn first_letter(pattern: &Regex, question: &Question, reply: &str) -> RuleReading {
    let found = pattern.captures(reply).and_then(|found| found.get(1)?.as_str().chars().next());
    found.map_or_else(|| unread(reply), |letter| RuleReading::picked(question, letter))
}
