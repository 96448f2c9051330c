//! The sets for x86-64.
//!
//! `vpdpbusd` takes one unsigned operand: codes of activations are packed with 128 added, and
//! `corrections` takes off what that adds.

use std::arch::x86_64::*;

use super::{
    super::{
        amx, avx2, avx512,
        words::{BLOCK_STEPS, LANES, Pair, TileKernel},
    },
    Kernels, Level, scalar,
};

/// Writes a set on vectors: `$tiles` has its tile kernel, `$wide` the kernels of rows.
macro_rules! set {
    ($name:literal, $level:expr, $tiles:ident, $shift:literal, $wide:ident) => {
        // SAFETY (of each closure): it leaves `kernels` only after the features were detected.
        Kernels {
            name: $name,
            level: $level,
            tile: TileKernel {
                heights: $tiles::HEIGHTS,
                block_steps: BLOCK_STEPS,
                // SAFETY: as above.
                run: |block| unsafe { $tiles::int8_tile(block) },
            },
            shift: $shift,
            // SAFETY: as above.
            dequantize_row: |sums, row, scales, k, out| unsafe {
                $wide::dequantize_row(sums, row, scales, k, out);
            },
            // SAFETY: as above.
            dequantize_lanes: |sums, row, scales: &[f32; LANES], k, out| unsafe {
                $wide::dequantize_lanes(sums, row, scales, k, out);
            },
            // SAFETY: as above.
            round_to_half: |x, out| unsafe { $wide::round_to_half(x, out) },
            // SAFETY: as above.
            all_below: |x, limit| unsafe { $wide::all_below(x, limit) },
            // SAFETY: as above.
            absmax_below: |x, limit| unsafe { $wide::absmax_below(x, limit) },
            // SAFETY: as above.
            quantize_row: |x, scale, limit, out| unsafe {
                $wide::quantize_row(x, scale, limit, out);
            },
        }
    };
}

/// Returns what this processor can run of AVX2, AVX-512 with VNNI and AMX, in this order.
pub(super) fn kernels() -> Vec<Kernels> {
    let mut sets = Vec::new();
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        sets.push(set!("avx2", Level::Avx2, avx2, 0, wide256));
    }
    if std::is_x86_feature_detected!("avx512f")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512dq")
        && std::is_x86_feature_detected!("avx512vnni")
    {
        let vnni = set!("avx512vnni", Level::Avx512, avx512, 0x8080_8080, wide512);
        sets.push(vnni);
        if amx::units().int8 {
            sets.push(Kernels {
                name: "amx-int8",
                level: Level::Amx,
                tile: TileKernel {
                    heights: &amx::HEIGHTS,
                    block_steps: amx::BLOCK_STEPS,
                    // SAFETY: the unit was named.
                    run: |block| unsafe { amx::int8_tile(block) },
                },
                shift: 0,
                ..vnni
            });
        }
    }
    sets
}

mod wide256 {
    use super::*;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dequantize_row(
        sums: &[i32],
        row_scale: f32,
        scales: &[f32],
        constant: f32,
        out: &mut [f32],
    ) {
        scalar::dequantize_row(sums, row_scale, scales, constant, out);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn dequantize_lanes(
        sums: &Pair,
        row_scale: f32,
        scales: &[f32; LANES],
        constant: f32,
        out: &mut [f32; LANES],
    ) {
        scalar::dequantize_lanes(sums, row_scale, scales, constant, out);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn round_to_half(x: &[f32], out: &mut [f32]) {
        scalar::round_to_half(x, out);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn all_below(x: &[f32], limit: f32) -> bool {
        scalar::all_below(x, limit)
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn absmax_below(x: &[f32], limit: f32) -> f32 {
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
    pub(super) fn quantize_row(x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
        scalar::quantize_row(x, scale, limit, out);
    }
}

mod wide512 {
    use super::*;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn dequantize_row(
        sums: &[i32],
        row_scale: f32,
        scales: &[f32],
        constant: f32,
        out: &mut [f32],
    ) {
        scalar::dequantize_row(sums, row_scale, scales, constant, out);
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn dequantize_lanes(
        sums: &Pair,
        row_scale: f32,
        scales: &[f32; LANES],
        constant: f32,
        out: &mut [f32; LANES],
    ) {
        let (row_scale, constant) = (_mm512_set1_ps(row_scale), _mm512_set1_ps(constant));
        let (scales, outs) = (scales.as_chunks::<16>().0, out.as_chunks_mut::<16>().0);
        for ((sums, scales), out) in sums.iter().zip(scales).zip(outs) {
            let sums = _mm512_cvtepi32_ps(avx512::load(sums));
            let scaled = _mm512_mul_ps(sums, _mm512_mul_ps(row_scale, load_f32(scales)));
            store_f32(out, _mm512_mul_ps(scaled, constant));
        }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn round_to_half(x: &[f32], out: &mut [f32]) {
        let (vectors, tail) = x.as_chunks::<16>();
        let (outs, out_tail) = out.as_chunks_mut::<16>();
        for (x, out) in vectors.iter().zip(outs) {
            let half = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(load_f32(x));
            store_f32(out, _mm512_cvtph_ps(half));
        }
        scalar::round_to_half(tail, out_tail);
    }

    #[target_feature(enable = "avx512f,avx512dq")]
    pub(super) fn all_below(x: &[f32], limit: f32) -> bool {
        let (vectors, tail) = x.as_chunks::<16>();
        let mut other = 0;
        for x in vectors {
            let x = _mm512_abs_ps(load_f32(x));
            other |= _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, _mm512_set1_ps(limit));
        }
        other == 0 && scalar::all_below(tail, limit)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    pub(super) fn absmax_below(x: &[f32], limit: f32) -> f32 {
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
    pub(super) fn quantize_row(x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
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
    fn load_f32(x: &[f32]) -> __m512 {
        assert!(x.len() == 16);
        // SAFETY: 16 elements are readable (asserted); `loadu` needs no alignment.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[target_feature(enable = "avx512f")]
    fn store_f32(out: &mut [f32; 16], x: __m512) {
        // SAFETY: 16 elements are writable; `storeu` needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) };
    }
}
