//! A linear layer whose weights take a gradient.
//!
//! candle's own matrix product would do, but for one thing: here every sum has one order, whatever
//! the number of threads, so that a training can be continued on another number of them with the
//! same bits.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, rows_and_width, to_vec, values};
use crate::kernels::matrix::{Matrix, WeightType};

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

/// Packs `[outputs, inputs]` for one product.
fn packed(weight: &[f32], outputs: usize, inputs: usize) -> Matrix {
    let mut matrix = Matrix::zeros(WeightType::F32, outputs, inputs);
    matrix.set_rows(0, weight);
    matrix
}

/// Turns `[rows, columns]` into `[columns, rows]`.
fn transposed(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(rows.max(1)).enumerate().for_each(|(column, out)| {
        for (out, x) in out.iter_mut().zip(x[column..].iter().step_by(columns)) {
            *out = *x;
        }
    });
    out
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
        let matrix = packed(values(weight, weight_layout)?, outputs, inputs);
        Ok(output(matrix.multiply(values(x, x_layout)?), rows, outputs))
    }

    /// `dx = g · W`, `dW = gᵀ · x`.
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (outputs, inputs) = weight.dims2()?;
        let g = to_vec(grad)?;
        let grad_x = if x.track_op() {
            let matrix = packed(&to_vec(weight)?, outputs, inputs);
            Some(Tensor::from_vec(matrix.multiply_transposed(&g), x.shape(), &Device::Cpu)?)
        } else {
            None
        };
        let grad_weight = if weight.track_op() {
            let rows = x.dim(0)?;
            let matrix = packed(&transposed(&to_vec(x)?, inputs), inputs, rows);
            let product = matrix.multiply(&transposed(&g, outputs));
            Some(Tensor::from_vec(product, weight.shape(), &Device::Cpu)?)
        } else {
            None
        };
        Ok((grad_x, grad_weight))
    }
}
