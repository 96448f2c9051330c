//! AVX2 and FMA kernels: tiles of 4 rows x 32 outputs, int8 widened to int16 before multiplying.
//!
//! `maddubs` would be shorter, but saturates: 255 x 127 x 2 exceeds int16.

use std::arch::x86_64::*;

use super::{
    Kernels, Level,
    packed::{GROUP, Line, PANEL},
    scalar,
};

/// The AVX2 set, or `None` where the processor lacks AVX2 or FMA.
pub(super) fn kernels() -> Option<Kernels> {
    let there = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
    there.then_some(Kernels {
        name: "avx2",
        level: Level::Avx2,
        heights: &[4, 2, 1],
        shift: 0,
        // SAFETY: these closures leave the function only after AVX2 and FMA were detected.
        int8_tile: |x, w, _, _, out| unsafe { int8_tile(x, w, out) },
        // SAFETY: as above.
        bf16_tile: |a, b, out| unsafe { bf16_tile(a, b, out) },
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
    })
}

#[target_feature(enable = "avx2,fma")]
fn int8_tile(x: &[u8], panel: &[Line], out: &mut [[i32; PANEL]]) {
    match out.len() {
        1 => int8_rows::<1>(x, panel, out),
        2 => int8_rows::<2>(x, panel, out),
        4 => int8_rows::<4>(x, panel, out),
        rows => unreachable!("no tile of {rows} rows"),
    }
}

/// Takes 8 outputs through all inputs at a time: R x 2 sums, each `[4 outputs][2]`.
#[target_feature(enable = "avx2,fma")]
fn int8_rows<const R: usize>(x: &[u8], panel: &[Line], out: &mut [[i32; PANEL]]) {
    for quarter in 0..4 {
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        let x = x.as_chunks::<GROUP>().0.as_chunks::<R>().0;
        for (x, lines) in x.iter().zip(panel.as_chunks::<2>().0) {
            let codes = &lines[quarter / 2].0[quarter % 2 * 32..][..32];
            let (low, high) = codes.split_at(16);
            let (low, high) = (widen(low), widen(high));
            for (sums, &x) in sums.iter_mut().zip(x) {
                let x = _mm256_cvtepi8_epi16(_mm_set1_epi32(i32::from_le_bytes(x)));
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(x, low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(x, high));
            }
        }
        for (out, [low, high]) in out.iter_mut().zip(sums) {
            // hadd leaves outputs 0 1 4 5 | 2 3 6 7: the permutation sorts its 64-bit quarters.
            let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
            let out = &mut out[quarter * 8..][..8];
            // SAFETY: 8 elements are writable (sliced above); `storeu` needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), sums) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn widen(codes: &[i8]) -> __m256i {
    assert!(codes.len() == 16);
    // SAFETY: 16 bytes are readable (asserted); `loadu` needs no alignment.
    _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) })
}

/// The scalar loops, compiled with fused multiply-add: the same bits.
#[target_feature(enable = "avx2,fma")]
fn bf16_tile(a: &[[u16; 2]], b: &[[[u16; 2]; PANEL]], out: &mut [[f32; PANEL]]) {
    scalar::bf16_body(a, b, out);
}

#[target_feature(enable = "avx2,fma")]
fn spread_rows(lines: &[Line], out: &mut [[f32; PANEL]]) {
    scalar::spread_rows(lines, out);
}

#[target_feature(enable = "avx2,fma")]
fn spread_columns(lines: &[Line], out: &mut [[f32; PANEL]]) {
    scalar::spread_columns(lines, out);
}

#[target_feature(enable = "avx2,fma")]
fn pair_rows(rows: &[[f32; PANEL]], pairs: &mut [[[u16; 2]; PANEL]]) {
    scalar::pair_rows(rows, pairs);
}

#[target_feature(enable = "avx2,fma")]
fn dequantize_row(sums: &[i32], row_scale: f32, scales: &[f32], constant: f32, out: &mut [f32]) {
    scalar::dequantize_row(sums, row_scale, scales, constant, out);
}

#[target_feature(enable = "avx2,fma")]
fn absmax_below(x: &[f32], limit: f32) -> f32 {
    let mut largest = [0.0_f32; 8];
    let (vectors, tail) = x.as_chunks::<8>();
    for x in vectors {
        for (largest, x) in largest.iter_mut().zip(x) {
            let x = x.abs();
            *largest = if x < limit && x > *largest { x } else { *largest };
        }
    }
    largest.into_iter().fold(scalar::absmax_below(tail, limit), f32::max)
}

#[target_feature(enable = "avx2,fma")]
fn quantize_row(x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
    scalar::quantize_row(x, scale, limit, out);
}
