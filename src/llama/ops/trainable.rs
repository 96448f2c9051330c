//! A linear layer whose weights take a gradient.
//!
//! candle's own matrix product would do, but for one thing: here every sum has one order, whatever
//! the number of threads, so that a training can be continued on another number of them with the
//! same bits.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{output, read, rows_and_width, values};
use crate::kernels::dense;

struct TrainableLinear;

/// Returns `x · Wᵀ`; gradients reach `x` and the weights, each only if it takes one.
///
/// `x: [t, inputs]`, `weight: [outputs, inputs]`, result `[t, outputs]`.
///
/// # Errors
///
/// If the shapes disagree or an argument is not contiguous f32.
pub fn trainable_linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.apply_op2(weight, TrainableLinear)
}

impl CustomOp2 for TrainableLinear {
    fn name(&self) -> &'static str {
        "trainable-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(x_layout)?;
        let (outputs, inputs) = rows_and_width(weight_layout)?;
        if width != inputs {
            candle_core::bail!("trainable-linear: {width} inputs, weights have {inputs}");
        }
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        Ok(output(dense::forward(x, weight, inputs), rows, outputs))
    }

    /// `dx = g · W`, `dW = gᵀ · x`.
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (inputs, g) = (weight.dim(1)?, read(grad)?);
        let grad_x = if x.track_op() {
            let product = dense::input_gradient(&g, &read(weight)?, inputs);
            Some(Tensor::from_vec(product, x.shape(), &Device::Cpu)?)
        } else {
            None
        };
        let grad_weight = if weight.track_op() {
            let product = dense::weight_gradient(&g, &read(x)?, inputs);
            Some(Tensor::from_vec(product, weight.shape(), &Device::Cpu)?)
        } else {
            None
        };
        Ok((grad_x, grad_weight))
    }
}
