//! A linear layer whose weights take no gradient and live inside the op.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::{output, read, rows_and_width, values};
use crate::kernels::matrix::Matrix;

struct FrozenLinear(Arc<Matrix>);

/// Returns `x · Wᵀ`; the gradient reaches `x` alone.
///
/// `x: [t, inputs]`, result `[t, outputs]`. The weights' type says in which
/// precision, both ways.
///
/// # Errors
///
/// If `x` is not a contiguous f32 matrix.
pub fn frozen_linear(x: &Tensor, weight: &Arc<Matrix>) -> Result<Tensor> {
    x.apply_op1(FrozenLinear(Arc::clone(weight)))
}

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(layout)?;
        if width != self.0.inputs() {
            candle_core::bail!("frozen-linear: {width} inputs, weights have {}", self.0.inputs());
        }
        Ok(output(
            self.0.multiply_in(values(storage, layout)?, self.0.weight_type().precision()),
            rows,
            self.0.outputs(),
        ))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = self.0.multiply_transposed_in(&read(grad)?, self.0.weight_type().precision());
        Tensor::from_vec(grad, x.shape(), &Device::Cpu).map(Some)
    }
}
