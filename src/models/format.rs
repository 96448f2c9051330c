//! How a checkpoint's weights are held, by one name for every command and file.

use serde::Deserialize;

use crate::{
    kernels::matrix::WeightType,
    llama::{Checkpoint, Hold},
    quant::{Arithmetic, OUTLIER_THRESHOLD},
};

/// Number format to hold a checkpoint's weights in; its name is `f32`, `int8-cuda` and so on.
///
/// In the int8 formats the linear layers of the blocks are int8; embedding, output matrix and norms
/// stay in the floats they are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightFormat {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16; activations are multiplied as they are.
    Bf16,
    /// bfloat16, to which activations are rounded as well where they meet weights.
    Bf16Rounded,
    /// LLM.int8() as bitsandbytes computes it on the CPU in evaluation.
    Int8,
    /// LLM.int8() with the constants and half-precision results of bitsandbytes on CUDA.
    Int8Cuda,
    /// Int8 weights, dequantised before each product: bitsandbytes on the CPU in training.
    Int8Dequantized,
}

impl WeightFormat {
    /// Returns how to hold this checkpoint's weights; `None` is as they are stored.
    pub fn hold(format: Option<Self>, checkpoint: &Checkpoint) -> Hold {
        let stored = checkpoint.widest_type();
        let int8 = |arithmetic| Hold::Int8 {
            floats: stored,
            arithmetic,
            threshold: checkpoint.outlier_threshold(),
        };
        match format {
            None if checkpoint.is_int8() => int8(Arithmetic::CpuEval),
            None => Hold::Frozen(stored),
            Some(Self::F32) => Hold::Frozen(WeightType::F32),
            Some(Self::F16) => Hold::Frozen(WeightType::F16),
            Some(Self::Bf16) => Hold::Frozen(WeightType::Bf16),
            Some(Self::Bf16Rounded) => Hold::Frozen(WeightType::Bf16Rounded),
            Some(Self::Int8) => int8(Arithmetic::CpuEval),
            Some(Self::Int8Cuda) => int8(Arithmetic::Cuda),
            Some(Self::Int8Dequantized) => int8(Arithmetic::CpuTrain),
        }
    }
}

/// Returns the name of a way to hold weights in run records: `bf16`, or `int8-cpu-eval+bf16` where
/// the second is the format of what is not int8.
pub(super) fn name(hold: Hold) -> String {
    let float = |weight_type| match weight_type {
        WeightType::F32 => "f32",
        WeightType::F16 => "f16",
        WeightType::Bf16 => "bf16",
        WeightType::Bf16Rounded => "bf16-rounded",
    };
    match hold {
        Hold::Frozen(weight_type) => float(weight_type).into(),
        Hold::Trainable => "f32".into(),
        Hold::Int8 { floats, arithmetic, threshold } => {
            let usual = threshold.to_bits() == OUTLIER_THRESHOLD.to_bits();
            let threshold = if usual { String::new() } else { format!("-outliers-{threshold}") };
            format!("int8-{}{threshold}+{}", arithmetic.name(), float(floats))
        }
    }
}
