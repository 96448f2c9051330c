//! Rules under which the reply must be the letter and nothing more: lm-eval and HELM.

use super::{RuleReading, python_strip, unread};
use crate::exam::Question;

/// Reads the first line, which must be one of the letters once ASCII punctuation and case are gone:
/// `b`, `(B)`, `**B.**`, but not `B. Penicillin`.
///
/// White space at both ends of the line goes before the punctuation does, so `( B )` is not read.
/// The task has four options; here the line is compared with every offered letter.
///
/// Source: lm_eval 0.4.13, `tasks/mmlu/generative/_default_template_yaml` (its filters, and
/// `exact_match` with `ignore_case` and `ignore_punctuation`).
pub(super) fn lm_eval_generative(question: &Question, reply: &str) -> RuleReading {
    let line = python_strip(reply.split('\n').next().unwrap_or_default());
    // numpy holds the line without NULs at its end.
    let line = line.trim_end_matches('\0').to_lowercase();
    let bare: String = line.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let is_bare = |letter: char| bare.len() == 1 && bare.starts_with(letter.to_ascii_lowercase());
    let mut letters = question.options.iter().map(|choice| choice.letter.as_char());
    match letters.find(|letter| is_bare(*letter)) {
        Some(letter) => RuleReading::picked(question, letter),
        None => unread(reply),
    }
}

/// Reads the whole reply, stripped of white space, which must be one of the letters.
///
/// Source: stanford-crfm/helm 63754d0, `benchmark/metrics/evaluate_reference_metrics.py`: the reply
/// is looked up in the output mapping of `multiple_choice_joint`; MedHELM's multiple-choice
/// scenarios are scored so.
pub(super) fn helm_joint(question: &Question, reply: &str) -> RuleReading {
    let text = python_strip(reply);
    let mut letters = question.options.iter().map(|choice| choice.letter.as_char());
    match letters.find(|letter| text.len() == 1 && text.starts_with(*letter)) {
        Some(letter) => RuleReading::picked(question, letter),
        None => unread(reply),
    }
}
