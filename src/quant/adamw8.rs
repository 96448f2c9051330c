//! AdamW with 8-bit states.
//!
//! Source: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization"; order of
//! operations of bitsandbytes 0.50.2 on the CPU, where the decay precedes the step as in torch (its
//! CUDA kernel decays after it; the difference is of the order rate² · decay). States have the same
//! bits; parameters may differ in the last, since torch's square root is not correctly rounded.

use super::{Blockwise, Map};

/// Parameters with fewer elements keep their states in f32.
///
/// Source: `min_8bit_size` of bitsandbytes.
pub const MIN_8BIT_SIZE: usize = 4096;

/// Settings of AdamW with 8-bit states; the learning rate comes from the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW8bit {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the rate by which a parameter shrinks before its update.
    pub weight_decay: f64,
}

impl Default for AdamW8bit {
    /// bitsandbytes' defaults, with its decay of 0.01.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 }
    }
}

/// Moments of one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Moments8bit {
    /// In f32: of a parameter with fewer than [`MIN_8BIT_SIZE`] elements.
    Single {
        /// Mean of the gradients.
        first: Vec<f32>,
        /// Mean of their squares.
        second: Vec<f32>,
    },
    /// Of any other.
    Blockwise {
        /// Mean of the gradients, on [`Map::Signed`].
        first: Blockwise,
        /// Mean of their squares, on [`Map::Unsigned`].
        second: Blockwise,
    },
}

impl Moments8bit {
    /// Returns f32 moments of a parameter of `len` elements before its first update.
    pub fn single(len: usize) -> Self {
        Self::Single { first: vec![0.0; len], second: vec![0.0; len] }
    }

    /// Returns the moments of a parameter of `len` elements before its first update.
    pub fn zeros(len: usize) -> Self {
        if len < MIN_8BIT_SIZE {
            Self::single(len)
        } else {
            Self::Blockwise { first: Blockwise::zeros(len), second: Blockwise::zeros(len) }
        }
    }
}

impl AdamW8bit {
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
        moments: &mut Moments8bit,
    ) {
        assert_eq!(parameter.len(), gradient.len(), "one gradient an element");
        let correction1 = 1.0 - self.beta1.powf(step as f64);
        let correction2 = (1.0 - self.beta2.powf(step as f64)).sqrt();
        if self.weight_decay > 0.0 {
            let keep = narrow(1.0 - rate * self.weight_decay);
            parameter.iter_mut().for_each(|p| *p *= keep);
        }
        match moments {
            Moments8bit::Single { first, second } => {
                self.advance(gradient, first, second);
                let size = narrow(-rate * correction2 / correction1);
                let eps = narrow(self.eps * correction2);
                for ((p, m), v) in parameter.iter_mut().zip(first).zip(second) {
                    *p = (*m / (v.sqrt() + eps)).mul_add(size, *p);
                }
            }
            Moments8bit::Blockwise { first, second } => {
                let mut m = first.dequantize(Map::Signed);
                let mut v = second.dequantize(Map::Unsigned);
                self.advance(gradient, &mut m, &mut v);
                let size = narrow(-rate / correction1);
                let (root, eps) = (narrow(correction2), narrow(self.eps));
                for ((p, m), v) in parameter.iter_mut().zip(&m).zip(&v) {
                    *p += size * m / (v.sqrt() / root + eps);
                }
                *first = Blockwise::quantize(&m, Map::Signed);
                *second = Blockwise::quantize(&v, Map::Unsigned);
            }
        }
    }

    fn advance(&self, gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        assert_eq!(gradient.len(), first.len(), "one first moment an element");
        assert_eq!(gradient.len(), second.len(), "one second moment an element");
        let (keep1, fresh1) = (narrow(self.beta1), narrow(1.0 - self.beta1));
        let (keep2, fresh2) = (narrow(self.beta2), narrow(1.0 - self.beta2));
        for ((&g, m), v) in gradient.iter().zip(first).zip(second) {
            *m = g.mul_add(fresh1, *m * keep1);
            *v = (fresh2 * g).mul_add(g, *v * keep2);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as torch does")]
fn narrow(value: f64) -> f32 {
    value as f32
}
