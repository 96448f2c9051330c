//! Low-rank adapters as PEFT has them: settings, targets, arithmetic, initialisation, files.
//!
//! y = base(x) + s · B(A(dropout(x))), with A `[rank, in]` and B `[out, rank]`. [`Branch`] is that
//! inside a network, [`LowRank`] the plain definition it is checked against. Left to others: the
//! base layer, dense or int8, and which layers a network has.
//!
//! Source: Hu et al. 2021, "LoRA", section 4.1; PEFT 0.21.2 (`golden/make/lora.py`).

mod branch;
mod config;
mod dropout;
mod fields;
mod files;
mod initial;
mod layer;
mod merge;
mod norms;
mod product;
mod sum;
mod targets;

pub use branch::{Attach, BaseLayer, BaseRows, Branch};
pub use config::{Initial, LoraConfig, OneOrMany, Patterns, Targets, TrainedBias};
pub use dropout::Draw;
use files::Part;
pub use files::{Adapter, NamedTensor, Whole};
pub use initial::{Target, initialize};
pub use layer::{Gradients, LowRank};
pub use merge::Merger;
pub use product::{LowRankGradients, LowRankProduct};
pub use sum::sum;

use std::path::PathBuf;

use crate::kernels::matrix::{Matrix, WeightType};

/// The embedding's module.
pub const EMBEDDING_MODULE: &str = "model.embed_tokens";
/// The output matrix's module.
pub const HEAD_MODULE: &str = "lm_head";

fn packed(values: &[f32], outputs: usize, inputs: usize) -> Matrix {
    let mut matrix = Matrix::zeros(WeightType::F32, outputs, inputs);
    matrix.set_rows(0, values);
    matrix
}

fn unpacked(matrix: &Matrix) -> Vec<f32> {
    let mut values = vec![0.0; matrix.outputs() * matrix.inputs()];
    for (row, out) in values.chunks_mut(matrix.inputs()).enumerate() {
        matrix.row(row, out);
    }
    values
}

/// Why an adapter cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoraError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `adapter_config.json` is malformed.
    #[error("{}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The weights' file is malformed.
    #[error("{}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// Why.
        source: safetensors::SafeTensorError,
    },
    /// A setting that this program does not compute.
    #[error("`{0}` is not supported")]
    Unsupported(String),
    /// The settings do not say what kind of adapter it is.
    #[error("`peft_type` is missing: these are no settings of an adapter")]
    NoType,
    /// The adapter was trained beside a base whose weights had been changed.
    #[error(
        "`init_lora_weights` is {0}: the adapter belongs to a base whose weights were changed \
         when it began, and that base is not stored; convert it with PEFT's \
         `path_initial_model_for_weight_conversion` first"
    )]
    ChangedBase(String),
    /// Two settings that PEFT does not allow together.
    #[error("`{0}` does not go with {1}")]
    Conflict(&'static str, &'static str),
    /// A value that makes no sense.
    #[error("`{field}` is {value}")]
    Value {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
    },
    /// A pattern is no regular expression that is understood.
    #[error("pattern `{pattern}`")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        source: Box<regex::Error>,
    },
    /// No module of the model is named by the settings.
    #[error("no module matches the target modules")]
    NoTarget,
    /// The file holds no adapter: what scripts wrote that filtered the weights twice.
    #[error(
        "{} holds no adapter weights (443 bytes of nothing are what saving twice through a replaced \
         `state_dict` leaves, empty tensors what saving shards that were not gathered leaves); the \
         adapter was lost when it was saved", path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A tensor is missing, unknown or of a wrong shape or format.
    #[error("tensor `{name}` {what}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong.
        what: &'static str,
    },
    /// The settings name a module that the file has no matrices for.
    #[error(
        "the settings name `{0}`, but the adapter holds no matrices for it: it was not saved whole, \
         or is for another network"
    )]
    MissingModule(String),
    /// The file has matrices for a module that the settings do not name, or the network lacks.
    #[error(
        "the adapter holds matrices for `{0}`, which its settings do not name or the network lacks"
    )]
    ExtraModule(String),
    /// A module of another size than the network's.
    #[error("`{module}` has {} outputs and {} inputs, the adapter's matrices are for {} and {}",
        expected[0], expected[1], got[0], got[1])]
    Shape {
        /// The module.
        module: String,
        /// Outputs and inputs of the network's.
        expected: [usize; 2],
        /// Outputs and inputs of the adapter's.
        got: [usize; 2],
    },
    /// A tensor that replaces one of the base, which its settings do not name or the network lacks.
    #[error("the adapter holds `{0}` in full, which its settings do not name or the network lacks")]
    ExtraTensor(String),
    /// A tensor that the settings say is trained whole is not in the file.
    #[error("the settings say that `{0}` is trained whole, but the adapter does not hold it")]
    MissingTensor(String),
    /// A tensor that replaces one of the base has another shape.
    #[error("`{name}` is {expected:?} in the network, {got:?} in the adapter")]
    WholeShape {
        /// The tensor, by its name in a checkpoint.
        name: String,
        /// The network's.
        expected: Vec<usize>,
        /// The adapter's.
        got: Vec<usize>,
    },
    /// The vocabulary was enlarged, but only half of what that needs was saved.
    #[error(
        "the adapter enlarges the vocabulary to {rows} tokens but does not hold `{missing}` in full: \
         what the new rows of the base were is lost"
    )]
    Enlarged {
        /// Tokens.
        rows: usize,
        /// The tensor.
        missing: &'static str,
    },
    /// The network has an adapter already.
    #[error("the network has an adapter already")]
    Attached,
    /// A merged weight is not a number.
    #[error("the merged weight of `{0}` holds a value that is not finite")]
    NotFinite(String),
}
