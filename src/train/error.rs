//! Why a training cannot begin or go on.

use std::path::PathBuf;

use super::{Defect, RecipeError};
use crate::{
    corpus::{EncodingError, OverlapError, RowError},
    exam::ExamError,
    llama::{CheckpointError, NetworkError, synth::SynthError, tokenizer::TokenizerError},
    lora::LoraError,
    store::StoreError,
};

/// Why a training cannot begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe is refused.
    #[error("recipe")]
    Recipe(#[from] RecipeError),
    /// A row has no tokens.
    #[error("row {row}")]
    Row {
        /// Its place in the file, from 0.
        row: usize,
        /// Why.
        source: EncodingError,
    },
    /// A row has a token that the network does not.
    #[error("row {row} has token {token}, the model's vocabulary {vocab_size} tokens")]
    Vocabulary {
        /// Its place in the file, from 0.
        row: usize,
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocab_size: usize,
    },
    /// Every weight of a model is to be trained whose weights are stored as codes.
    #[error("`{path}` holds int8 weights, of which every one is to be trained")]
    Int8Base {
        /// The model's folder.
        path: PathBuf,
    },
    /// The result is there, but no checkpoint: going on would train anew over it.
    #[error("`{path}` is the result of this training, whose checkpoints are gone")]
    Finished {
        /// The result.
        path: PathBuf,
    },
    /// Holding out the validation rows leaves none to train on.
    #[error("{rows} rows leave none to train on besides those held out")]
    NoRows {
        /// Rows of the file.
        rows: usize,
    },
    /// The recipe asks for a token that the tokenizer does not have.
    #[error("the recipe asks for {what}, which the tokenizer does not declare")]
    Token {
        /// Which.
        what: &'static str,
    },
    /// An update that would break the weights, or that learns nothing.
    #[error("step {step}: {} (rows {})", defect_text(*defect), list(rows))]
    BadStep {
        /// Its number, from 1.
        step: u64,
        /// What is wrong.
        defect: Defect,
        /// Places of its examples in the file, from 0.
        rows: Vec<usize>,
    },
    /// Every update was bad and left out: there is nothing to write.
    #[error("all {steps} updates were left out: nothing was learnt")]
    AllLeftOut {
        /// Their number.
        steps: u64,
    },
    /// The loss of the rows held out is infinite or no number.
    #[error("step {step}: the validation loss is not finite")]
    Validation {
        /// Updates gone by.
        step: u64,
    },
    /// A trained weight or a state of the optimizer broke: it is not written.
    #[error("step {step}: `{name}` holds a value that is not finite")]
    NotFinite {
        /// Updates gone by.
        step: u64,
        /// The tensor, as a checkpoint names it.
        name: String,
    },
    /// An adapter that changes nothing is no result.
    #[error("the adapter of step {step} is empty: every B is 0{}", rate_text(*rate_was_zero))]
    EmptyAdapter {
        /// The step whose weights were to be written.
        step: u64,
        /// Whether every update until then was made with a learning rate of 0.
        rate_was_zero: bool,
    },
    /// A trained weight was not reached by the loss.
    #[error("no gradient reached `{name}`")]
    NoGradient {
        /// Its name.
        name: String,
    },
    /// The tokenizer failed on a row.
    #[error("tokenizer")]
    Tokenizer(#[source] Box<TokenizerError>),
    /// The tokens of a text do not spell it: the tokenizer changes or drops characters.
    #[error("the tokens of document {row} do not spell its text")]
    Spelling {
        /// Its place, from 0.
        row: usize,
    },
    /// The network failed.
    #[error("network")]
    Network(#[from] NetworkError),
    /// The base model cannot be read.
    #[error("base model")]
    Base(#[from] CheckpointError),
    /// A base model cannot be written.
    #[error("base model")]
    Synth(#[from] SynthError),
    /// The adapter cannot be made, read or written.
    #[error("adapter")]
    Adapter(#[from] LoraError),
    /// A file of the training cannot be written or read.
    #[error("training files")]
    Store(#[from] StoreError),
    /// A file of the training does not hold what it should.
    #[error("`{path}` {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The folder belongs to another training.
    #[error("`{path}` belongs to another training: {}", differences.join("; "))]
    OtherTraining {
        /// The folder.
        path: PathBuf,
        /// In what they differ.
        differences: Vec<String>,
    },
    /// The recipe's sequences do not fit the model.
    #[error("text.max_length is {asked}, the model's context {limit}")]
    Context {
        /// Longest sequence of the recipe, in tokens.
        asked: usize,
        /// What the model holds.
        limit: usize,
    },
    /// The adapter has nothing to be put on.
    #[error("no module of the model matches lora.targets")]
    NoTarget,
    /// The rows cannot be read.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// An exam that the rows are held against cannot be read.
    #[error(transparent)]
    Exam(#[from] ExamError),
    /// Exam questions stand in the rows.
    #[error(transparent)]
    Overlap(#[from] OverlapError),
    /// The tensor library failed.
    #[error("tensor operation")]
    Tensor(#[from] candle_core::Error),
}

fn defect_text(defect: Defect) -> &'static str {
    match defect {
        Defect::NothingToLearn => "no token of the batch is learnt: every label is masked",
        Defect::LossNotFinite => "the loss is not finite",
        Defect::LossZero => "the loss is exactly 0",
        Defect::GradientNotFinite => "a gradient is not finite",
    }
}

fn rate_text(was_zero: bool) -> &'static str {
    if was_zero { ", since the learning rate was 0 until then" } else { "" }
}

/// The first ten of a list of rows.
fn list(rows: &[usize]) -> String {
    let shown: Vec<String> = rows.iter().take(10).map(ToString::to_string).collect();
    let more = rows.len().saturating_sub(10);
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
