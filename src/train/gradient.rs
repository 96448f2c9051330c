//! The gradient of a micro-batch, block by block from the last to the first.
//!
//! Each block has a graph of its own, freed as soon as the gradient has passed it; with
//! [`Recompute::Blocks`] it is built only then, from the block's input. Either way the same
//! operations run on the same values: the bits are equal. Nothing is computed below the first block
//! with a trained weight.

use std::collections::HashMap;

use candle_core::{Tensor, TensorId, Var, backprop::GradStore};
use rayon::prelude::*;

use super::{
    MicroBatch, global_norm,
    loss::{Wanted, cross_entropy},
    tape,
};
use crate::{
    llama::{Llama, NetworkError, Stages},
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

    /// Adds what a backward gave the trained weights, and takes it out.
    fn collect(&mut self, network: &Llama, store: &mut GradStore) -> Result<(), NetworkError> {
        for (_, variable) in network.variables() {
            let Some(grad) = store.remove(variable) else { continue };
            let grad: Vec<f32> = grad.flatten_all()?.to_vec1()?;
            let sum = &mut self.sums[self.places[&variable.id()]];
            if sum.is_empty() {
                *sum = grad;
            } else {
                sum.iter_mut().zip(grad).for_each(|(sum, grad)| *sum += grad);
            }
        }
        Ok(())
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

/// A block's input: a variable where something below it takes a gradient.
enum Input {
    Variable(Var),
    Constant(Tensor),
}

impl Input {
    fn new(x: &Tensor, takes_gradient: bool) -> Result<Self, NetworkError> {
        Ok(if takes_gradient {
            Self::Variable(Var::from_tensor(x)?)
        } else {
            Self::Constant(x.clone())
        })
    }

    fn tensor(&self) -> &Tensor {
        match self {
            Self::Variable(variable) => variable,
            Self::Constant(tensor) => tensor,
        }
    }
}

/// What is kept of a block until its gradient is wanted.
enum Kept {
    /// Its input and its output with history.
    Graph(Input, Tensor),
    /// Its input.
    Input(Tensor),
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
    let embedded = stages.embed()?;
    let is_embedding_trained = embedded.track_op();
    let first = if is_embedding_trained { 0 } else { first_trained(network) };
    let takes_gradient = |layer: usize| layer > first || is_embedding_trained;
    let mut x = embedded.detach();
    let mut kept = Vec::new();
    for layer in 0..network.blocks().len() {
        if layer < first || recompute == Recompute::Blocks {
            let y = stages.block(layer, &x)?.detach();
            if layer >= first {
                kept.push(Kept::Input(x));
            }
            x = y;
        } else {
            let input = Input::new(&x, takes_gradient(layer))?;
            let output = stages.block(layer, input.tensor())?;
            x = output.detach();
            kept.push(Kept::Graph(input, output));
        }
    }
    let input = Var::from_tensor(&x)?;
    drop(x);
    let states = stages.norm(&input)?;
    let mut collect = |store: &mut GradStore| gradients.collect(network, store);
    let wanted = Wanted { scale, collect: &mut collect };
    let (sum, grad) = cross_entropy(network, &states.detach(), &micro.targets, draw, Some(wanted))?;
    let grad = grad.expect("a gradient is returned where one is wanted");
    let mut store = tape::pull_back(&states, grad)?;
    drop(states);
    let mut grad = tape::take(&mut store, &input)?;
    gradients.collect(network, &mut store)?;
    while let Some(block) = kept.pop() {
        let layer = first + kept.len();
        let (input, output) = match block {
            Kept::Graph(input, output) => (input, output),
            Kept::Input(x) => {
                let input = Input::new(&x, takes_gradient(layer))?;
                let output = stages.block(layer, input.tensor())?;
                (input, output)
            }
        };
        let mut store = tape::pull_back(&output, grad)?;
        drop(output);
        gradients.collect(network, &mut store)?;
        let Input::Variable(input) = input else { return Ok(sum) };
        grad = tape::take(&mut store, &input)?;
    }
    if is_embedding_trained {
        if let Some(token) = micro.constant_token {
            grad = without_token(&grad, micro.batch.tokens(), token)?;
        }
        gradients.collect(network, &mut tape::pull_back(&embedded, grad)?)?;
    }
    Ok(sum)
}

/// Sets the gradient rows of a token to 0.
fn without_token(grad: &Tensor, tokens: &[u32], token: u32) -> Result<Tensor, NetworkError> {
    let mut values: Vec<f32> = grad.flatten_all()?.to_vec1()?;
    let width = values.len() / tokens.len().max(1);
    for (row, _) in values.chunks_mut(width.max(1)).zip(tokens).filter(|(_, t)| **t == token) {
        row.fill(0.0);
    }
    Ok(Tensor::from_vec(values, grad.shape(), grad.device())?)
}

/// Returns the summed loss of a micro-batch, without dropout and without gradients.
///
/// # Errors
///
/// As [`accumulate`].
pub fn loss(network: &Llama, micro: &MicroBatch) -> Result<f64, NetworkError> {
    let stages = Stages::new(network, &micro.batch, None)?;
    let mut x = stages.embed()?.detach();
    for layer in 0..network.blocks().len() {
        // Forgets the history of each block as it goes.
        x = stages.block(layer, &x)?.detach();
    }
    let states = stages.norm(&x)?.detach();
    Ok(cross_entropy(network, &states, &micro.targets, None, None)?.0)
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
