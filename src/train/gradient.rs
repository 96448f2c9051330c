//! The gradient of a micro-batch, block by block from the last to the first.
//!
//! What a block's backward needs is freed as soon as the gradient has passed the block; with
//! [`Recompute::Blocks`] it is computed only then, from the block's input. Either way the same
//! operations run on the same values: the bits are equal. Nothing is computed below the first block
//! with a trained weight.

use std::collections::{BTreeMap, HashMap};

use candle_core::TensorId;
use rayon::prelude::*;

use super::{MicroBatch, global_norm, loss::cross_entropy};
use crate::{
    llama::{KeptBlock, Llama, NetworkError, Receiver, Stages, ops},
    lora::Draw,
};

/// Which activations are kept for the gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recompute {
    /// All of them.
    Nothing,
    /// The input of each block; the rest is computed again.
    Blocks,
}

/// Gradients of all trained weights, summed over micro-batches.
#[derive(Debug)]
pub struct Gradients {
    places: HashMap<TensorId, usize>,
    /// In the order of [`Llama::variables`]; empty until a gradient has arrived.
    sums: Vec<Vec<f32>>,
}

impl Gradients {
    /// Returns no gradients yet for the trained weights of `network`.
    pub fn new(network: &Llama) -> Self {
        let variables = network.variables();
        let places = variables.iter().enumerate().map(|(place, (_, var))| (var.id(), place));
        Self { places: places.collect(), sums: vec![Vec::new(); variables.len()] }
    }

    /// Returns the gradient of each trained weight, in the order of [`Llama::variables`]; empty for
    /// one that none has reached.
    pub fn values(&self) -> &[Vec<f32>] {
        &self.sums
    }

    /// Returns the L2 norm of all gradients together; not finite if one of them is not.
    pub fn norm(&self) -> f64 {
        global_norm(self.sums.iter().map(Vec::as_slice))
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, factor: f32) {
        self.sums.par_iter_mut().for_each(|sums| sums.iter_mut().for_each(|grad| *grad *= factor));
    }
}

impl Receiver for Gradients {
    fn whole(&mut self, weight: TensorId, grad: Vec<f32>) {
        // The base's, where an adapter is trained beside weights that could be.
        let Some(place) = self.places.get(&weight) else { return };
        let sum = &mut self.sums[*place];
        if sum.is_empty() {
            *sum = grad;
        } else {
            ops::add(sum, &grad);
        }
    }

    fn rows(&mut self, weight: TensorId, values: usize, rows: &[u32], grad: &[f32]) {
        let Some(place) = self.places.get(&weight) else { return };
        let width = grad.len() / rows.len().max(1);
        // Each row's own sum first, as the reference adds a whole matrix that holds it.
        let mut of_rows = BTreeMap::<u32, Vec<f32>>::new();
        for (row, grad) in rows.iter().zip(grad.chunks(width.max(1))) {
            match of_rows.get_mut(row) {
                Some(sum) => ops::add(sum, grad),
                None => drop(of_rows.insert(*row, grad.to_vec())),
            }
        }
        let sum = &mut self.sums[*place];
        sum.resize(values, 0.0);
        for (row, grad) in of_rows {
            let row = usize::try_from(row).expect("a token id fits");
            ops::add(&mut sum[row * width..][..width], &grad);
        }
    }
}

/// What is kept of a block until its gradient is wanted.
enum Kept {
    /// All that its backward needs.
    Whole(Box<KeptBlock>),
    /// Its input.
    Input(Vec<f32>),
}

/// Adds the gradient of `scale` times the summed loss of a micro-batch, and returns that sum.
///
/// # Errors
///
/// [`NetworkError`] if a sequence exceeds the context, a token the vocabulary, or the tensor
/// library fails.
pub fn accumulate(
    network: &Llama,
    micro: &MicroBatch,
    draw: Option<&Draw>,
    scale: f32,
    recompute: Recompute,
    gradients: &mut Gradients,
) -> Result<f64, NetworkError> {
    let stages = Stages::new(network, &micro.batch, draw)?;
    let trains_embedding = stages.trains_embedding();
    let first = if trains_embedding { 0 } else { first_trained(network) };
    let mut embedded = stages.embed()?;
    let mut x = std::mem::take(&mut embedded.values);
    let mut kept = Vec::new();
    for layer in 0..network.blocks().len() {
        let (y, block) = stages.block(layer, x)?;
        x = y;
        if layer >= first {
            kept.push(match recompute {
                Recompute::Nothing => Kept::Whole(Box::new(block)),
                Recompute::Blocks => Kept::Input(block.into_input()),
            });
        }
    }
    let states = stages.norm(&x)?;
    let (sum, of_states) =
        cross_entropy(&stages, &states, &micro.targets, Some((scale, &mut *gradients)))?;
    drop(states);
    let mut grad = stages.pull_back_norm(&x, &of_states, gradients)?;
    drop((of_states, x));
    while let Some(block) = kept.pop() {
        let layer = first + kept.len();
        let block = match block {
            Kept::Whole(block) => *block,
            Kept::Input(x) => stages.keep(layer, x)?,
        };
        let for_input = layer > first || trains_embedding;
        match stages.pull_back(layer, block, grad, for_input, gradients)? {
            Some(below) => grad = below,
            None => return Ok(sum),
        }
    }
    if trains_embedding {
        if let Some(token) = micro.constant_token {
            forget_token(&mut grad, micro.batch.tokens(), token);
        }
        stages.pull_back_embedded(&embedded, &grad, gradients)?;
    }
    Ok(sum)
}

/// Sets the gradient rows of a token to 0.
fn forget_token(grad: &mut [f32], tokens: &[u32], token: u32) {
    let width = grad.len() / tokens.len().max(1);
    for (row, _) in grad.chunks_mut(width.max(1)).zip(tokens).filter(|(_, t)| **t == token) {
        row.fill(0.0);
    }
}

/// Returns the summed loss of a micro-batch, without dropout and without gradients.
///
/// # Errors
///
/// As [`accumulate`].
pub fn loss(network: &Llama, micro: &MicroBatch) -> Result<f64, NetworkError> {
    let stages = Stages::new(network, &micro.batch, None)?;
    let mut x = stages.embed()?.values;
    for layer in 0..network.blocks().len() {
        x = stages.block(layer, x)?.0;
    }
    let states = stages.norm(&x)?;
    Ok(cross_entropy(&stages, &states, &micro.targets, None)?.0)
}

/// Returns the first block with a trained weight; their number if none has one.
fn first_trained(network: &Llama) -> usize {
    let layer = |name: &str| {
        let (_, rest) = name.split_once("model.layers.")?;
        rest.split('.').next()?.parse::<usize>().ok()
    };
    let layers = network.variables().iter().filter_map(|(name, _)| layer(name));
    layers.min().unwrap_or(network.blocks().len())
}
