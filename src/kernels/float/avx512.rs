//! AVX-512 kernels: 16 float lanes a step.

use std::arch::x86_64::{
    __m512, _mm256_loadu_si256, _mm512_castsi512_ps, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_slli_epi32, _mm512_storeu_ps,
};

use half::{bf16, f16};

use super::{Kernels, LANES, Level, scalar};

/// Returns the AVX-512 set, or `None` where the CPU lacks AVX-512F.
pub(super) fn kernels() -> Option<Kernels> {
    (std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("fma")).then_some(
        Kernels {
            name: "avx512f",
            level: Level::Avx512,
            // SAFETY: these closures leave this function only after the features were detected.
            tile_f32: |rows, x, w, acc| unsafe { tile_f32(rows, x, w, acc) },
            // SAFETY: as above.
            tile_f16: |rows, x, w, acc| unsafe { tile_f16(rows, x, w, acc) },
            // SAFETY: as above.
            tile_bf16: |rows, x, w, acc| unsafe { tile_bf16(rows, x, w, acc) },
            // SAFETY: as above.
            softmax: |scores| unsafe { softmax(scores) },
            // SAFETY: as above.
            exp_scaled: |x, factor, shift| unsafe { exp_scaled(x, factor, shift) },
            // SAFETY: as above.
            rms_norm: |x, w, eps, out| unsafe { rms_norm(x, w, eps, out) },
            // SAFETY: as above.
            swiglu: |gate, up, out| unsafe { swiglu(gate, up, out) },
            // SAFETY: as above.
            log_sum_exp: |x| unsafe { log_sum_exp(x) },
        },
    )
}

#[target_feature(enable = "avx512f,fma")]
fn load_f32(x: &[f32; 16]) -> __m512 {
    // SAFETY: the reference makes 16 floats readable, and `loadu` needs no alignment.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[target_feature(enable = "avx512f,fma")]
fn load_f16(x: &[f16; 16]) -> __m512 {
    // SAFETY: the reference makes 32 bytes readable, and `loadu` needs no alignment.
    let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
    _mm512_cvtph_ps(x)
}

#[target_feature(enable = "avx512f,fma")]
fn load_bf16(x: &[bf16; 16]) -> __m512 {
    // SAFETY: the reference makes 32 bytes readable, and `loadu` needs no alignment.
    let x = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)))
}

#[target_feature(enable = "avx512f,fma")]
fn store(to: &mut [f32; 16], x: __m512) {
    // SAFETY: the reference makes 16 floats writable, and `storeu` needs no alignment.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
}

/// Writes the tile kernel of one weight format: `rows` x 2 sums in registers.
macro_rules! tile {
    ($tile:ident, $fixed:ident, $weight:ty, $load:ident) => {
        #[target_feature(enable = "avx512f,fma")]
        fn $tile(rows: usize, x: &[f32], w: &[$weight], acc: &mut [[f32; LANES]]) {
            match rows {
                12 => $fixed::<12>(x, w, acc),
                8 => $fixed::<8>(x, w, acc),
                4 => $fixed::<4>(x, w, acc),
                2 => $fixed::<2>(x, w, acc),
                _ => $fixed::<1>(x, w, acc),
            }
        }

        #[target_feature(enable = "avx512f,fma")]
        fn $fixed<const R: usize>(x: &[f32], w: &[$weight], acc: &mut [[f32; LANES]]) {
            let acc: &mut [[f32; LANES]; R] =
                acc.try_into().expect("the caller checked the number of rows");
            let mut sums = [[_mm512_set1_ps(0.0); 2]; R];
            for (sums, acc) in sums.iter_mut().zip(acc.iter()) {
                let [low, high] = acc.as_chunks::<16>().0 else { continue };
                *sums = [load_f32(low), load_f32(high)];
            }
            for (x, w) in x.as_chunks::<R>().0.iter().zip(w.as_chunks::<LANES>().0) {
                let [low, high] = w.as_chunks::<16>().0 else { continue };
                let (low, high) = ($load(low), $load(high));
                for (sums, x) in sums.iter_mut().zip(x) {
                    let x = _mm512_set1_ps(*x);
                    sums[0] = _mm512_fmadd_ps(x, low, sums[0]);
                    sums[1] = _mm512_fmadd_ps(x, high, sums[1]);
                }
            }
            for (sums, acc) in sums.iter().zip(acc) {
                let [low, high] = acc.as_chunks_mut::<16>().0 else { continue };
                store(low, sums[0]);
                store(high, sums[1]);
            }
        }
    };
}

tile!(tile_f32, tile_f32_fixed, f32, load_f32);
tile!(tile_f16, tile_f16_fixed, f16, load_f16);
tile!(tile_bf16, tile_bf16_fixed, bf16, load_bf16);

#[target_feature(enable = "avx512f,fma")]
fn softmax(scores: &mut [f32]) -> (f32, f32) {
    scalar::softmax(scores)
}

#[target_feature(enable = "avx512f,fma")]
fn exp_scaled(x: &mut [f32], factor: f32, shift: f32) {
    scalar::exp_scaled(x, factor, shift);
}

#[target_feature(enable = "avx512f,fma")]
fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    scalar::rms_norm(x, w, eps, out);
}

#[target_feature(enable = "avx512f,fma")]
fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    scalar::swiglu(gate, up, out);
}

#[target_feature(enable = "avx512f,fma")]
fn log_sum_exp(x: &[f32]) -> f64 {
    scalar::log_sum_exp(x)
}
