//! The network's operations with their gradients, as candle ops and, for training, on values; their
//! inner loops are in `kernels`.
//!
//! candle's own fused softmax, norm and rotary ops drop gradients without an error, and its matrix
//! product builds a gradient for frozen weights too. Each op here has a backward that is checked
//! by finite differences and against a slow formulation, and none holds a `[t, t]` matrix.
//! All values are contiguous f32 on the CPU, one row per token: `[t, width]`.

mod attention;
mod linear;
mod padding;
mod rms_norm;
mod rope;
mod swiglu;
mod trainable;

pub(super) use attention::Attention;
pub use attention::{Heads, QUERY_ROWS, attention};
pub use linear::frozen_linear;
pub use padding::{Masked, Pad};
pub use rms_norm::rms_norm;
pub(super) use rms_norm::{norm_gradients, normed};
pub use rope::rotate;
pub(super) use rope::turn;
pub use swiglu::swiglu;
pub(super) use swiglu::{gate_gradients, gated};
pub use trainable::trainable_linear;

use std::ops::Range;

use candle_core::{CpuStorage, Error, Layout, Result, Shape, Storage, StorageRef, Tensor};

/// Values below which an op runs on the calling thread alone.
const PARALLEL_FROM: usize = 1 << 14;

/// Returns the values of a contiguous f32 argument.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (begin, end) =
        layout.contiguous_offsets().ok_or_else(|| Error::RequiresContiguous { op: "llama" })?;
    Ok(&storage.as_slice::<f32>()?[begin..end])
}

/// Returns rows and width of a matrix.
fn rows_and_width(layout: &Layout) -> Result<(usize, usize)> {
    layout.shape().dims2()
}

/// Copies a tensor's values out.
fn to_vec(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// Values of a tensor: where they lie, or a copy if they are not in order there.
pub(super) enum Read<'a> {
    Here(StorageRef<'a>, Range<usize>),
    Copied(Vec<f32>),
}

impl std::ops::Deref for Read<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Here(storage, range) => match &**storage {
                Storage::Cpu(CpuStorage::F32(values)) => &values[range.clone()],
                _ => unreachable!("`read` has looked"),
            },
            Self::Copied(values) => values,
        }
    }
}

/// Reads a tensor's values, without a copy where they are f32 in order on the CPU.
pub(super) fn read(tensor: &Tensor) -> Result<Read<'_>> {
    let (storage, layout) = tensor.storage_and_layout();
    let is_here = matches!(&*storage, Storage::Cpu(CpuStorage::F32(_)));
    match layout.contiguous_offsets() {
        Some((begin, end)) if is_here => Ok(Read::Here(storage, begin..end)),
        _ => Ok(Read::Copied(to_vec(tensor)?)),
    }
}

/// Wraps an op's result.
fn output(values: Vec<f32>, rows: usize, width: usize) -> (CpuStorage, Shape) {
    (CpuStorage::F32(values), Shape::from((rows, width)))
}

/// Adds `part` to `sum`, which is as long, on all threads where it pays.
pub fn add(sum: &mut [f32], part: &[f32]) {
    use rayon::prelude::*;
    let add = |(sum, part): (&mut [f32], &[f32])| {
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    };
    if sum.len() < PARALLEL_FROM {
        add((sum, part));
    } else {
        let pieces = sum.par_chunks_mut(PARALLEL_FROM / 4).zip(part.par_chunks(PARALLEL_FROM / 4));
        pieces.for_each(add);
    }
}

/// Runs `body` on each row of `out` with its index, on all threads where it pays.
fn for_each_row(out: &mut [f32], width: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    use rayon::prelude::*;
    if out.len() < PARALLEL_FROM {
        out.chunks_mut(width).enumerate().for_each(|(row, out)| body(row, out));
    } else {
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| body(row, out));
    }
}

/// Runs `body` on the rows of two results with their index, on all threads where it pays; both have
/// as many rows, the first `width` wide.
fn for_each_two_rows(
    first: &mut [f32],
    second: &mut [f32],
    width: usize,
    body: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    use rayon::prelude::*;
    let other = second.len() / (first.len() / width).max(1);
    let body = |(row, (first, second)): (usize, (&mut [f32], &mut [f32]))| body(row, first, second);
    if first.len() < PARALLEL_FROM {
        let rows = first.chunks_mut(width).zip(second.chunks_mut(other.max(1)));
        rows.enumerate().for_each(body);
    } else {
        let rows = first.par_chunks_mut(width).zip(second.par_chunks_mut(other));
        rows.enumerate().for_each(body);
    }
}
