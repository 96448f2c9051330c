//! The sum of two activations: of a layer and the branch beside it, and of the network above.

use candle_core::{CpuStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

/// Below as many elements a sum is not worth a second thread.
const PARALLEL_FROM: usize = 1 << 16;

struct Sum;

/// Returns `x + y`, both of one shape.
///
/// candle's own sum keeps threads of its own, which wait in a loop on the cores of the kernels'.
///
/// # Errors
///
/// If the shapes differ or an argument is not contiguous f32.
pub fn sum(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.apply_op2(y, Sum)
}

fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (begin, end) =
        layout.contiguous_offsets().ok_or_else(|| Error::RequiresContiguous { op: "sum" })?;
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

impl CustomOp2 for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        if x_layout.shape() != y_layout.shape() {
            candle_core::bail!("sum: {:?} and {:?}", x_layout.shape(), y_layout.shape());
        }
        let (x, y) = (values(x, x_layout)?, values(y, y_layout)?);
        let sums: Vec<f32> = if x.len() < PARALLEL_FROM {
            x.iter().zip(y).map(|(x, y)| x + y).collect()
        } else {
            let pairs = x.par_iter().zip(y).with_min_len(PARALLEL_FROM / 4);
            pairs.map(|(x, y)| x + y).collect()
        };
        Ok((CpuStorage::F32(sums), x_layout.shape().clone()))
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
