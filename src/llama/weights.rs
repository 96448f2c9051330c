//! Which tensors a network consists of, and where their values come from.

use rayon::prelude::*;

use super::{CheckpointError, Config};
use crate::{
    kernels::matrix::WeightType,
    quant::{Arithmetic, quantize_rows},
};

/// Gives the values of named tensors, some rows at a time.
pub trait WeightSource {
    /// Appends rows `first..first + rows` of the tensor `name`, in f32, to `out`.
    ///
    /// `row_len` is the length of one row; a vector is one row.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if they cannot be read.
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError>;

    /// Appends the same rows of a matrix as int8 codes and one scale a row.
    ///
    /// Unless the source holds codes, the rows are quantised.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if they cannot be read or quantised.
    fn read_int8(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Int8Rows,
    ) -> Result<(), CheckpointError> {
        let mut values = Vec::new();
        self.read(name, row_len, first, rows, &mut values)?;
        out.quantize(name, row_len, first, &values)
    }

    /// Returns whether the source keeps this matrix in floats though its neighbours are int8.
    fn stays_float(&self, name: &str) -> bool {
        let _ = name;
        false
    }
}

/// Rows of an int8 matrix, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Int8Rows {
    /// The codes.
    pub codes: Vec<i8>,
    /// The largest magnitude of each row.
    pub scales: Vec<f32>,
}

impl Int8Rows {
    /// Appends `values: [n, row_len]`, the rows from `first` on of the tensor `name`, quantised.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::NotFinite`] if one is infinite in half precision or no number.
    pub fn quantize(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        values: &[f32],
    ) -> Result<(), CheckpointError> {
        check_finite(name, values, row_len, first, WeightType::F16)?;
        let quantized = quantize_rows(values, values.len() / row_len, row_len);
        let (codes, scales) =
            quantized.map_err(|source| CheckpointError::Int8 { name: name.to_owned(), source })?;
        self.codes.extend(codes);
        self.scales.extend(scales);
        Ok(())
    }
}

/// How a network holds its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hold {
    /// Packed in this format, without gradients.
    Frozen(WeightType),
    /// The linear layers of the blocks in LLM.int8(), without gradients; embedding, output matrix,
    /// norms and what the source keeps in floats as [`Hold::Frozen`].
    Int8 {
        /// Format of what stays in floats.
        floats: WeightType,
        /// Whose arithmetic the layers follow.
        arithmetic: Arithmetic,
        /// Magnitude from which an activation is an outlier; 0 for none.
        threshold: f32,
    },
    /// As f32 variables that take gradients.
    Trainable,
}

/// Refuses the first value that is no number in the format asked for.
pub(super) fn check_finite(
    name: &str,
    values: &[f32],
    row_len: usize,
    first_row: usize,
    weight_type: WeightType,
) -> Result<(), CheckpointError> {
    let limit = overflow(weight_type);
    let is_wrong = |value: &f32| value.is_nan() || value.abs() >= limit;
    // Whole pieces first, on all threads and without a branch a value.
    let is_fine =
        |piece: &[f32]| piece.iter().fold(true, |fine, value| fine & (value.abs() < limit));
    if values.par_chunks(1 << 14).all(is_fine) {
        return Ok(());
    }
    match values.iter().position(is_wrong) {
        None => Ok(()),
        Some(at) => Err(CheckpointError::NotFinite {
            name: name.to_owned(),
            row: first_row + at / row_len,
            column: at % row_len,
            value: if values[at].is_finite() {
                format!("{}, too large for {weight_type:?}", values[at])
            } else {
                values[at].to_string()
            },
        }),
    }
}

/// Returns the least magnitude whose nearest value of a format is infinite.
fn overflow(weight_type: WeightType) -> f32 {
    match weight_type {
        WeightType::F32 => f32::INFINITY,
        // Half a step above the largest number, which ends in ones: the tie goes to infinity.
        WeightType::F16 => 65_520.0,
        WeightType::Bf16 | WeightType::Bf16Rounded => f32::from_bits(0x7f7f_8000),
    }
}

/// Returns the nearest value of a format, ties to even.
pub(super) fn rounded(value: f32, weight_type: WeightType) -> f32 {
    match weight_type {
        WeightType::F32 => value,
        WeightType::F16 => half::f16::from_f32(value).to_f32(),
        WeightType::Bf16 | WeightType::Bf16Rounded => half::bf16::from_f32(value).to_f32(),
    }
}

/// Returns every tensor of a network with its shape, in the order of the forward pass.
///
/// Names are those of Hugging Face checkpoints; a tied output matrix is left out.
pub fn expected_tensors(config: &Config) -> Vec<(String, Vec<usize>)> {
    let d = config.hidden_size;
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let mut tensors = vec![(EMBEDDING.to_owned(), vec![config.vocab_size, d])];
    for layer in 0..config.layers {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight", &[d]);
        for (name, outputs, inputs, bias) in [
            ("self_attn.q_proj", q, d, config.bias.qkv),
            ("self_attn.k_proj", kv, d, config.bias.qkv),
            ("self_attn.v_proj", kv, d, config.bias.qkv),
            ("self_attn.o_proj", d, q, config.bias.out),
        ] {
            add_linear(&mut add, name, outputs, inputs, bias);
        }
        add("post_attention_layernorm.weight", &[d]);
        let inner = config.intermediate_size;
        for (name, outputs, inputs) in
            [("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d), ("mlp.down_proj", d, inner)]
        {
            add_linear(&mut add, name, outputs, inputs, config.bias.mlp);
        }
    }
    tensors.push((NORM.to_owned(), vec![d]));
    if !config.tied {
        tensors.push((HEAD.to_owned(), vec![config.vocab_size, d]));
    }
    tensors
}

fn add_linear(
    add: &mut impl FnMut(&str, &[usize]),
    name: &str,
    outputs: usize,
    inputs: usize,
    bias: bool,
) {
    add(&format!("{name}.weight"), &[outputs, inputs]);
    if bias {
        add(&format!("{name}.bias"), &[outputs]);
    }
}

/// The embedding's name.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The last norm's name.
pub(super) const NORM: &str = "model.norm.weight";
/// The output matrix's name.
pub(crate) const HEAD: &str = "lm_head.weight";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_refused_from_the_first_that_its_format_rounds_to_infinity() {
        for weight_type in [WeightType::F32, WeightType::F16, WeightType::Bf16] {
            let limit = overflow(weight_type).to_bits();
            for bits in limit - 3..=limit {
                for value in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    let mut values = vec![0.5; 40_000];
                    values[39_990] = value;
                    let found = check_finite("w", &values, 1000, 7, weight_type);
                    assert_eq!(found.is_ok(), rounded(value, weight_type).is_finite(), "{value}");
                    if let Err(error) = found {
                        let place = matches!(
                            error,
                            CheckpointError::NotFinite { row: 46, column: 990, .. }
                        );
                        assert!(place, "{error}");
                    }
                }
            }
            assert!(check_finite("w", &[f32::NAN], 1, 0, weight_type).is_err());
        }
    }
}
