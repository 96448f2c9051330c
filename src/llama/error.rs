//! Why a network cannot be built or run.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::quant::QuantError;

/// Why a `config.json` cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a JSON object.
    #[error("not a JSON object")]
    Json(#[source] serde_json::Error),
    /// A field without a documented default is absent.
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    /// A field asks for something this network does not compute, or has the wrong type.
    #[error("`{field}` is {value}: {why}")]
    Unsupported {
        /// The field.
        field: String,
        /// Its value, as JSON.
        value: String,
        /// What would be possible.
        why: &'static str,
    },
}

/// Why a checkpoint's weights cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be opened or read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds no weights in a known layout.
    #[error(
        "`{0}` holds none of model.safetensors, model.safetensors.index.json, pytorch_model.bin, \
         pytorch_model.bin.index.json"
    )]
    NoWeights(PathBuf),
    /// `config.json` cannot be used.
    #[error("config.json")]
    Config(#[from] ConfigError),
    /// A JSON file beside the weights cannot be used.
    #[error("`{path}` is malformed: {why}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The weights' file does not follow its format.
    #[error("`{path}` is damaged or hostile: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A pickle names something other than the pieces of a tensor; nothing was executed.
    #[error("`{path}` holds more than tensors: it names `{global}`")]
    NotOnlyTensors {
        /// The file.
        path: PathBuf,
        /// Module and name that loading would have called.
        global: String,
    },
    /// The network needs a tensor that is not there.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor that the network has no place for.
    #[error("tensor `{0}` belongs to no part of this network")]
    ExtraTensor(String),
    /// A tensor of another shape than the configuration says.
    #[error("tensor `{name}` has shape {got:?}, config.json says {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// By the configuration.
        expected: Vec<usize>,
        /// In the file.
        got: Vec<usize>,
    },
    /// A tensor in a number format that is not read.
    #[error("tensor `{name}` is stored as {dtype}; F32, F16 and BF16 are read")]
    Dtype {
        /// The tensor.
        name: String,
        /// As the file names it.
        dtype: String,
    },
    /// An int8 matrix where `config.json` has floats, or the other way round.
    #[error("tensor `{name}` is stored as {dtype}, but {why}")]
    NotAsQuantized {
        /// The tensor.
        name: String,
        /// As the file names it.
        dtype: String,
        /// What it contradicts.
        why: &'static str,
    },
    /// A scale of an int8 matrix that cannot be one.
    #[error("tensor `{name}` holds {value} at row {row}; a scale is a number of at least 0")]
    Scale {
        /// The tensor.
        name: String,
        /// The first such row.
        row: usize,
        /// What it holds.
        value: String,
    },
    /// An int8 matrix in another layout than rows.
    #[error("`{name}` is {value}; int8 matrices are read in rows (0)")]
    WeightFormat {
        /// The tensor that names the layout.
        name: String,
        /// What it says.
        value: String,
    },
    /// A tensor with a value that is no number, or too large for the format asked for.
    #[error("tensor `{name}` holds {value} at row {row}, column {column}")]
    NotFinite {
        /// The tensor.
        name: String,
        /// Row of the first such value.
        row: usize,
        /// Its column.
        column: usize,
        /// What it holds.
        value: String,
    },
    /// A matrix that cannot be held as int8.
    #[error("tensor `{name}` as int8")]
    Int8 {
        /// The tensor.
        name: String,
        /// Why.
        source: QuantError,
    },
    /// An adapter's settings or tensors cannot be used.
    #[error(transparent)]
    Adapter(#[from] crate::lora::LoraError),
    /// `lm_head.weight` differs from the embedding although the configuration ties them.
    #[error("tie_word_embeddings is true, but `lm_head.weight` differs from the embedding")]
    NotTied,
}

/// Why a forward pass failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// A sequence would grow beyond the context.
    #[error("a sequence of {got} tokens does not fit the context of {limit}")]
    ContextExceeded {
        /// Length it would have.
        got: usize,
        /// Context length in tokens.
        limit: usize,
    },
    /// A token the vocabulary does not have.
    #[error("token {token} is not in the vocabulary of {vocab_size}")]
    Token {
        /// The token's id.
        token: u32,
        /// Number of tokens.
        vocab_size: usize,
    },
    /// An adapter does not fit.
    #[error("the adapter does not fit the network")]
    Adapter(#[from] crate::lora::LoraError),
    /// The tensor library failed.
    #[error("tensor operation")]
    Tensor(#[from] candle_core::Error),
}
