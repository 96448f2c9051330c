//! Dropout whose mask does not depend on how rows are batched, packed or split over threads.
//!
//! Whether an input is dropped follows from the run's seed, the update, the module, the example
//! and position of its row, and its column: nothing else. So a packed batch trains as its examples
//! would one by one, and a forward pass that is repeated for its gradients drops the same inputs.
//! The masks are not torch's, which depend on the order of the draws.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use crate::stats::{Seed, split_mix};

/// Rows and their keys for one pass with dropout.
#[derive(Debug, Clone)]
pub struct Draw {
    rows: Arc<[u64]>,
}

impl Draw {
    /// Returns the draw of update `step` for rows given as `(example, position)`.
    ///
    /// `example` names a training example, the same wherever it is batched; of two rows with equal
    /// numbers the same inputs are dropped.
    pub fn new(seed: Seed, step: u64, rows: impl IntoIterator<Item = (u64, usize)>) -> Self {
        let base = mixed(mixed(seed.0) ^ step);
        let key = |(example, position): (u64, usize)| {
            mixed(mixed(base ^ example) ^ u64::try_from(position).expect("positions fit 64 bits"))
        };
        Self { rows: rows.into_iter().map(key).collect() }
    }

    /// Returns the draw of some of its rows.
    ///
    /// # Panics
    ///
    /// If there is no such row.
    #[must_use]
    pub fn of_rows(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        Self { rows: rows.into_iter().map(|row| self.rows[row]).collect() }
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// Which inputs of one module are dropped in one pass, and the factor of the others.
#[derive(Debug, Clone)]
pub(super) struct Mask {
    rows: Arc<[u64]>,
    module: u64,
    /// A draw of 32 bits below this is dropped.
    threshold: u64,
    factor: f32,
}

impl Mask {
    /// Returns the mask of a module, `None` if nothing is dropped.
    pub(super) fn new(draw: &Draw, module: &str, probability: f64) -> Option<Self> {
        if probability <= 0.0 {
            return None;
        }
        // FNV-1a.
        let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        #[expect(clippy::cast_possible_truncation, reason = "torch rounds the factor to f32 too")]
        #[expect(clippy::cast_sign_loss, reason = "a probability")]
        let (threshold, factor) =
            ((probability * 2_f64.powi(32)) as u64, (1.0 / (1.0 - probability)) as f32);
        let module = module.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
        Some(Self { rows: Arc::clone(&draw.rows), module, threshold, factor })
    }

    /// Returns the number of rows it was drawn for.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Sets dropped values to 0 and scales the others by 1/(1 - p).
    ///
    /// `x: [rows, width]`.
    pub(super) fn apply(&self, x: &mut [f32], width: usize) {
        x.par_chunks_mut(width).zip(self.rows.par_iter()).for_each(|(x, row)| {
            let mut at = mixed(*row ^ self.module);
            for pair in x.chunks_mut(2) {
                let bits = split_mix(&mut at);
                for (x, draw) in pair.iter_mut().zip([bits & 0xFFFF_FFFF, bits >> 32]) {
                    *x = if draw < self.threshold { 0.0 } else { *x * self.factor };
                }
            }
        });
    }
}

/// Returns dropout(x); the gradient is dropped likewise.
///
/// `x: [rows, width]`, contiguous f32.
pub(super) fn dropped(x: &Tensor, mask: Mask) -> Result<Tensor> {
    x.apply_op1(Dropped(mask))
}

struct Dropped(Mask);

impl CustomOp1 for Dropped {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        if rows != self.0.rows() {
            candle_core::bail!("dropout: {rows} rows, drawn for {}", self.0.rows());
        }
        let (begin, end) =
            layout.contiguous_offsets().ok_or(Error::RequiresContiguous { op: "dropout" })?;
        let mut x = storage.as_slice::<f32>()?[begin..end].to_vec();
        self.0.apply(&mut x, width);
        Ok((CpuStorage::F32(x), (rows, width).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut grad = grad.flatten_all()?.to_vec1()?;
        self.0.apply(&mut grad, x.dim(1)?);
        Tensor::from_vec(grad, x.shape(), &Device::Cpu).map(Some)
    }
}

fn mixed(mut at: u64) -> u64 {
    split_mix(&mut at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(draw: &Draw, module: &str, probability: f64, width: usize) -> Vec<f32> {
        let mut x = vec![1.0; draw.len() * width];
        Mask::new(draw, module, probability).expect("drops").apply(&mut x, width);
        x
    }

    #[test]
    fn a_row_drops_the_same_inputs_in_any_batch_and_order() {
        let together = Draw::new(Seed(1), 7, [(4, 0), (4, 1), (9, 0)]);
        let alone = Draw::new(Seed(1), 7, [(9, 0)]);
        assert_eq!(mask(&together, "m", 0.3, 33)[66..], mask(&alone, "m", 0.3, 33));
    }

    #[test]
    fn seed_step_module_example_and_position_all_count() {
        let draw =
            |seed, step, example, position| Draw::new(Seed(seed), step, [(example, position)]);
        let base = mask(&draw(1, 1, 1, 1), "m", 0.5, 64);
        assert_eq!(base, mask(&draw(1, 1, 1, 1), "m", 0.5, 64));
        for other in [draw(2, 1, 1, 1), draw(1, 2, 1, 1), draw(1, 1, 2, 1), draw(1, 1, 1, 2)] {
            assert_ne!(base, mask(&other, "m", 0.5, 64));
        }
        assert_ne!(base, mask(&draw(1, 1, 1, 1), "n", 0.5, 64));
    }

    #[test]
    fn the_share_dropped_is_the_probability_and_the_mean_is_kept() {
        let draw = Draw::new(Seed(3), 0, (0..200).map(|example| (example, 0)));
        let mask = mask(&draw, "m", 0.1, 500);
        let dropped = mask.iter().filter(|x| **x == 0.0).count() as f64 / 1e5;
        // Five standard deviations of 100,000 draws at 0.1.
        assert!((dropped - 0.1).abs() < 5.0 * (0.09_f64 / 1e5).sqrt(), "{dropped}");
        let kept = (1.0_f32 / 0.9).to_bits();
        assert!(mask.iter().all(|x| *x == 0.0 || x.to_bits() == kept));
    }

    #[test]
    fn probability_one_drops_all_and_zero_none() {
        let draw = Draw::new(Seed(3), 0, [(0, 0)]);
        assert!(mask(&draw, "m", 1.0, 100).iter().all(|x| *x == 0.0));
        assert!(Mask::new(&draw, "m", 0.0).is_none());
    }
}
