//! AVX-512 kernels: VNNI for int8, the BF16 extension for bf16, tiles of 12 rows x 32 outputs.
//!
//! `vpdpbusd` takes one unsigned operand: activations are packed with 128 added, and `corrections`
//! takes off what that adds. Its sums wrap, so they are exact.

use std::arch::x86_64::*;

use super::{
    Kernels, Level,
    packed::{GROUP, Line, PANEL},
    scalar,
};

/// The sets with AVX-512 VNNI, without and with the BF16 extension.
pub(super) fn kernels() -> Vec<Kernels> {
    let base = std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vnni");
    if !base {
        return Vec::new();
    }
    // SAFETY (of each closure): this function returns before them unless the processor has what
    // the functions name.
    let vnni = Kernels {
        name: "avx512vnni",
        level: Level::Avx512,
        heights: &[12, 8, 4, 2, 1],
        shift: 128,
        // SAFETY: as above.
        int8_tile: |x, w, ahead, corrections, out| unsafe {
            int8_tile(x, w, ahead, corrections, out);
        },
        bf16_tile: scalar::bf16_tile,
        // SAFETY: as above.
        spread_rows: |lines, out| unsafe { spread_rows(lines, out) },
        // SAFETY: as above.
        spread_columns: |lines, out| unsafe { spread_columns(lines, out) },
        // SAFETY: as above.
        pair_rows: |rows, pairs| unsafe { pair_rows(rows, pairs) },
        // SAFETY: as above.
        dequantize_row: |sums, row, scales, k, out| unsafe {
            dequantize_row(sums, row, scales, k, out);
        },
        // SAFETY: as above.
        absmax_below: |x, limit| unsafe { absmax_below(x, limit) },
        // SAFETY: as above.
        quantize_row: |x, scale, limit, out| unsafe { quantize_row(x, scale, limit, out) },
    };
    let mut sets = vec![vnni];
    if std::is_x86_feature_detected!("avx512bf16") {
        sets.push(Kernels {
            name: "avx512vnni-bf16",
            // SAFETY: BF16 was detected, the rest above.
            bf16_tile: |a, b, out| unsafe { bf16_tile(a, b, out) },
            ..vnni
        });
    }
    sets
}

/// Steps between two bursts of prefetches.
const STRIDE: usize = 8;

