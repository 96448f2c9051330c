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

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(layout)?;
        let mut out = values(storage, layout)?.to_vec();
        for_each_row(&mut out, width, |row, out| self.0.apply(row, out, false));
        Ok(output(out, rows, width))
    }

    /// A turn is orthogonal: the gradient is turned back.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut out = to_vec(grad)?;
        for_each_row(&mut out, x.dim(1)?, |row, out| self.0.apply(row, out, true));
        Tensor::from_vec(out, x.shape(), &Device::Cpu).map(Some)
    }
}
