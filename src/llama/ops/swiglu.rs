//! The gate of the feed-forward block: `silu(gate) * up`.

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{for_each_row, for_each_two_rows, output, read, rows_and_width, values};
use crate::kernels::float::Kernels;

struct SwiGlu;

/// Returns `silu(gate) * up`.
///
/// `gate`, `up` and the result are `[t, width]`.
///
/// # Errors
///
/// If the shapes differ or an argument is not contiguous f32.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    gate.apply_op2(up, SwiGlu)
}

/// As [`swiglu`], of values.
pub(in crate::llama) fn gated(gate: &[f32], up: &[f32], width: usize) -> Vec<f32> {
    let mut out = vec![0.0; gate.len()];
    for_each_row(&mut out, width, |row, out| {
        let row = row * width..(row + 1) * width;
        Kernels::get().swiglu(&gate[row.clone()], &up[row], out);
    });
    out
}

/// Returns the gradients of `gate` and `up` for the gradient `g` of the result.
pub(in crate::llama) fn gate_gradients(
    gate: &[f32],
    up: &[f32],
    g: &[f32],
    width: usize,
) -> (Vec<f32>, Vec<f32>) {
    let (mut grad_gate, mut grad_up) = (vec![0.0; g.len()], vec![0.0; g.len()]);
    for_each_two_rows(&mut grad_gate, &mut grad_up, width, |row, grad_gate, grad_up| {
        let row = row * width..(row + 1) * width;
        let (gate, up, g) = (&gate[row.clone()], &up[row.clone()], &g[row]);
        Kernels::get().swiglu_backward(gate, up, g, grad_gate, grad_up);
    });
    (grad_gate, grad_up)
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(gate_layout)?;
        if gate_layout.shape() != up_layout.shape() {
            candle_core::bail!("swiglu: {:?} and {:?}", gate_layout.shape(), up_layout.shape());
        }
        let (gate, up) = (values(gate, gate_layout)?, values(up, up_layout)?);
        Ok(output(gated(gate, up, width), rows, width))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (gates, ups, g) = (read(gate)?, read(up)?, read(grad)?);
        let (of_gate, of_up) = gate_gradients(&gates, &ups, &g, gate.dim(1)?);
        Ok((
            Some(Tensor::from_vec(of_gate, gate.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(of_up, up.shape(), &Device::Cpu)?),
        ))
    }
}
