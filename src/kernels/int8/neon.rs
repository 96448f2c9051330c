//! NEON kernels with the dot product extension: tiles of 3 rows x 32 outputs.
//!
//! `sdot` takes signed operands, so nothing is shifted. Its intrinsic is not stable in Rust yet,
//! so one line of assembly stands for it.

use std::arch::{aarch64::*, asm};

use super::{
    Kernels, Level,
    packed::{GROUP, Line, PANEL},
    scalar,
};

/// The NEON set, or `None` where the processor lacks the dot product extension.
pub(super) fn kernels() -> Option<Kernels> {
    std::arch::is_aarch64_feature_detected!("dotprod").then_some(Kernels {
        name: "neon-dotprod",
        level: Level::Neon,
        heights: &[3, 2, 1],
        shift: 0,
        // SAFETY: this closure leaves the function only after the extension was detected.
        int8_tile: |x, w, _, _, out| unsafe { int8_tile(x, w, out) },
        // NEON is part of this architecture: the compiler vectorises the definitions.
        ..scalar::KERNELS
    })
}

#[target_feature(enable = "neon,dotprod")]
fn int8_tile(x: &[u8], panel: &[Line], out: &mut [[i32; PANEL]]) {
    match out.len() {
        1 => int8_rows::<1>(x, panel, out),
        2 => int8_rows::<2>(x, panel, out),
        3 => int8_rows::<3>(x, panel, out),
        rows => unreachable!("no tile of {rows} rows"),
    }
}

#[target_feature(enable = "neon,dotprod")]
fn int8_rows<const R: usize>(x: &[u8], panel: &[Line], out: &mut [[i32; PANEL]]) {
    let mut sums = [[vdupq_n_s32(0); 8]; R];
    let x = x.as_chunks::<GROUP>().0.as_chunks::<R>().0;
    for (x, lines) in x.iter().zip(panel.as_chunks::<2>().0) {
        let x = x.map(|x| vreinterpretq_s8_s32(vdupq_n_s32(i32::from_le_bytes(x))));
        for (half, line) in lines.iter().enumerate() {
            for (quarter, codes) in line.0.as_chunks::<16>().0.iter().enumerate() {
                // SAFETY: the reference makes 16 bytes readable; the load needs no alignment.
                let codes = unsafe { vld1q_s8(codes.as_ptr()) };
                for (sums, &x) in sums.iter_mut().zip(&x) {
                    let sum = &mut sums[half * 4 + quarter];
                    *sum = dot(*sum, x, codes);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.as_chunks_mut::<4>().0.iter_mut().zip(sums) {
            // SAFETY: the reference makes 4 elements writable; the store needs no alignment.
            unsafe { vst1q_s32(out.as_mut_ptr(), sum) };
        }
    }
}

/// Adds four products of int8 to each 32-bit lane of `sum`.
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: reads and writes registers only; the extension is enabled for this function.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {x:v}.16b, {w:v}.16b",
            sum = inout(vreg) sum, x = in(vreg) x, w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
