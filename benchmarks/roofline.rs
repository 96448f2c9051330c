//! The ceilings of this machine: multiply-adds on vector and matrix registers, and reading memory.

#![expect(unsafe_code, reason = "vendor intrinsics, behind a check of the processor")]

use std::{cell::Cell, hint::black_box, time::Instant};

use medharness::kernels::{float, int8};
use rayon::prelude::*;

/// What bounds a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ceiling {
    /// int8 multiply-adds of AVX-512 VNNI.
    Int8Vectors,
    /// int8 multiply-adds of AMX.
    Int8Units,
    /// f32 fused multiply-adds of AVX-512.
    F32,
    /// bf16 multiply-adds of AVX-512 BF16.
    Bf16Vectors,
    /// bf16 multiply-adds of AMX.
    Bf16Units,
    /// Reading memory.
    Read,
}

impl Ceiling {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Int8Vectors,
        Self::Int8Units,
        Self::F32,
        Self::Bf16Vectors,
        Self::Bf16Units,
        Self::Read,
    ];

    /// Returns its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int8Vectors => "int8 vectors",
            Self::Int8Units => "int8 units",
            Self::F32 => "f32 vectors",
            Self::Bf16Vectors => "bf16 vectors",
            Self::Bf16Units => "bf16 units",
            Self::Read => "memory read",
        }
    }

    /// Returns the highest rate, in 10^9 operations (2 a multiply-add) or bytes a second; 0 where
    /// this processor has no such instruction: no share is printed then.
    pub(crate) fn giga_a_second(self, threads: usize, memory: &Memory) -> f64 {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Int8Vectors if std::is_x86_feature_detected!("avx512vnni") => {
                // SAFETY: VNNI was detected.
                return rate(threads, 24.0 * 64.0 * 2.0, |steps| unsafe { x86::vnni(steps) });
            }
            Self::F32 if std::is_x86_feature_detected!("avx512f") => {
                // SAFETY: AVX-512 was detected.
                return rate(threads, 24.0 * 16.0 * 2.0, |steps| unsafe { x86::fma(steps) });
            }
            Self::Bf16Vectors if std::is_x86_feature_detected!("avx512bf16") => {
                // SAFETY: BF16 was detected.
                return rate(threads, 24.0 * 32.0 * 2.0, |steps| unsafe { x86::bf16(steps) });
            }
            Self::Int8Units
                if int8::Kernels::available().iter().any(|set| set.name == "amx-int8") =>
            {
                // SAFETY: the set is there only if the system lets this process use the units.
                return rate(threads, 4.0 * 16384.0 * 2.0, |steps| unsafe { x86::amx_int8(steps) });
            }
            Self::Bf16Units
                if float::Kernels::available().iter().any(|set| set.name == "amx-bf16") =>
            {
                // SAFETY: as above.
                return rate(threads, 4.0 * 8192.0 * 2.0, |steps| unsafe { x86::amx_bf16(steps) });
            }
            _ => {}
        }
        if self == Self::Read { memory.giga_bytes(threads) } else { 0.0 }
    }
}

/// Length of one measurement of multiply-adds, in steps of independent chains.
const STEPS: u64 = 200_000;

/// Bytes read to measure memory: several times the largest cache of most machines.
const MEMORY_BYTES: usize = 1 << 30;

/// Parts that the buffer is read in, a part a measurement, so that each is short.
const PARTS: usize = 16;

/// A buffer larger than the caches.
pub(crate) struct Memory {
    lines: Vec<[u64; 8]>,
    /// The part that is read next.
    next: Cell<usize>,
}

impl Memory {
    /// Allocates and touches the buffer.
    pub(crate) fn new() -> Self {
        let lines = (0..MEMORY_BYTES as u64 / 64).map(|at| [at; 8]).collect();
        Self { lines, next: Cell::new(0) }
    }

    /// Reads a part of the buffer plainly and the next with prefetching, and returns the higher rate,
    /// in 10^9 bytes a second.
    pub(crate) fn giga_bytes(&self, threads: usize) -> f64 {
        let once = |read: fn(&[[u64; 8]]) -> u64| {
            let part = self.lines.len() / PARTS;
            let lines = &self.lines[self.next.get() * part..][..part];
            self.next.set((self.next.get() + 1) % PARTS);
            let start = Instant::now();
            let parts = lines.par_chunks(part.div_ceil(threads));
            black_box(parts.map(read).sum::<u64>());
            (part * 64) as f64 / start.elapsed().as_secs_f64() / 1e9
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

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16(steps: u64) -> u64 {
        let ones = _mm512_set1_ps(1.0);
        let (x, y) = std::hint::black_box((ones, ones));
        let (x, y) = (_mm512_cvtne2ps_pbh(x, y), _mm512_cvtne2ps_pbh(y, x));
        let mut sums = [_mm512_setzero_ps(); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, y);
            }
        }
        let total = sums.into_iter().fold(ones, |total, sum| _mm512_add_ps(total, sum));
        u64::from(_mm512_reduce_add_ps(total).to_bits())
    }

    /// Shapes of eight tile registers of 16 rows x 64 bytes.
    #[repr(C, align(64))]
    struct Shapes([u8; 64]);

    /// Writes a loop of four independent products of matrix registers a step.
    macro_rules! units {
        ($name:ident, $multiply:literal) => {
            /// # Safety
            ///
            /// The process may use these units.
            pub(super) unsafe fn $name(steps: u64) -> u64 {
                let mut shapes = Shapes([0; 64]);
                shapes.0[0] = 1;
                for register in 0..8 {
                    shapes.0[16 + 2 * register] = 64;
                    shapes.0[48 + register] = 16;
                }
                // SAFETY: the units are there (the caller's promise); only registers are used, and
                // released at the end.
                unsafe {
                    std::arch::asm!(
                        "ldtilecfg [{shapes}]",
                        "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                        "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                        "2:",
                        concat!($multiply, " tmm0, tmm4, tmm6"),
                        concat!($multiply, " tmm1, tmm4, tmm7"),
                        concat!($multiply, " tmm2, tmm5, tmm6"),
                        concat!($multiply, " tmm3, tmm5, tmm7"),
                        "dec {steps}",
                        "jnz 2b",
                        "tilerelease",
                        shapes = in(reg) &shapes,
                        steps = inout(reg) steps => _,
                        options(nostack),
                    );
                }
                steps
            }
        };
    }

    units!(amx_int8, "tdpbssd");
    units!(amx_bf16, "tdpbf16ps");

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
