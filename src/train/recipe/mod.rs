//! A training as data: every setting in a TOML file, each with where it is from.
//!
//! Reading is strict: an unknown key, a missing one or a value out of its range is refused by name.
//! The recipes of `benchmarks/recipes` are part of the program ([`Recipe::named`]).

mod check;
mod difference;
mod named;

pub use difference::Difference;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{AdamW, Era, Normalisation, Padding, Remainder, ScheduleKind, Validation};
use crate::{corpus::Template, lora::Targets};

/// A whole training, but for the model and the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name, e.g. `medalpaca-7b-lora-8bit-2023`.
    pub name: String,
    /// One sentence.
    pub about: String,
    /// Recipe whose differences are shown; none for a reproduction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<String>,
    /// What is trained.
    pub weights: Weights,
    /// The adapter; none trains every weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<Lora>,
    /// From row to tokens.
    pub text: Text,
    /// Which rows in which order.
    pub data: Data,
    /// Rows of an update.
    pub batch: Batching,
    /// How an update is made.
    pub optimizer: Optimization,
    /// The learning rate over the updates.
    pub schedule: Rate,
    /// What is written when.
    pub run: Run,
    /// Where each value is from, or why it is so, by `table.key`.
    pub sources: BTreeMap<String, String>,
}

/// How the base model's weights are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BaseFormat {
    /// Single precision.
    F32,
    /// bfloat16; activations and gradients are multiplied as they are.
    Bf16,
    /// bfloat16, to which activations and gradients are rounded as well where they meet weights.
    Bf16Rounded,
    /// Half precision.
    F16,
    /// int8 codes with a scale a row; gradients are multiplied as they are. LLM.int8()'s forward pass,
    /// with which the scripts of 2023 trained on CUDA: activations are quantised, outliers are not.
    /// With [`Padding`] outlier columns are those of any token of the micro-batch, padding included,
    /// as in bitsandbytes; without, those of each row by itself, as in evaluation.
    Int8,
    /// The same, with gradients rounded to bf16 where they meet weights.
    Int8Rounded,
    /// The same codes, but activations are multiplied as they are, as bitsandbytes trains on the CPU
    /// since 0.47.
    Int8Dequantized,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// How the base model is held; what is trained is f32 always.
    pub base: BaseFormat,
    /// Whether the activations of a block are computed again for its gradients, not kept.
    pub recompute: bool,
}

/// The adapter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rank.
    pub rank: usize,
    /// Numerator of the scaling alpha / rank.
    pub alpha: f64,
    /// Probability that an input of the adapter is dropped.
    pub dropout: f64,
    /// Modules by the ends of their names, a pattern, or `all-linear`.
    pub targets: Targets,
    /// Seed of the first values.
    pub seed: u64,
}

/// What ends an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// The token that the tokenizer declares.
    Tokenizer,
    /// Nothing.
    None,
    /// This id, whatever the tokenizer says.
    Id(u32),
}

/// What opens a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Begin {
    /// The BOS that the tokenizer declares, or nothing.
    Declared(bool),
    /// This id, whatever the tokenizer says.
    Id {
        /// The id.
        id: u32,
    },
}

/// From row to tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// Prompt format.
    pub template: Template,
    /// Longest sequence in tokens.
    pub max_length: usize,
    /// What opens it: `true` for the tokenizer's BOS, `false` for nothing, `{ id = 0 }` for that id.
    pub bos: Begin,
    /// What ends it.
    pub end: End,
    /// Whether the prompt's tokens are learnt too.
    pub train_on_inputs: bool,
    /// Whether special tokens written in a row (`</s>`) are those tokens, as in transformers; text where
    /// it is not said, as in recipes before it could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<bool>,
}

/// Which rows in which order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Rows held out: a number, or a share below 1.
    pub validation: Validation,
    /// Seed of split, order and dropout.
    pub seed: u64,
    /// Whose order is followed.
    pub order: Era,
    /// Whether rows of similar length are batched together.
    pub group_by_length: bool,
}

/// Rows of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batching {
    /// Rows of a micro-batch.
    pub micro: usize,
    /// Micro-batches of an update.
    pub accumulation: usize,
    /// How losses are weighted.
    pub normalisation: Normalisation,
    /// What an epoch's end does with an unfilled update.
    pub remainder: Remainder,
    /// Whether its rows are padded, and what of that enters the loss.
    pub padding: Padding,
}

/// The optimizers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerKind {
    /// f32 states, as torch.
    #[serde(rename = "adamw")]
    AdamW,
    /// 8-bit states, as bitsandbytes.
    #[serde(rename = "adamw-8bit")]
    AdamW8bit,
}

/// How an update is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimization {
    /// Which.
    pub kind: OptimizerKind,
    /// Highest learning rate.
    pub rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the rate by which weights, not norms and biases, shrink.
    pub weight_decay: f64,
    /// Largest norm of all gradients together; 0 for no limit.
    pub max_norm: f64,
}

impl Optimization {
    /// Returns AdamW's settings.
    pub fn adamw(&self) -> AdamW {
        let Self { beta1, beta2, eps, weight_decay, .. } = *self;
        AdamW { beta1, beta2, eps, weight_decay }
    }
}

/// The learning rate over the updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Its shape.
    pub shape: ScheduleKind,
    /// Updates of linear rise; below 1 a share of all updates, rounded up.
    pub warmup: f64,
    /// Passes over the rows.
    pub epochs: f64,
    /// Updates to make whatever the epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u64>,
}

impl Rate {
    /// Returns the updates of linear rise in a training of `total`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked on reading"
    )]
    pub fn warmup_updates(&self, total: u64) -> u64 {
        let updates = if self.warmup < 1.0 { self.warmup * total as f64 } else { self.warmup };
        updates.ceil() as u64
    }
}

/// What to do about a loss or gradient that is no number, or with nothing to learn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnBadStep {
    /// Stop with the step and its examples.
    Stop,
    /// Leave the update out, count it and go on.
    Skip,
}

/// What is written when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Updates between validations; 0 for one at the end alone. There is one at the end besides, but
    /// in the order of 2023: its Trainer had none, and the best of MedAlpaca's 205 updates on the
    /// small file was the one of update 200 whatever the last five did.
    ///
    /// Source: transformers 4.28.1, `DefaultFlowCallback`, which evaluates at multiples of
    /// `eval_steps` alone.
    pub eval_every: u64,
    /// Updates between checkpoints; 0 for none before the end.
    pub save_every: u64,
    /// Checkpoints kept besides the best, and besides what each of them calls the best; at least 1.
    pub keep: usize,
    /// Whether the result is the checkpoint of lowest validation loss, not the last.
    pub keep_best: bool,
    /// Validations without a new best that end the training; 0 for never.
    pub patience: usize,
    /// What to do about a bad update.
    pub on_bad_step: OnBadStep,
}

/// Why a recipe is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no recipe: not TOML, a key unknown or missing, a wrong type.
    #[error("`{name}` is no recipe")]
    Malformed {
        /// The file or name.
        name: String,
        /// Line, key and reason.
        source: Box<toml::de::Error>,
    },
    /// A value out of its range, or one that contradicts another.
    #[error("`{key}` {problem}")]
    Value {
        /// The setting, as `table.key`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No recipe of this name is part of the program.
    #[error("no recipe `{name}`; there are {}", Recipe::names().collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
}
