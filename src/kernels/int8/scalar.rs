//! The definition of the row kernels: plain loops, no intrinsics.
//!
//! Free of `unsafe`; what the other files compute is held against this.

use half::{f16, slice::HalfFloatSliceExt};

use super::{
    super::{
        scalar,
        words::{BLOCK_STEPS, LANES, Pair, TileKernel},
    },
    Kernels, Level,
};

/// The set that every processor has.
pub(super) const KERNELS: Kernels = Kernels {
    name: "scalar",
    level: Level::Scalar,
    tile: TileKernel { heights: scalar::HEIGHTS, block_steps: BLOCK_STEPS, run: scalar::int8_tile },
    shift: 0,
    dequantize_row,
    dequantize_lanes,
    round_to_half,
    all_below,
    absmax_below,
    quantize_row,
};

/// `out[o] = (sum[o] as f32 * (row_scale * scales[o])) * constant`.
#[inline(always)]
pub(super) fn dequantize_row(
    sums: &[i32],
    row_scale: f32,
    scales: &[f32],
    constant: f32,
    out: &mut [f32],
) {
    for ((out, &sum), &scale) in out.iter_mut().zip(sums).zip(scales) {
        *out = sum as f32 * (row_scale * scale) * constant;
    }
}

/// As [`dequantize_row`], of sums as the tile kernels leave them.
#[inline(always)]
pub(super) fn dequantize_lanes(
    sums: &Pair,
    row_scale: f32,
    scales: &[f32; LANES],
    constant: f32,
    out: &mut [f32; LANES],
) {
    let sums = sums.iter().flat_map(|line| line.0);
    for ((out, sum), &scale) in out.iter_mut().zip(sums).zip(scales) {
        *out = sum.cast_signed() as f32 * (row_scale * scale) * constant;
    }
}

/// Each value rounded to half precision.
pub(super) fn round_to_half(x: &[f32], out: &mut [f32]) {
    let (wholes, tail) = x.as_chunks::<16>();
    let (outs, out_tail) = out.as_chunks_mut::<16>();
    let mut half = [f16::ZERO; 16];
    for (x, out) in wholes.iter().zip(outs) {
        half.convert_from_f32_slice(x);
        half.convert_to_f32_slice(out);
    }
    for (x, out) in tail.iter().zip(out_tail) {
        *out = f16::from_f32(*x).to_f32();
    }
}

/// Whether every magnitude is below `limit`; NaN is not.
#[inline(always)]
pub(super) fn all_below(x: &[f32], limit: f32) -> bool {
    x.iter().fold(true, |below, x| below & (x.abs() < limit))
}

/// Largest magnitude below `limit`, 0 if there is none. NaN is passed over.
#[inline(always)]
pub(super) fn absmax_below(x: &[f32], limit: f32) -> f32 {
    x.iter().fold(0.0, |largest, x| {
        let x = x.abs();
        if x < limit && x > largest { x } else { largest }
    })
}

/// `out[i] = round_half_even(x[i] * scale)` as int8 where `|x[i]| < limit`, else 0.
///
/// The caller keeps `|x[i] * scale|` of those elements within 127.5.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the caller keeps the product within int8")]
pub(super) fn quantize_row(x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let code = (x * scale).round_ties_even();
        *out = if x.abs() < limit { code as i32 as i8 } else { 0 };
    }
}
