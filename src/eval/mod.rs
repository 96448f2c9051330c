//! Exam x protocol x model: asks every question and writes a run directory.
//!
//! Guarantees that the run's bytes depend on exam, protocol, model, seed and selection alone: not
//! on batch size, nor on how often it was interrupted, nor on the number of shards. Reading replies
//! is left to `protocol`, counting to `store`. [`rescore`] reads recorded replies by other rules.

mod asking;
mod choice;
mod diverge;
mod evaluation;
pub mod rescore;

use thiserror::Error;

pub use choice::Choice;
pub use diverge::{Divergence, Parting, diverge};
pub use evaluation::{Ended, Evaluation, Progress};

use crate::{exam::QuestionId, models::ModelError, store::StoreError};

/// Why an evaluation did not end.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A chosen question is not part of the exam.
    #[error("the exam `{exam}` has no question `{id}`")]
    UnknownQuestion {
        /// The exam.
        exam: String,
        /// As given.
        id: QuestionId,
    },
    /// A chosen question must not be asked.
    #[error("question `{id}` cannot be asked: {reason}")]
    NotAskable {
        /// The question.
        id: QuestionId,
        /// Why.
        reason: String,
    },
    /// Nothing is left to ask.
    #[error("no question of `{exam}` is left to ask: {excluded} excluded, {not_run} not chosen")]
    NothingToAsk {
        /// The exam.
        exam: String,
        /// Questions that must not be asked.
        excluded: usize,
        /// Questions left out by the protocol or by choice.
        not_run: usize,
    },
    /// The model cannot do what the protocol asks for.
    #[error("`{model}` cannot {what}, which protocol `{protocol}` needs")]
    Unsupported {
        /// The model.
        model: String,
        /// The ability.
        what: &'static str,
        /// The protocol.
        protocol: String,
    },
    /// A model returned another number of answers than it was asked for.
    #[error("`{model}` returned {got} answers to {asked} requests")]
    WrongCount {
        /// The model.
        model: String,
        /// Requests made.
        asked: usize,
        /// Answers received.
        got: usize,
    },
    /// The model failed; what was answered before is kept.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The run directory cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}
