//! The versioned contract between an exam and a number: prompt, decoding, reading rule, denominator.
//!
//! A [`Protocol`] is a TOML file in `golden/protocols/`; its [`Protocol::sha256`] is the digest of
//! that file and is printed beside every number it made. A reply goes in as text, a [`Reading`]
//! comes out, and [`Outcome`] is what the ledger counts. A changed reading is a new protocol.

mod argmax;
mod contract;
mod prompt;
mod repetition;
mod rules;
mod strict;

use serde::{Deserialize, Serialize};

use crate::exam::Letter;
pub use argmax::{Normalisation, Score, argmax};
pub use contract::{
    AskAgain, Attempts, Continuation, Decoding, Denominator, Protocol, ProtocolError, ReadingRule,
};
pub use prompt::PromptTemplate;
pub use repetition::{Repetition, repetition};
pub use rules::{RuleId, RuleReading, read};
pub use strict::{StrictReading, read_strict};

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model emitted an end token.
    EndOfText,
    /// A stop string of the protocol was met.
    StopString,
    /// The limit of new tokens was reached.
    Length,
    /// Nothing was generated: the options were scored by log-likelihood.
    Scored,
    /// A recorded answer that does not say.
    Unknown,
}

/// Why no option could be read out of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// No visible character.
    Empty,
    /// Not of the form the protocol asked for.
    NoForm,
    /// A letter without its option's text.
    LetterOnly,
    /// A letter that the question does not offer.
    LetterNotOffered,
    /// A letter with the text of another option.
    TextOfAnotherOption,
    /// A letter with a text that is no option's.
    TextOfNoOption,
    /// Cut off by the token limit inside the answer.
    Truncated,
    /// One token repeated to the end.
    Degenerate,
    /// The rule would ask again, and no attempt is left.
    RetriesSpent,
}

/// What a rule reads in one reply. Total: every reply has exactly one reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Reading {
    /// The reply names this option.
    Letter {
        /// An offered letter.
        letter: Letter,
    },
    /// Nothing matched and the rule returns this option regardless.
    Default {
        /// What the rule falls back to.
        letter: Letter,
    },
    /// No option can be read.
    Unparsed {
        /// Why.
        reason: Reason,
    },
}

impl Reading {
    /// Returns the option counted, a silent default included; `None` if none was read.
    pub fn letter(self) -> Option<Letter> {
        match self {
            Self::Letter { letter } | Self::Default { letter } => Some(letter),
            Self::Unparsed { .. } => None,
        }
    }

    /// Returns what the ledger counts where `gold` is the right option.
    pub fn outcome(self, gold: Letter) -> Outcome {
        match self {
            Self::Letter { letter } | Self::Default { letter } if letter == gold => {
                Outcome::Correct
            }
            Self::Letter { .. } | Self::Default { .. } => Outcome::Wrong,
            Self::Unparsed { reason } => Outcome::Unparsed { reason },
        }
    }
}

/// What the ledger counts for one question. Exactly one per question asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Outcome {
    /// The option read is the right one.
    Correct,
    /// Another option was read.
    Wrong,
    /// No option was read.
    Unparsed {
        /// Why.
        reason: Reason,
    },
    /// The model gave no reply; the attempt's `error` says why.
    Errored,
}

/// How tokens are picked. Neutral values leave a filter off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Whether the most likely token is always taken; the fields below are then unused.
    pub greedy: bool,
    /// Softmax temperature, > 0.
    pub temperature: f64,
    /// Keep the `k` most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of tokens with this mass; 1 keeps all.
    pub top_p: f64,
    /// Upper bound on new tokens.
    pub max_new_tokens: usize,
    /// Strings that end a completion; none of them is part of the text.
    pub stop: Vec<String>,
    /// Seed of the run.
    pub seed: u64,
    /// What stands before the prompt's first token.
    pub bos: Bos,
}

/// What stands before the first token of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bos {
    /// Nothing.
    None,
    /// Whatever the model's own tokenizer configuration says.
    Model,
    /// This token id.
    Id(u32),
}
