//! The memory that a training will need at its peak, before it is begun.
//!
//! Counted from what the parts hold: weights as they are packed, what is trained with its gradient
//! and states, the activations that the gradients of a block need, and a piece of logits. The report of
//! a training shows it beside the measured peak.

use super::{BaseFormat, OptimizerKind, Recipe};
use crate::{
    kernels::matrix::WeightType,
    llama::{Config, EMBEDDING, expected_tensors},
    lora::{EMBEDDING_MODULE, HEAD_MODULE, LoraConfig},
};

/// Bytes of memory by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Estimate {
    /// Weights that are not trained.
    pub frozen: u64,
    /// Weights that are trained, f32.
    pub trained: u64,
    /// Their gradients.
    pub gradients: u64,
    /// The optimizer's states.
    pub states: u64,
    /// Activations kept for the gradients, and those of the block at work.
    pub activations: u64,
    /// Pieces of logits and gradients of matrices that come and go.
    pub scratch: u64,
    /// The rows, as text and as tokens with labels.
    pub rows: u64,
}

/// Memory of the program before it has read anything: measured on stories260k, what its trainings
/// held beyond the rest of the estimate.
const PROGRAM: u64 = 24 << 20;

impl Estimate {
    /// Returns the sum.
    pub fn total(&self) -> u64 {
        self.frozen
            + self.trained
            + self.gradients
            + self.states
            + self.activations
            + self.scratch
            + self.rows
            + PROGRAM
    }
}

/// How much is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trainable {
    /// Elements.
    pub elements: u64,
    /// Inputs of the widest adapted module; 0 without an adapter.
    pub widest_input: u64,
    /// Elements of embedding and output matrix where an adapter stands beside them: PEFT's adapter
    /// then holds them in full.
    pub copied: u64,
    /// Whether an adapter stands beside the output matrix.
    pub adapts_head: bool,
}

/// Returns how much is trained; `None` if the adapter names no module.
pub fn trainable(config: &Config, lora: Option<&LoraConfig>) -> Option<Trainable> {
    let tensors = expected_tensors(config);
    let Some(lora) = lora else {
        let all = tensors.iter().map(|(_, shape)| elements(shape)).sum();
        return Some(Trainable { elements: all, ..Trainable::default() });
    };
    let (tokens, width) = (config.vocab_size, config.hidden_size);
    let embedding = [width, tokens];
    let mut linears: Vec<(&str, &[usize])> = tensors
        .iter()
        .filter(|(name, shape)| name.starts_with("model.layers.") && shape.len() == 2)
        .filter_map(|(name, shape)| Some((name.strip_suffix(".weight")?, &**shape)))
        .collect();
    linears.extend([(EMBEDDING_MODULE, &embedding[..]), (HEAD_MODULE, &embedding[..])]);
    let names: Vec<&str> = linears.iter().map(|(name, _)| *name).collect();
    let chosen = lora.select(&names).ok()?;
    let chosen = linears.iter().filter(|(name, _)| chosen.contains(name));
    let mut found = Trainable::default();
    for (name, shape) in chosen {
        found.elements += (lora.rank(name).ok()? * (shape[0] + shape[1])) as u64;
        found.adapts_head |= *name == HEAD_MODULE;
        if [EMBEDDING_MODULE, HEAD_MODULE].contains(name) {
            found.copied += elements(shape);
            continue;
        }
        found.widest_input = found.widest_input.max(shape[1] as u64);
    }
    Some(found)
}

fn elements(shape: &[usize]) -> u64 {
    shape.iter().map(|n| *n as u64).product()
}

/// Returns the memory for micro-batches of at most `tokens` tokens and validation batches of at most
/// `validation`, besides that of the rows.
///
/// Validation holds one block at a time. `stored` is the widest format of the checkpoint's tensors.
pub fn estimate(
    config: &Config,
    recipe: &Recipe,
    Trainable { elements: trained, widest_input, copied, adapts_head }: Trainable,
    stored: WeightType,
    tokens: usize,
    validation: usize,
) -> Estimate {
    let tensors = expected_tensors(config);
    let all: u64 = tensors.iter().map(|(_, shape)| elements(shape)).sum();
    let linear: u64 = tensors
        .iter()
        .filter(|(name, shape)| name.starts_with("model.layers.") && shape.len() == 2)
        .map(|(_, shape)| elements(shape))
        .sum();
    let width = match recipe.weights.base {
        BaseFormat::F32 => 4,
        // Beside the codes floats stay as they are stored.
        BaseFormat::Int8 | BaseFormat::Int8Dequantized => stored.bytes() as u64,
        BaseFormat::Bf16 | BaseFormat::Bf16Rounded | BaseFormat::F16 | BaseFormat::Int8Rounded => 2,
    };
    let full = recipe.lora.is_none();
    let frozen = match recipe.weights.base {
        _ if full => 0,
        // A code a weight; embedding and output matrix in floats.
        BaseFormat::Int8 | BaseFormat::Int8Rounded | BaseFormat::Int8Dequantized => {
            linear + (all - linear) * width
        }
        _ => all * width,
    };
    // In f32, once for the products and once for the adapter's file.
    let frozen = frozen + 8 * copied;
    let states = match recipe.optimizer.kind {
        OptimizerKind::AdamW => 8 * trained,
        // Two codes a weight and two scales a block of 256; the embedding's in f32.
        OptimizerKind::AdamW8bit => {
            let embedding = tensors.iter().find(|(name, _)| full && name == EMBEDDING);
            let single = embedding.map_or(0, |(_, shape)| elements(shape));
            8 * single + (trained - single) * 65 / 32
        }
    };
    let size = |n: usize| n as u64;
    let (d, inner) = (size(config.hidden_size), size(config.intermediate_size));
    let (q, kv) = (size(config.heads * config.head_dim), size(config.kv_heads * config.head_dim));
    // What the backward of one block reads a token, in floats: the input of each operation.
    let layers = size(config.layers);
    let block = 4 * d + 2 * q + 2 * kv + 3 * inner;
    let (tokens, validation) = (size(tokens), size(validation));
    let kept = if recipe.weights.recompute { layers * d + block } else { layers * block };
    // Gradients within the block at work, of the widest operations; an adapter's input has one of its
    // own, before and behind the dropout.
    let working = 2 * d + 2 * inner + 2 * widest_input;
    let training = 4 * tokens * (kept + working + 2 * d);
    // An adapter is copied once for its file, when the activations are gone.
    let copy = if full { 0 } else { 4 * trained };
    let activations = training.max(4 * validation * (block + 2 * d)).max(copy);
    let largest = tensors.iter().map(|(_, shape)| elements(shape)).max().unwrap_or(0);
    let vocabulary = size(config.vocab_size);
    // The gradient of a piece of logits stands in its place, and the output matrix's product beside it.
    let piece = |tokens: u64| 4 * (tokens * vocabulary).min(1 << 22);
    // A branch beside the output matrix adds its own to them.
    let branch = if adapts_head { 2 } else { 0 };
    let logits = (2 + branch) * piece(tokens.max(validation));
    // The gradient of a matrix stands beside the sum that it is added to.
    let added = if full && recipe.batch.accumulation > 1 { 4 * largest } else { 0 };
    let scratch = logits + added;
    Estimate {
        frozen,
        trained: 4 * trained,
        gradients: 4 * trained,
        states,
        activations,
        scratch,
        rows: 0,
    }
}