/// Calls `$tile::<R>` with the number of rows as a constant, so that sums stay in registers.
macro_rules! by_rows {
    ($tile:ident, $rows:expr, $($argument:expr),+) => {
        match $rows {
            1 => $tile::<1>($($argument),+),
            2 => $tile::<2>($($argument),+),
            4 => $tile::<4>($($argument),+),
            8 => $tile::<8>($($argument),+),
            12 => $tile::<12>($($argument),+),
            rows => unreachable!("no tile of {rows} rows"),
        }
    };
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn int8_tile(
    x: &[u8],
    panel: &[Line],
    ahead: &[Line],
    corrections: &[i32; PANEL],
    out: &mut [[i32; PANEL]],
) {
    by_rows!(int8_rows, out.len(), x, panel, ahead, corrections, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn int8_rows<const R: usize>(
    x: &[u8],
    panel: &[Line],
    ahead: &[Line],
    corrections: &[i32; PANEL],
    out: &mut [[i32; PANEL]],
) {
    let (low, high) = corrections.split_at(16);
    let mut sums = [[load_i32(low), load_i32(high)]; R];
    let x = x.as_chunks::<GROUP>().0.as_chunks::<R>().0;
    let panel = panel.as_chunks::<2>().0;
    // Memory delivers what comes next while this is multiplied, a few lines every few steps.
    let mut ahead = ahead.chunks(ahead.len().div_ceil(panel.len().div_ceil(STRIDE)).max(1));
    for (x, panel) in x.chunks(STRIDE).zip(panel.chunks(STRIDE)) {
        for line in ahead.next().unwrap_or_default() {
            _mm_prefetch::<_MM_HINT_T1>((&raw const line.0).cast());
        }
        for (x, [low, high]) in x.iter().zip(panel) {
            let (low, high) = (load_line(low), load_line(high));
            for (sums, &x) in sums.iter_mut().zip(x) {
                let x = _mm512_set1_epi32(i32::from_le_bytes(x));
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, low);
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, high);
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        let (low, high) = out.split_at_mut(16);
        store_i32(low, sums[0]);
        store_i32(high, sums[1]);
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_tile(a: &[[u16; 2]], b: &[[[u16; 2]; PANEL]], out: &mut [[f32; PANEL]]) {
    by_rows!(bf16_rows, out.len(), a, b, out);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_rows<const R: usize>(a: &[[u16; 2]], b: &[[[u16; 2]; PANEL]], out: &mut [[f32; PANEL]]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (sums, out) in sums.iter_mut().zip(&*out) {
        let (low, high) = out.split_at(16);
        *sums = [load_f32(low), load_f32(high)];
    }
    for (a, b) in a.as_chunks::<R>().0.iter().zip(b) {
        let (low, high) = b.split_at(16);
        let (low, high) = (load_pairs(low), load_pairs(high));
        for (sums, &[even, odd]) in sums.iter_mut().zip(a) {
            let a = i32::from(even) | i32::from(odd) << 16;
            let a = bits(_mm512_set1_epi32(a));
            sums[0] = _mm512_dpbf16_ps(sums[0], a, low);
            sums[1] = _mm512_dpbf16_ps(sums[1], a, high);
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        let (low, high) = out.split_at_mut(16);
        store_f32(low, sums[0]);
        store_f32(high, sums[1]);
    }
}

/// Four shifts take each byte of a group to the top of its lane and back, with its sign.
#[target_feature(enable = "avx512f")]
fn spread_rows(lines: &[Line], out: &mut [[f32; PANEL]]) {
    for (lines, out) in lines.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<GROUP>().0) {
        for (half, line) in lines.iter().enumerate() {
            let codes = load_line(line);
            let spread = [
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(codes)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(codes)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(codes)),
                _mm512_srai_epi32::<24>(codes),
            ];
            for (out, codes) in out.iter_mut().zip(spread) {
                store_f32(&mut out[half * 16..][..16], _mm512_cvtepi32_ps(codes));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn spread_columns(lines: &[Line], out: &mut [[f32; PANEL]]) {
    scalar::spread_columns(lines, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pair_rows(rows: &[[f32; PANEL]], pairs: &mut [[[u16; 2]; PANEL]]) {
    scalar::pair_rows(rows, pairs);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn dequantize_row(sums: &[i32], row_scale: f32, scales: &[f32], constant: f32, out: &mut [f32]) {
    scalar::dequantize_row(sums, row_scale, scales, constant, out);
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn absmax_below(x: &[f32], limit: f32) -> f32 {
    let (vectors, tail) = x.as_chunks::<16>();
    let mut largest = _mm512_setzero_ps();
    for x in vectors {
        let x = _mm512_abs_ps(load_f32(x));
        let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, _mm512_set1_ps(limit));
        // `max` returns its second operand when the first is NaN; the mask has dropped NaN.
        largest = _mm512_mask_max_ps(largest, below, x, largest);
    }
    _mm512_reduce_max_ps(largest).max(scalar::absmax_below(tail, limit))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn quantize_row(x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
    let (vectors, tail) = x.as_chunks::<16>();
    let (codes, codes_tail) = out.as_chunks_mut::<16>();
    for (x, codes) in vectors.iter().zip(codes) {
        let x = load_f32(x);
        let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(x), _mm512_set1_ps(limit));
        // The conversion rounds half to even, the default mode.
        let rounded = _mm512_maskz_cvtps_epi32(below, _mm512_mul_ps(x, _mm512_set1_ps(scale)));
        let narrow = _mm512_cvtepi32_epi8(rounded);
        // SAFETY: the reference makes 16 bytes writable; `storeu` needs no alignment.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), narrow) };
    }
    scalar::quantize_row(tail, scale, limit, codes_tail);
}

#[target_feature(enable = "avx512f")]
fn load_line(line: &Line) -> __m512i {
    // SAFETY: a `Line` is 64 readable bytes, aligned to 64.
    unsafe { _mm512_load_si512((&raw const line.0).cast()) }
}

#[target_feature(enable = "avx512f")]
fn load_i32(x: &[i32]) -> __m512i {
    assert!(x.len() == 16);
    // SAFETY: 16 elements are readable (asserted); `loadu` needs no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
fn load_f32(x: &[f32]) -> __m512 {
    assert!(x.len() == 16);
    // SAFETY: 16 elements are readable (asserted); `loadu` needs no alignment.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn load_pairs(x: &[[u16; 2]]) -> __m512bh {
    assert!(x.len() == 16);
    // SAFETY: 16 pairs of 4 bytes are readable (asserted); `loadu` needs no alignment.
    bits(unsafe { _mm512_loadu_si512(x.as_ptr().cast()) })
}

#[target_feature(enable = "avx512f")]
fn bits(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(x) }
}

#[target_feature(enable = "avx512f")]
fn store_i32(out: &mut [i32], x: __m512i) {
    assert!(out.len() == 16);
    // SAFETY: 16 elements are writable (asserted); `storeu` needs no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
}

#[target_feature(enable = "avx512f")]
fn store_f32(out: &mut [f32], x: __m512) {
    assert!(out.len() == 16);
    // SAFETY: 16 elements are writable (asserted); `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
}
