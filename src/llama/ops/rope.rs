//! Rotary positions over rows of heads.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::{for_each_row, output, rows_and_width, to_vec, values};
use crate::llama::rope::Turns;

struct Rotate(Arc<Turns>);

/// Turns every head of row `i` by the `i`-th of `turns`.
///
/// `x: [t, heads * d]`, result of the same shape.
///
/// # Errors
///
/// If `x` is not a contiguous f32 matrix.
pub fn rotate(x: &Tensor, turns: &Arc<Turns>) -> Result<Tensor> {
    x.apply_op1(Rotate(Arc::clone(turns)))
}

/// Turns values in place as [`rotate`], or back: a turn is orthogonal, so that is its gradient.
pub(in crate::llama) fn turn(x: &mut [f32], width: usize, turns: &Turns, back: bool) {
    for_each_row(x, width, |row, x| turns.apply(row, x, back));
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(layout)?;
        let mut out = values(storage, layout)?.to_vec();
        turn(&mut out, width, &self.0, false);
        Ok(output(out, rows, width))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut out = to_vec(grad)?;
        turn(&mut out, x.dim(1)?, &self.0, true);
        Tensor::from_vec(out, x.shape(), &Device::Cpu).map(Some)
    }
}
