//! RMSNorm over rows.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{for_each_row, for_each_two_rows, output, read, rows_and_width, values};
use crate::kernels::float::Kernels;

struct RmsNorm {
    eps: f32,
}

/// Returns `w * x / sqrt(mean(x^2) + eps)`, row by row.
///
/// `x: [t, d]`, `weight: [d]`, result `[t, d]`. The weight's gradient is built only if it takes one.
///
/// # Errors
///
/// If an argument is not contiguous f32.
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { eps })
}

/// As [`rms_norm`], of values.
pub(in crate::llama) fn normed(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let width = weight.len();
    let mut out = vec![0.0; x.len()];
    for_each_row(&mut out, width, |row, out| {
        Kernels::get().rms_norm(&x[row * width..][..width], weight, eps, out);
    });
    out
}

/// Returns the gradients of `x` and, if it is wanted, of `weight` for the gradient `g` of the result.
///
/// With `r = 1 / sqrt(mean(x^2) + eps)`, the weight's is the sum over rows of `g * x * r`.
pub(in crate::llama) fn norm_gradients(
    x: &[f32],
    weight: &[f32],
    g: &[f32],
    eps: f32,
    for_weight: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let width = weight.len();
    // Not wanted for itself, `x`'s still gives the factors of the rows.
    let (mut grad_x, mut factors) = (vec![0.0; x.len()], vec![0.0; x.len() / width]);
    for_each_two_rows(&mut grad_x, &mut factors, width, |row, out, factor| {
        let row = row * width..(row + 1) * width;
        factor[0] = Kernels::get().rms_norm_backward(&x[row.clone()], weight, &g[row], eps, out);
    });
    let grad_weight = for_weight.then(|| {
        let mut out = vec![0.0; width];
        for ((x, g), r) in x.chunks(width).zip(g.chunks(width)).zip(factors) {
            for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                *out += g * x * r;
            }
        }
        out
    });
    (grad_x, grad_weight)
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(x_layout)?;
        let (x, weight) = (values(x, x_layout)?, values(weight, weight_layout)?);
        if weight.len() != width {
            candle_core::bail!("rms-norm: {width} values a row, {} weights", weight.len());
        }
        Ok(output(normed(x, weight, self.eps), rows, width))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (values, w, g) = (read(x)?, read(weight)?, read(grad)?);
        let (of_x, of_weight) = norm_gradients(&values, &w, &g, self.eps, weight.track_op());
        let wrap = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        let of_x = x.track_op().then(|| wrap(of_x, x));
        Ok((of_x.transpose()?, of_weight.map(|grad| wrap(grad, weight)).transpose()?))
    }
}
