//! The ceilings of this machine: multiply-adds on registers, and reading memory.

#![expect(unsafe_code, reason = "vendor intrinsics, behind a check of the processor")]

use std::{hint::black_box, time::Instant};

use rayon::prelude::*;

/// Length of one measurement of multiply-adds, in steps of independent chains.
const STEPS: u64 = 4_000_000;

/// Bytes read to measure memory: several times the largest cache of most machines.
const MEMORY_BYTES: usize = 1 << 30;

/// A buffer larger than the caches.
pub(crate) struct Memory(Vec<[u64; 8]>);

impl Memory {
    /// Allocates and touches the buffer.
    pub(crate) fn new() -> Self {
        Self((0..MEMORY_BYTES as u64 / 64).map(|at| [at; 8]).collect())
    }

    /// Reads the buffer once plainly and once with prefetching, and returns the higher rate, in 10^9
    /// bytes a second.
    pub(crate) fn giga_bytes(&self, threads: usize) -> f64 {
        let once = |read: fn(&[[u64; 8]]) -> u64| {
            let start = Instant::now();
            let parts = self.0.par_chunks(self.0.len().div_ceil(threads));
            black_box(parts.map(read).sum::<u64>());
            MEMORY_BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
        };
        once(read::<0>).max(once(read::<64>))
    }
}

/// Reads every line; asks for the line `AHEAD` lines further on, where that is not 0.
fn read<const AHEAD: usize>(lines: &[[u64; 8]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512 was detected.
        return unsafe { x86::read::<AHEAD>(lines) };
    }
    lines.iter().flatten().fold(0, |sum, &x| sum | x)
}

/// Highest rate of int8 multiply-adds, in 10^9 operations (2 a multiply-add) a second.
///
/// AVX-512 VNNI on registers where there is; 0 elsewhere: no share is printed then.
pub(crate) fn int8_giga_operations(threads: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512vnni") {
        // SAFETY: VNNI was detected.
        return rate(threads, 24.0 * 64.0 * 2.0, |steps| unsafe { x86::vnni(steps) });
    }
    let _ = threads;
    0.0
}

/// Highest rate of f32 fused multiply-adds, in 10^9 operations a second; 0 without AVX-512.
pub(crate) fn f32_giga_operations(threads: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx512f") {
        // SAFETY: AVX-512 was detected.
        return rate(threads, 24.0 * 16.0 * 2.0, |steps| unsafe { x86::fma(steps) });
    }
    let _ = threads;
    0.0
}

fn rate(threads: usize, operations_a_step: f64, work: impl Fn(u64) -> u64 + Sync) -> f64 {
    let start = Instant::now();
    let sum: u64 = (0..threads).into_par_iter().with_max_len(1).map(|_| work(STEPS)).sum();
    black_box(sum);
    operations_a_step * STEPS as f64 * threads as f64 / start.elapsed().as_secs_f64() / 1e9
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// 24 chains, so that latency is hidden; operands differ at run time.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn vnni(steps: u64) -> u64 {
        let (x, y) = std::hint::black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(5)));
        let mut sums = [_mm512_setzero_si512(); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
        }
        let total = sums.into_iter().fold(x, |total, sum| _mm512_add_epi32(total, sum));
        u64::from(_mm512_reduce_add_epi32(total).cast_unsigned())
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn fma(steps: u64) -> u64 {
        let (x, y) = std::hint::black_box((_mm512_set1_ps(0.999), _mm512_set1_ps(1e-3)));
        let mut sums = [_mm512_setzero_ps(); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        let total = sums.into_iter().fold(x, |total, sum| _mm512_add_ps(total, sum));
        u64::from(_mm512_reduce_add_ps(total).to_bits())
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn read<const AHEAD: usize>(lines: &[[u64; 8]]) -> u64 {
        let mut sums = [_mm512_setzero_si512(); 4];
        let (fours, rest) = lines.as_chunks::<4>();
        for four in fours {
            for (sum, line) in sums.iter_mut().zip(four) {
                if AHEAD > 0 {
                    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().wrapping_add(AHEAD * 8).cast());
                }
                // SAFETY: a line is 64 readable bytes.
                *sum = _mm512_or_si512(*sum, unsafe { _mm512_loadu_si512(line.as_ptr().cast()) });
            }
        }
        let total = sums.into_iter().fold(_mm512_setzero_si512(), |a, b| _mm512_or_si512(a, b));
        let total = _mm512_reduce_or_epi64(total).cast_unsigned();
        rest.iter().flatten().fold(total, |sum, &x| sum | x)
    }
}
