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
        let mut out = vec![0.0; gate.len()];
        for_each_row(&mut out, width, |row, out| {
            let row = row * width..(row + 1) * width;
            Kernels::get().swiglu(&gate[row.clone()], &up[row], out);
        });
        Ok(output(out, rows, width))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = gate.dim(1)?;
        let (gates, ups, g) = (read(gate)?, read(up)?, read(grad)?);
        let (gates, ups, g): (&[f32], &[f32], &[f32]) = (&gates, &ups, &g);
        let (mut grad_gate, mut grad_up) = (vec![0.0; g.len()], vec![0.0; g.len()]);
        for_each_two_rows(&mut grad_gate, &mut grad_up, width, |row, grad_gate, grad_up| {
            let row = row * width..(row + 1) * width;
            let (gate, up, g) = (&gates[row.clone()], &ups[row.clone()], &g[row]);
            Kernels::get().swiglu_backward(gate, up, g, grad_gate, grad_up);
        });
        Ok((
            Some(Tensor::from_vec(grad_gate, gate.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(grad_up, up.shape(), &Device::Cpu)?),
        ))
    }
}
