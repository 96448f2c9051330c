//! What the reference's padding positions see: an artefact that enters its loss.
//!
//! A collator that pads on the left leaves the first real token of a row to be predicted by the
//! padding position before it, whose keys are all masked. transformers' eager attention then attends
//! to every position of the row alike, later ones included; PyTorch's fused attention returns 0. All
//! padding positions of a row have one state, so one row of tokens stands for them.

use std::{ops::Range, sync::Arc};

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::{Heads, output, rows_and_width, to_vec, values};

/// What a position attends to whose keys are all masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masked {
    /// To all positions alike: a softmax over equal scores.
    Everything,
    /// To none: the result is 0.
    Nothing,
}

/// A row of tokens that stands for the padding of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PadRow {
    /// Its place.
    pub row: usize,
    /// The rows of the padded sequence.
    pub sequence: Range<usize>,
    /// Padding positions it stands for, at least 1.
    pub count: usize,
    /// What they attend to.
    pub masked: Masked,
}

struct Padding {
    rows: Arc<[PadRow]>,
    heads: Heads,
}

/// Returns the attention `out` with the rows of padding put in.
///
/// `out: [t, query heads * width]` of [`super::attention()`], `v: [t, kv heads * width]`.
///
/// # Errors
///
/// If an argument is not contiguous f32.
pub fn pad_rows(out: &Tensor, v: &Tensor, rows: &Arc<[PadRow]>, heads: Heads) -> Result<Tensor> {
    if rows.is_empty() {
        return Ok(out.clone());
    }
    out.apply_op2(v, Padding { rows: Arc::clone(rows), heads })
}

impl Padding {
    /// Calls `visit` with each query column, its value column, and each row of values with its
    /// share, for one row of padding.
    fn weights(&self, pad: &PadRow) -> Vec<(usize, f32)> {
        if pad.masked == Masked::Nothing {
            return Vec::new();
        }
        let all = (pad.sequence.len() + pad.count) as f32;
        let own = (pad.row, pad.count as f32 / all);
        std::iter::once(own).chain(pad.sequence.clone().map(|row| (row, 1.0 / all))).collect()
    }

    /// The column of a value that a query's column mixes.
    fn value_column(&self, column: usize) -> usize {
        let Heads { query, kv, width } = self.heads;
        column / width / (query / kv) * width + column % width
    }
}

impl CustomOp2 for Padding {
    fn name(&self) -> &'static str {
        "padding"
    }

    fn cpu_fwd(
        &self,
        out: &CpuStorage,
        out_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(out_layout)?;
        let (_, kv_width) = rows_and_width(v_layout)?;
        let mut out = values(out, out_layout)?.to_vec();
        let v = values(v, v_layout)?;
        for pad in self.rows.iter() {
            let weights = self.weights(pad);
            for (column, out) in out[pad.row * width..][..width].iter_mut().enumerate() {
                let column = self.value_column(column);
                let term = |sum: f32, (row, weight): &(usize, f32)| {
                    v[row * kv_width + column].mul_add(*weight, sum)
                };
                *out = weights.iter().fold(0.0, term);
            }
        }
        Ok(output(out, rows, width))
    }

    /// The rows of padding pass their gradient to the values they mixed, and none to `out`.
    fn bwd(
        &self,
        out: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (width, kv_width) = (out.dim(1)?, v.dim(1)?);
        let mut grad_out = to_vec(grad)?;
        let mut grad_v = vec![0.0; v.elem_count()];
        for pad in self.rows.iter() {
            let weights = self.weights(pad);
            for column in 0..width {
                let g = std::mem::take(&mut grad_out[pad.row * width + column]);
                let column = self.value_column(column);
                for (row, weight) in &weights {
                    let slot = &mut grad_v[row * kv_width + column];
                    *slot = g.mul_add(*weight, *slot);
                }
            }
        }
        let wrap = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((Some(wrap(grad_out, out)?), Some(wrap(grad_v, v)?)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    const HEADS: Heads = Heads { query: 4, kv: 2, width: 2 };

    fn rows() -> Arc<[PadRow]> {
        let pad = |row, sequence, count, masked| PadRow { row, sequence, count, masked };
        [pad(5, 0..2, 3, Masked::Everything), pad(6, 2..5, 1, Masked::Nothing)].into()
    }

    fn draw(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 37 % 19) as f32 - 9.0) / 7.0).collect()
    }

    fn tensors() -> (Var, Var) {
        let out = Var::from_vec(draw(7 * 8), (7, 8), &Device::Cpu).unwrap();
        (out, Var::from_vec(draw(7 * 4), (7, 4), &Device::Cpu).unwrap())
    }

    #[test]
    fn padding_sees_everything_or_nothing() {
        let (out, v) = tensors();
        let padded = to_vec(&pad_rows(&out, &v, &rows(), HEADS).unwrap()).unwrap();
        assert_eq!(padded[..5 * 8], to_vec(&out).unwrap()[..5 * 8]);
        let v = to_vec(&v).unwrap();
        // Query heads 2 and 3 read value head 1.
        let mean = (v[2] + v[4 + 2] + 3.0 * v[5 * 4 + 2]) / 5.0;
        assert!((padded[5 * 8 + 4] - mean).abs() < 1e-6 && (padded[5 * 8 + 6] - mean).abs() < 1e-6);
        assert_eq!(padded[6 * 8..], [0.0; 8]);
    }

    /// The op is linear in both arguments: a difference quotient is exact but for rounding.
    #[test]
    fn gradients_equal_difference_quotients() {
        let (out, v) = tensors();
        let weights = Tensor::from_vec(draw(56), (7, 8), &Device::Cpu).unwrap();
        let loss = || {
            let y = pad_rows(&out, &v, &rows(), HEADS).unwrap();
            (y * &weights).unwrap().sum_all().unwrap()
        };
        let grads = loss().backward().unwrap();
        for variable in [&out, &v] {
            let grad = to_vec(grads.get(variable).unwrap()).unwrap();
            let start = to_vec(variable).unwrap();
            for i in 0..start.len() {
                let at = |step: f32| {
                    let mut moved = start.clone();
                    moved[i] += step;
                    variable
                        .set(&Tensor::from_vec(moved, variable.shape(), &Device::Cpu).unwrap())
                        .unwrap();
                    loss().to_scalar::<f32>().unwrap()
                };
                let slope = (at(1.0) - at(-1.0)) / 2.0;
                at(0.0);
                assert!((slope - grad[i]).abs() < 1e-4, "{i}: {slope} {}", grad[i]);
            }
        }
    }
}
