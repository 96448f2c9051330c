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
mod files;
mod layer;

pub use branch::{Attach, BaseLayer, Branch};
pub use config::{Layers, LoraConfig, Targets};
pub use dropout::Draw;
pub use files::Adapter;
use files::parameter_name;
pub use layer::{Gradients, LowRank, initialize};

use std::path::PathBuf;

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
         `state_dict` leaves); the adapter was lost when it was saved", path.display()
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
    /// A merged weight is not a number.
    #[error("the merged weight of `{0}` holds a value that is not finite")]
    NotFinite(String),
}
