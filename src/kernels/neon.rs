//! Tile kernel for int8 on 128-bit Arm vectors with the dot product extension.
//!
//! Its intrinsic is not stable in Rust yet, so one line of assembly stands for it.

use std::arch::{aarch64::*, asm};

use super::words::{Block, Line, Pair, WORDS};

/// Numbers of rows that the kernel takes.
pub(super) const HEIGHTS: &[usize] = &[3, 2, 1];

/// int8 words, i32 sums, exact.
#[target_feature(enable = "neon,dotprod")]
pub(super) fn int8_tile(Block { a, tile_lines, height, b, sums, .. }: Block<'_>) {
    for (a, sums) in a.chunks(tile_lines).zip(sums.chunks_exact_mut(height)) {
        match height {
            1 => int8_rows::<1>(a, b, sums),
            2 => int8_rows::<2>(a, b, sums),
            3 => int8_rows::<3>(a, b, sums),
            rows => unreachable!("no tile of {rows} rows"),
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn int8_rows<const R: usize>(a: &[Line], b: &[Pair], out: &mut [Pair]) {
    let Some(out) = out.as_mut_array::<R>() else { return };
    let quarters = |pair: &Pair| -> [uint32x4_t; 8] {
        // SAFETY: both are 128 bytes, and every bit pattern is a value of both.
        unsafe { std::mem::transmute(*pair) }
    };
    let mut sums = out.each_ref().map(quarters);
    for (a, b) in a.as_chunks::<R>().0.iter().zip(b.as_chunks::<WORDS>().0) {
        for (word, b) in b.iter().enumerate() {
            let a = a.each_ref().map(|a| vdupq_n_u32(a.0[word]));
            for (quarter, codes) in quarters(b).into_iter().enumerate() {
                for (sums, &a) in sums.iter_mut().zip(&a) {
                    sums[quarter] = dot(sums[quarter], a, codes);
                }
            }
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        // SAFETY: as above.
        *out = unsafe { std::mem::transmute::<[uint32x4_t; 8], Pair>(sums) };
    }
}

/// Adds four products of int8 to each 32-bit lane of `sum`.
#[target_feature(enable = "neon,dotprod")]
fn dot(mut sum: uint32x4_t, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    // SAFETY: reads and writes registers only; the extension is enabled for this function.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
