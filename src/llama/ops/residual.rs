//! The sum of the residual stream and what a layer adds to it.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::{output, rows_and_width, values};

struct Residual;

/// Returns `x + y`, both `[t, width]`.
///
/// candle's own sum keeps threads of its own, which wait in a loop on the cores of the kernels'.
///
/// # Errors
///
/// If the shapes differ or an argument is not contiguous f32.
pub fn residual(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2(y, Residual)
}

impl CustomOp2 for Residual {
    fn name(&self) -> &'static str {
        "residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(x_layout)?;
        if x_layout.shape() != y_layout.shape() {
            candle_core::bail!("residual: {:?} and {:?}", x_layout.shape(), y_layout.shape());
        }
        let (x, y) = (values(x, x_layout)?, values(y, y_layout)?);
        Ok(output(x.iter().zip(y).map(|(x, y)| x + y).collect(), rows, width))
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}
