//! The arguments of every command that runs a checkpoint.

use std::path::PathBuf;

use super::{CommandError, fetch::fetched, note::note};
use crate::{
    exam::QuestionId,
    kernels::matrix::WeightType,
    models::{
        LlamaModel, WeightFormat,
        hub::{HubSpec, Parts},
    },
    stats::Seed,
};

/// Number format to hold weights in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// Single precision
    F32,
    /// bfloat16
    Bf16,
    /// bfloat16, to which activations are rounded as well where they meet weights
    Bf16Rounded,
    /// Half precision
    F16,
    /// LLM.int8() as bitsandbytes computes it on the CPU in evaluation
    Int8,
    /// LLM.int8() with the constants and half-precision results of bitsandbytes on CUDA
    Int8Cuda,
    /// Int8 weights and float activations: bitsandbytes on the CPU in training
    Int8Dequantized,
}

impl From<Dtype> for WeightFormat {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 => Self::Bf16,
            Dtype::Bf16Rounded => Self::Bf16Rounded,
            Dtype::F16 => Self::F16,
            Dtype::Int8 => Self::Int8,
            Dtype::Int8Cuda => Self::Int8Cuda,
            Dtype::Int8Dequantized => Self::Int8Dequantized,
        }
    }
}

/// Number format to write float weights in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FloatDtype {
    /// Single precision
    F32,
    /// bfloat16
    Bf16,
    /// Half precision
    F16,
}

impl From<FloatDtype> for WeightType {
    fn from(dtype: FloatDtype) -> Self {
        match dtype {
            FloatDtype::F32 => Self::F32,
            FloatDtype::Bf16 => Self::Bf16,
            FloatDtype::F16 => Self::F16,
        }
    }
}

/// Which checkpoint, and how its weights are held.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// The checkpoint: a folder in Hugging Face's layout, or `hf:org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// A LoRA adapter to put on it: its folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// Number format to hold the weights in; activations are f32. Default: as stored
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
}

impl ModelArgs {
    /// Opens the checkpoint and says on stderr what a reader should know of it.
    pub(super) fn open(&self, progress: bool) -> Result<LlamaModel, CommandError> {
        let model = folder(&self.model, Parts::All, progress)?;
        let adapter = self.adapter.as_deref();
        let adapter = adapter.map(|name| folder(name, Parts::Adapter, progress)).transpose()?;
        let format = self.dtype.map(WeightFormat::from);
        let model = LlamaModel::open_adapted(&model, format, adapter.as_deref())
            .map_err(CommandError::input)?;
        for remark in model.notes() {
            note(format_args!("note: {remark}"));
        }
        Ok(model)
    }
}

/// Returns the folder of a model or an adapter; one on the hub is fetched, with a bar if `progress`.
pub(super) fn folder(name: &str, parts: Parts, progress: bool) -> Result<PathBuf, CommandError> {
    match HubSpec::is_meant(name) {
        true => Ok(fetched(name, parts, progress)?.dir),
        false => Ok(name.into()),
    }
}

/// Returns what [`crate::models::open`] is to open: a model on the hub is fetched, with a bar if
/// `progress`, and pinned to the commit it has now.
pub(super) fn pinned(model: &str, parts: Parts, progress: bool) -> Result<String, CommandError> {
    if !HubSpec::is_meant(model) {
        return Ok(model.to_owned());
    }
    let found = fetched(model, parts, progress)?;
    Ok(format!("hf:{}@{}", found.repository, found.commit))
}

/// Returns the seed of a single reply, as the evaluator derives it for a first attempt.
pub(super) fn sampled_seed(seed: u64, id: &QuestionId) -> Seed {
    Seed(seed).derive(&id.0, 1)
}
