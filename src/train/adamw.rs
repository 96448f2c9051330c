//! AdamW in f32, in torch's order of operations, and clipping by the global norm.
//!
//! Source: torch 2.13.0, `torch.optim.AdamW` on the CPU and `clip_grad_norm_`; goldens in
//! `golden/train/adamw.json`. States live outside, so that a checkpoint can hold them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::kernels::float::{AdamWFactors, Kernels};

/// Elements that one thread updates at a time.
const PART: usize = 1 << 15;

/// Settings of AdamW; the learning rate comes from the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the rate by which a parameter shrinks before its update.
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// transformers' defaults: no decay.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Moments of one parameter, both of its length, zero before the first update.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Mean of the gradients.
    pub first: Vec<f32>,
    /// Mean of their squares.
    pub second: Vec<f32>,
}

impl Moments {
    /// Returns the moments of a parameter of `len` elements before its first update.
    pub fn zeros(len: usize) -> Self {
        Self { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

impl AdamW {
    /// Makes update `step` (1 for the first) of one parameter with learning rate `rate`.
    ///
    /// # Panics
    ///
    /// If `gradient` or the moments have another length than `parameter`.
    pub fn update(
        &self,
        rate: f64,
        step: u64,
        parameter: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
    ) {
        assert_eq!(parameter.len(), gradient.len(), "one gradient an element");
        assert_eq!(parameter.len(), moments.first.len(), "one first moment an element");
        assert_eq!(parameter.len(), moments.second.len(), "one second moment an element");
        let power = |beta: f64| 1.0 - beta.powf(step as f64);
        // torch keeps these scalars in f64 and rounds them once, where they meet an f32 tensor.
        let factors = AdamWFactors {
            shrink: narrow(1.0 - rate * self.weight_decay),
            fresh1: narrow(1.0 - self.beta1),
            keep2: narrow(self.beta2),
            fresh2: narrow(1.0 - self.beta2),
            size: narrow(-(rate / power(self.beta1))),
            root: narrow(power(self.beta2).sqrt()),
            eps: narrow(self.eps),
        };
        if parameter.len() <= PART {
            let Moments { first, second } = moments;
            return Kernels::get().adamw(&factors, parameter, gradient, first, second);
        }
        let (first, second) =
            (moments.first.par_chunks_mut(PART), moments.second.par_chunks_mut(PART));
        let parts = parameter.par_chunks_mut(PART).zip(gradient.par_chunks(PART));
        parts.zip(first.zip(second)).for_each(|((parameter, gradient), (first, second))| {
            Kernels::get().adamw(&factors, parameter, gradient, first, second);
        });
    }
}

/// Returns the L2 norm over all gradients: the norm of their norms, as torch takes it.
pub fn global_norm<'a>(gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
    let square = |gradient: &[f32]| gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
    let gradients: Vec<&[f32]> = gradients.into_iter().collect();
    let squares: Vec<f64> = gradients.into_par_iter().map(square).collect();
    squares.into_iter().sum::<f64>().sqrt()
}

/// Returns the factor that brings gradients of norm `norm` down to `max_norm`, at most 1.
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    narrow((max_norm / (norm + 1e-6)).min(1.0))
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as torch does")]
fn narrow(value: f64) -> f32 {
    value as f32
}
