//! The int8 layer as an operation of candle, with its gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Device, Error, Layout, Result, Shape, Tensor};

use super::Int8Linear;

struct Int8LinearOp(Arc<Int8Linear>);

/// Returns `layer.forward(x)`; the gradient reaches `x` alone, as [`Int8Linear::backward`].
///
/// `x: [t, inputs]` f32, contiguous, on the CPU; result `[t, outputs]` f32.
///
/// # Errors
///
/// If `x` is not such a matrix, or as [`Int8Linear::forward`].
pub fn int8_linear(x: &Tensor, layer: &Arc<Int8Linear>) -> Result<Tensor> {
    x.apply_op1(Int8LinearOp(Arc::clone(layer)))
}

impl CustomOp1 for Int8LinearOp {
    fn name(&self) -> &'static str {
        "int8-linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, inputs) = layout.shape().dims2()?;
        if inputs != self.0.weight().inputs() {
            let expected = self.0.weight().inputs();
            candle_core::bail!("int8-linear: {inputs} inputs, the weight has {expected}");
        }
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("int8-linear: the input is not contiguous");
        };
        let x = &storage.as_slice::<f32>()?[start..end];
        let y = self.0.forward(x).map_err(Error::wrap)?;
        Ok((CpuStorage::F32(y), (tokens, self.0.weight().outputs()).into()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = self.0.backward(&grad.flatten_all()?.to_vec1()?).map_err(Error::wrap)?;
        Tensor::from_vec(grad, x.shape(), &Device::Cpu).map(Some)
    }
}
