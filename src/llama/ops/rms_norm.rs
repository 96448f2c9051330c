//! RMSNorm over rows.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{for_each_row, output, rows_and_width, to_vec, values};
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

    /// With `r = 1 / sqrt(mean(x^2) + eps)` and `n = x * r`:
    /// `dx = r * (g * w - n * mean(g * w * n))`, `dw = sum over rows of g * n`.
    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = weight.elem_count();
        let (values, w, g) = (to_vec(x)?, to_vec(weight)?, to_vec(grad)?);
        let scale = |row: &[f32]| {
            let squares: f32 = row.iter().map(|x| x * x).sum();
            1.0 / (squares / width as f32 + self.eps).sqrt()
        };
        let grad_x = if x.track_op() {
            let mut out = vec![0.0; values.len()];
            for_each_row(&mut out, width, |row, out| {
                let (x, g) = (&values[row * width..][..width], &g[row * width..][..width]);
                let r = scale(x);
                let mut mean = 0.0;
                for ((g, w), x) in g.iter().zip(&w).zip(x) {
                    mean += g * w * x * r;
                }
                mean /= width as f32;
                for (((out, g), w), x) in out.iter_mut().zip(g).zip(&w).zip(x) {
                    *out = r * (g * w - x * r * mean);
                }
            });
            Some(Tensor::from_vec(out, x.shape(), &Device::Cpu)?)
        } else {
            None
        };
        let grad_weight = if weight.track_op() {
            let mut out = vec![0.0; width];
            for (x, g) in values.chunks(width).zip(g.chunks(width)) {
                let r = scale(x);
                for ((out, g), x) in out.iter_mut().zip(g).zip(x) {
                    *out += g * x * r;
                }
            }
            Some(Tensor::from_vec(out, weight.shape(), &Device::Cpu)?)
        } else {
            None
        };
        Ok((grad_x, grad_weight))
    }
}
