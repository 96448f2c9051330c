//! The definition of each kernel: plain loops, no intrinsics, no reordering.
//!
//! Free of `unsafe`; what the other files compute is held against this.

use super::{
    Kernels, Level,
    packed::{GROUP, Line, PANEL},
};

/// The set that every processor has.
pub(super) const KERNELS: Kernels = Kernels {
    name: "scalar",
    level: Level::Scalar,
    heights: &[4, 2, 1],
    shift: 0,
    int8_tile,
    bf16_tile,
    spread_rows,
    spread_columns,
    pair_rows,
    dequantize_row,
    absmax_below,
    quantize_row,
};

/// `out[r][o] = sum_i (x[r][i]) * w[o][i]`, `x` packed `[group][r][4]`, exact.
pub(super) fn int8_tile(
    x: &[u8],
    panel: &[Line],
    _ahead: &[Line],
    _corrections: &[i32; PANEL],
    out: &mut [[i32; PANEL]],
) {
    let rows = out.len();
    out.fill([0; PANEL]);
    for (x, lines) in x.chunks_exact(rows * GROUP).zip(panel.as_chunks::<2>().0) {
        for (x, out) in x.as_chunks::<GROUP>().0.iter().zip(&mut *out) {
            for (line, out) in lines.iter().zip(out.as_chunks_mut::<16>().0) {
                for (w, out) in line.0.as_chunks::<GROUP>().0.iter().zip(out) {
                    for (&x, &w) in x.iter().zip(w) {
                        *out += i32::from(x.cast_signed()) * i32::from(w);
                    }
                }
            }
        }
    }
}

/// `out[r][j] = fma(a[s][r], b[s][j], out[r][j])` for s in order, on bf16 bits, two steps at a
/// time: `a` is packed `[s / 2][r][2]`.
pub(super) fn bf16_tile(a: &[[u16; 2]], b: &[[[u16; 2]; PANEL]], out: &mut [[f32; PANEL]]) {
    bf16_body(a, b, out);
}

#[inline(always)]
pub(super) fn bf16_body(a: &[[u16; 2]], b: &[[[u16; 2]; PANEL]], out: &mut [[f32; PANEL]]) {
    let rows = out.len();
    for (a, b) in a.chunks_exact(rows).zip(b) {
        for (&a, out) in a.iter().zip(&mut *out) {
            for (&b, out) in b.iter().zip(out) {
                for (a, b) in a.into_iter().zip(b) {
                    *out = widen(a).mul_add(widen(b), *out);
                }
            }
        }
    }
}

#[inline(always)]
fn widen(bf16: u16) -> f32 {
    f32::from_bits(u32::from(bf16) << 16)
}

/// `out[i][o] = w[o][i]`: inputs become rows. `lines` are those of `out.len() / 4` groups.
#[inline(always)]
pub(super) fn spread_rows(lines: &[Line], out: &mut [[f32; PANEL]]) {
    for (lines, out) in lines.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<GROUP>().0) {
        for (half, line) in lines.iter().enumerate() {
            for (step, out) in out.iter_mut().enumerate() {
                for lane in 0..16 {
                    out[half * 16 + lane] = f32::from(line.0[lane * GROUP + step]);
                }
            }
        }
    }
}

/// `out[o][i] = w[o][i]` for the up to 32 inputs of `lines` (up to 8 groups) and 32 outputs.
#[inline(always)]
pub(super) fn spread_columns(lines: &[Line], out: &mut [[f32; PANEL]]) {
    for (group, lines) in lines.as_chunks::<2>().0.iter().enumerate() {
        for (half, line) in lines.iter().enumerate() {
            let codes = line.0.as_chunks::<GROUP>().0;
            for (codes, out) in codes.iter().zip(&mut out[half * 16..]) {
                for (step, &code) in codes.iter().enumerate() {
                    out[group * GROUP + step] = f32::from(code);
                }
            }
        }
    }
}

/// Rounds to bf16 (half to even) and puts each two rows' elements side by side.
#[inline(always)]
pub(super) fn pair_rows(rows: &[[f32; PANEL]], pairs: &mut [[[u16; 2]; PANEL]]) {
    for (pair, two) in pairs.iter_mut().zip(rows.as_chunks::<2>().0) {
        for (lane, pair) in pair.iter_mut().enumerate() {
            *pair = [narrow(two[0][lane]), narrow(two[1][lane])];
        }
    }
}

/// bf16 bits of `x`, half to even, as `half` rounds; without a branch.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the shift leaves 16 bits")]
pub(super) fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if x.is_nan() { quiet } else { rounded }) as u16
}

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
