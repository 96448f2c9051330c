//! AVX2 kernels: 8 float lanes a step, half a panel at a time.

use std::arch::x86_64::{
    __m256, _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_ps,
};

use half::{bf16, f16};

use super::{Kernels, LANES, Level, scalar};

/// Returns the AVX2 set, or `None` where the CPU lacks AVX2, FMA or F16C.
pub(super) fn kernels() -> Option<Kernels> {
    (std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("f16c"))
    .then_some(Kernels {
        name: "avx2",
        level: Level::Avx2,
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
    })
}

#[target_feature(enable = "avx2,fma,f16c")]
fn load_f32(x: &[f32; 8]) -> __m256 {
    // SAFETY: the reference makes 8 floats readable, and `loadu` needs no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn load_f16(x: &[f16; 8]) -> __m256 {
    // SAFETY: the reference makes 16 bytes readable, and `loadu` needs no alignment.
    let x = unsafe { _mm_loadu_si128(x.as_ptr().cast()) };
    _mm256_cvtph_ps(x)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn load_bf16(x: &[bf16; 8]) -> __m256 {
    // SAFETY: the reference makes 16 bytes readable, and `loadu` needs no alignment.
    let x = unsafe { _mm_loadu_si128(x.as_ptr().cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x)))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn store(to: &mut [f32; 8], x: __m256) {
    // SAFETY: the reference makes 8 floats writable, and `storeu` needs no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) }
}

/// Writes the tile kernel of one weight format: up to 6 x 2 sums in registers.
macro_rules! tile {
    ($tile:ident, $fixed:ident, $weight:ty, $load:ident) => {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $tile(rows: usize, x: &[f32], w: &[$weight], acc: &mut [[f32; LANES]]) {
            for half in 0..2 {
                match rows {
                    12 => {
                        $fixed::<12, 0, 6>(half, x, w, acc);
                        $fixed::<12, 6, 6>(half, x, w, acc);
                    }
                    8 => {
                        $fixed::<8, 0, 4>(half, x, w, acc);
                        $fixed::<8, 4, 4>(half, x, w, acc);
                    }
                    4 => $fixed::<4, 0, 4>(half, x, w, acc),
                    2 => $fixed::<2, 0, 2>(half, x, w, acc),
                    _ => $fixed::<1, 0, 1>(half, x, w, acc),
                }
            }
        }

        /// Rows `FROM..FROM + N` of a tile of `R`, lanes `half * 16..` of the panel.
        #[target_feature(enable = "avx2,fma,f16c")]
        fn $fixed<const R: usize, const FROM: usize, const N: usize>(
            half: usize,
            x: &[f32],
            w: &[$weight],
            acc: &mut [[f32; LANES]],
        ) {
            let acc = &mut acc[FROM..FROM + N];
            let mut sums = [[_mm256_set1_ps(0.0); 2]; N];
            for (sums, acc) in sums.iter_mut().zip(acc.iter()) {
                let [low, high] = acc[half * 16..][..16].as_chunks::<8>().0 else { continue };
                *sums = [load_f32(low), load_f32(high)];
            }
            for (x, w) in x.as_chunks::<R>().0.iter().zip(w.as_chunks::<LANES>().0) {
                let [low, high] = w[half * 16..][..16].as_chunks::<8>().0 else { continue };
                let (low, high) = ($load(low), $load(high));
                for (sums, x) in sums.iter_mut().zip(&x[FROM..]) {
                    let x = _mm256_set1_ps(*x);
                    sums[0] = _mm256_fmadd_ps(x, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(x, high, sums[1]);
                }
            }
            for (sums, acc) in sums.iter().zip(acc) {
                let [low, high] = acc[half * 16..][..16].as_chunks_mut::<8>().0 else { continue };
                store(low, sums[0]);
                store(high, sums[1]);
            }
        }
    };
}

tile!(tile_f32, tile_f32_fixed, f32, load_f32);
tile!(tile_f16, tile_f16_fixed, f16, load_f16);
tile!(tile_bf16, tile_bf16_fixed, bf16, load_bf16);

#[target_feature(enable = "avx2,fma,f16c")]
fn softmax(scores: &mut [f32]) -> (f32, f32) {
    scalar::softmax(scores)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn exp_scaled(x: &mut [f32], factor: f32, shift: f32) {
    scalar::exp_scaled(x, factor, shift);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    scalar::rms_norm(x, w, eps, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    scalar::swiglu(gate, up, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
fn log_sum_exp(x: &[f32]) -> f64 {
    scalar::log_sum_exp(x)
}
