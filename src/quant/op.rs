//! The int8 layer as an operation of candle, with its gradient.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};

use super::Int8Linear;

struct Int8LinearOp {
    layer: Arc<Int8Linear>,
    calls: Arc<[Range<usize>]>,
}

/// Returns `layer.forward_calls(x, calls)`; the gradient reaches `x` alone, as
/// [`Int8Linear::backward`].
///
/// `x: [t, inputs]` f32, contiguous, on the CPU; result `[t, outputs]` f32.
///
/// # Errors
///
/// If `x` is not such a matrix, or as [`Int8Linear::forward_calls`].
pub fn int8_linear(
    x: &Tensor,
    layer: &Arc<Int8Linear>,
    calls: &Arc<[Range<usize>]>,
) -> Result<Tensor> {
    x.apply_op1(Int8LinearOp { layer: Arc::clone(layer), calls: Arc::clone(calls) })
}

impl CustomOp1 for Int8LinearOp {
    fn name(&self) -> &'static str {
        "int8-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = layout.shape().dims2()?;
        if inputs != self.layer.weight().inputs() {
            let expected = self.layer.weight().inputs();
            candle_core::bail!("int8-linear: {inputs} inputs, the weight has {expected}");
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("int8-linear: the input is not contiguous");
        };
        let x = &storage.as_slice::<f32>()?[start..end];
        let y = self.layer.forward_calls(x, &self.calls).map_err(Error::wrap)?;
        Ok((CpuStorage::F32(y), (tokens, self.layer.weight().outputs()).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = self.layer.backward(&grad.flatten_all()?.to_vec1()?).map_err(Error::wrap)?;
        Tensor::from_vec(grad, x.shape(), &Device::Cpu).map(Some)
    }
}
