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
        let mut out = vec![0.0; x.len()];
        for_each_row(&mut out, width, |row, out| {
            Kernels::get().rms_norm(&x[row * width..][..width], weight, self.eps, out);
        });
        Ok(output(out, rows, width))
    }

    /// With `r = 1 / sqrt(mean(x^2) + eps)`, the weight's gradient is the sum over rows of `g * x * r`.
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let (values, w, g) = (read(x)?, read(weight)?, read(grad)?);
        let (values, w, g): (&[f32], &[f32], &[f32]) = (&values, &w, &g);
        // Without a gradient of its own `x` still gives the factors of the rows.
        let (mut grad_x, mut factors) = (vec![0.0; values.len()], vec![0.0; values.len() / width]);
        for_each_two_rows(&mut grad_x, &mut factors, width, |row, out, factor| {
            let row = row * width..(row + 1) * width;
            let (x, g) = (&values[row.clone()], &g[row]);
            factor[0] = Kernels::get().rms_norm_backward(x, w, g, self.eps, out);
        });
        let grad_weight = if weight.track_op() {
            let mut out = vec![0.0; width];
            for ((x, g), r) in values.chunks(width).zip(g.chunks(width)).zip(factors) {
                for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                    *out += g * x * r;
                }
            }
            Some(Tensor::from_vec(out, weight.shape(), &Device::Cpu)?)
        } else {
            None
        };
        let grad_x = x.track_op().then(|| Tensor::from_vec(grad_x, x.shape(), &Device::Cpu));
        Ok((grad_x.transpose()?, grad_weight))
    }
}
