//! Low-rank adapters as PEFT has them: settings, targets, arithmetic, initialisation, files.
//!
//! y = base(x) + s · B(A(x)), with A `[rank, in]` and B `[out, rank]`. Left to others: the base
//! layer, dense or int8, and dropout, which only training applies.
//!
//! Source: Hu et al. 2021, "LoRA", section 4.1; PEFT 0.21.2 (`golden/make/lora.py`).

mod config;
mod files;
mod layer;

pub use config::{Layers, LoraConfig, Targets};
pub use files::Adapter;
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
    /// A merged weight is not a number.
    #[error("the merged weight of `{0}` holds a value that is not finite")]
    NotFinite(String),
}
