//! The arithmetic of one adapted layer, in f32, and its initialisation.

use super::{Adapter, LoraConfig, LoraError};
use crate::stats::random::Mt19937;

/// The two matrices of one module and their scaling.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// A, `[rank, inputs]`.
    pub a: Vec<f32>,
    /// B, `[outputs, rank]`.
    pub b: Vec<f32>,
    /// Rank.
    pub rank: usize,
    /// s, which multiplies B(A(x)).
    pub scaling: f64,
}

/// Gradients of one adapted layer; the base layer's own gradient of `x` is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// Of A, `[rank, inputs]`.
    pub a: Vec<f32>,
    /// Of B, `[outputs, rank]`.
    pub b: Vec<f32>,
    /// Of `x` through the adapter, `[t, inputs]`.
    pub x: Vec<f32>,
}

impl LowRank {
    /// Returns the layer's inputs.
    pub fn inputs(&self) -> usize {
        self.a.len() / self.rank
    }

    /// Returns the layer's outputs.
    pub fn outputs(&self) -> usize {
        self.b.len() / self.rank
    }

    /// Adds s · B(A(x)) to `y`, the base layer's result.
    ///
    /// `x: [t, inputs]` after dropout, `y: [t, outputs]`. Sums in f32, in order; s multiplies last.
    ///
    /// # Panics
    ///
    /// If the lengths disagree.
    pub fn add_to(&self, x: &[f32], y: &mut [f32]) {
        let low = times_transposed(x, &self.a, self.inputs());
        let delta = times_transposed(&low, &self.b, self.rank);
        assert_eq!(delta.len(), y.len(), "[t, outputs]");
        let scaling = narrow(self.scaling);
        y.iter_mut().zip(delta).for_each(|(y, delta)| *y += delta * scaling);
    }

    /// Returns the gradients for `x: [t, inputs]` and `g: [t, outputs]`, the gradient of `y`.
    ///
    /// # Panics
    ///
    /// If the lengths disagree.
    pub fn backward(&self, x: &[f32], g: &[f32]) -> Gradients {
        let scaling = narrow(self.scaling);
        let g: Vec<f32> = g.iter().map(|g| g * scaling).collect();
        let low = times_transposed(x, &self.a, self.inputs());
        let grad_low = times(&g, &self.b, self.outputs(), self.rank);
        Gradients {
            a: transposed_times(&grad_low, x, self.rank, self.inputs()),
            b: transposed_times(&g, &low, self.outputs(), self.rank),
            x: times(&grad_low, &self.a, self.rank, self.inputs()),
        }
    }

    /// Returns s · B · A, `[outputs, inputs]`: what merging adds to the base weight.
    pub fn delta(&self) -> Vec<f32> {
        let scaling = narrow(self.scaling);
        let mut delta = times(&self.b, &self.a, self.rank, self.inputs());
        delta.iter_mut().for_each(|x| *x *= scaling);
        delta
    }

    /// Adds [`Self::delta`] to a base weight, `[outputs, inputs]`.
    ///
    /// Returns whether every element is finite; the weight is changed all the same.
    #[must_use]
    pub fn merge(&self, weight: &mut [f32]) -> bool {
        weight.iter_mut().zip(self.delta()).for_each(|(w, delta)| *w += delta);
        weight.iter().all(|w| w.is_finite())
    }

    /// Takes [`Self::delta`] off a merged weight; off by the roundings of both sums.
    pub fn unmerge(&self, weight: &mut [f32]) {
        weight.iter_mut().zip(self.delta()).for_each(|(w, delta)| *w -= delta);
    }
}

/// Returns a fresh adapter for modules `(name, outputs, inputs, rank)` in the order PEFT meets them,
/// with the draws of `torch.manual_seed(seed)`.
///
/// A is uniform in ±1/sqrt(inputs), B is zero. PEFT draws A and B once as plain layers, then A again:
/// the first draws are consumed here too.
///
/// # Errors
///
/// [`LoraError::Pattern`].
///
/// Source: PEFT 0.21.2, `LoraLayer.update_layer` and `reset_lora_parameters`, bit for bit.
pub fn initialize(
    config: &LoraConfig,
    modules: &[(&str, usize, usize, usize)],
    seed: u64,
) -> Result<Adapter, LoraError> {
    let mut generator = Mt19937::new(seed);
    let modules = modules
        .iter()
        .map(|&(name, outputs, inputs, rank)| {
            for _ in 0..rank * inputs + outputs * rank {
                generator.next_u32();
            }
            let bound = narrow(3_f64.sqrt() * ((2.0_f64 / 6.0).sqrt() / (inputs as f64).sqrt()));
            let a = (0..rank * inputs).map(|_| generator.uniform(-bound, bound)).collect();
            let (b, scaling) = (vec![0.0; outputs * rank], config.scaling(name)?);
            Ok((name.to_owned(), LowRank { a, b, rank, scaling }))
        })
        .collect::<Result<_, LoraError>>()?;
    Ok(Adapter { config: config.clone(), modules })
}

/// `x · wᵀ`: `x: [t, k]`, `w: [n, k]`.
fn times_transposed(x: &[f32], w: &[f32], k: usize) -> Vec<f32> {
    let dot = |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0.0, |sum, (x, w)| x.mul_add(*w, sum));
    x.chunks_exact(k).flat_map(|x| w.chunks_exact(k).map(move |w| dot(x, w))).collect()
}

/// `x · w`: `x: [t, k]`, `w: [k, n]`.
fn times(x: &[f32], w: &[f32], k: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len() / k * n];
    for (x, out) in x.chunks_exact(k).zip(out.chunks_exact_mut(n)) {
        for (x, w) in x.iter().zip(w.chunks_exact(n)) {
            out.iter_mut().zip(w).for_each(|(out, w)| *out = x.mul_add(*w, *out));
        }
    }
    out
}

/// `xᵀ · y`: `x: [t, m]`, `y: [t, n]`.
fn transposed_times(x: &[f32], y: &[f32], m: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; m * n];
    for (x, y) in x.chunks_exact(m).zip(y.chunks_exact(n)) {
        for (x, out) in x.iter().zip(out.chunks_exact_mut(n)) {
            out.iter_mut().zip(y).for_each(|(out, y)| *out = x.mul_add(*y, *out));
        }
    }
    out
}

#[expect(clippy::cast_possible_truncation, reason = "torch multiplies by the nearest f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}
