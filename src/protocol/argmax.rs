//! The reading rule of log-likelihood protocols: the option with the highest score is the answer.

use serde::{Deserialize, Serialize};

use super::{Reading, Reason};
use crate::exam::Letter;

/// What a sum of log-probabilities is divided by before options are compared.
///
/// Lengths are those of the letter or option text without the blank before it, as in
/// lm-evaluation-harness 0.4.13 (`lm_eval/api/task.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalisation {
    /// Nothing; lm-eval's `acc`.
    Sum,
    /// The number of tokens scored.
    PerToken,
    /// The number of Unicode code points; lm-eval's `acc_norm`.
    PerCharacter,
    /// The number of UTF-8 bytes; lm-eval's `acc_bytes`.
    PerByte,
}

/// The log-likelihood of one option's continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The option.
    pub letter: Letter,
    /// Sum of natural-log probabilities over the continuation's tokens.
    pub log_prob: f64,
    /// Number of those tokens.
    pub tokens: usize,
}

impl Normalisation {
    /// Returns what is compared: `log_prob` over the length of `scored`, which is the letter or the
    /// option's text. A length of 0 divides as IEEE 754 does.
    pub fn apply(self, log_prob: f64, tokens: usize, scored: &str) -> f64 {
        match self {
            Self::Sum => log_prob,
            Self::PerToken => log_prob / tokens as f64,
            Self::PerCharacter => log_prob / scored.chars().count() as f64,
            Self::PerByte => log_prob / scored.len() as f64,
        }
    }
}

/// Reads the option with the highest value; ties go to the option that comes first.
///
/// Without options the reading is [`Reason::Empty`]; with a value that is not a number, which no
/// comparison can rank, [`Reason::Degenerate`].
///
/// # Examples
///
/// ```
/// use medharness::{exam::Letter, protocol::{argmax, Reading}};
/// let [a, b] = ['A', 'B'].map(|letter| Letter::from_char(letter).expect("a capital"));
/// assert_eq!(argmax([(a, -3.5), (b, -1.25)]), Reading::Letter { letter: b });
/// assert_eq!(argmax([(a, -3.5), (b, -3.5)]), Reading::Letter { letter: a });
/// ```
pub fn argmax(options: impl IntoIterator<Item = (Letter, f64)>) -> Reading {
    let mut best: Option<(Letter, f64)> = None;
    for (letter, value) in options {
        if value.is_nan() {
            return Reading::Unparsed { reason: Reason::Degenerate };
        }
        if best.is_none_or(|(_, highest)| value > highest) {
            best = Some((letter, value));
        }
    }
    match best {
        Some((letter, _)) => Reading::Letter { letter },
        None => Reading::Unparsed { reason: Reason::Empty },
    }
}
