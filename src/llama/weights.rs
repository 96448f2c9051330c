//! Which tensors a network consists of, and where their values come from.

use super::{CheckpointError, Config};
use crate::kernels::matrix::WeightType;

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
}

/// How a network holds its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Packed in this format, without gradients.
    Frozen(WeightType),
    /// As f32 variables that take gradients.
    Trainable,
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
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The last norm's name.
pub(super) const NORM: &str = "model.norm.weight";
/// The output matrix's name.
pub(super) const HEAD: &str = "lm_head.weight";
