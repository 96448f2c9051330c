//! The definition of the tile kernels and of the conversions around them: plain loops.
//!
//! The bodies marked for inlining are compiled again for wider instruction sets.

use half::f16;

use super::words::{Block, LANES, Line, Pair, WORDS};

/// Numbers of rows that the tile kernels take.
pub(super) const HEIGHTS: &[usize] = &[4, 2, 1];

/// Adds to each sum one fused multiply-add a word, in order: f32 words, f32 sums.
pub(super) fn f32_tile(block: Block<'_>) {
    each_word(block, |a, b, sum| {
        f32::from_bits(a).mul_add(f32::from_bits(b), f32::from_bits(sum)).to_bits()
    });
}

/// Adds to each sum four products a word: int8 words, i32 sums, exact.
pub(super) fn int8_tile(block: Block<'_>) {
    each_word(block, |a, b, sum| {
        let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
        let code = |byte: u8| i32::from(byte.cast_signed());
        products.fold(sum.cast_signed(), |sum, (a, b)| sum + code(a) * code(b)).cast_unsigned()
    });
}

#[inline(always)]
fn each_word(block: Block<'_>, add: impl Fn(u32, u32, u32) -> u32) {
    let Block { a, tile_lines, height, b, sums, .. } = block;
    for (a, sums) in a.chunks(tile_lines).zip(sums.chunks_exact_mut(height)) {
        for (a, b) in a.chunks_exact(height).zip(b.as_chunks::<WORDS>().0) {
            for (word, b) in b.iter().enumerate() {
                for (a, sums) in a.iter().zip(&mut *sums) {
                    for (b, sums) in b.iter().zip(sums) {
                        for (b, sum) in b.0.iter().zip(&mut sums.0) {
                            *sum = add(a.0[word], *b, *sum);
                        }
                    }
                }
            }
        }
    }
}

/// Writes each word's two bf16 as f32 to a pair of its own.
#[inline(always)]
pub(super) fn spread_bf16(words: &[Pair], out: &mut [Pair]) {
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for half in 0..2 {
            for lane in 0..WORDS {
                even[half].0[lane] = words[half].0[lane] << 16;
                odd[half].0[lane] = words[half].0[lane] & 0xffff_0000;
            }
        }
    }
}

/// Writes each word's two bf16 to a line each: side by side what stood in the 32 columns.
#[inline(always)]
pub(super) fn split_bf16(words: &[Pair], out: &mut [Line]) {
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        let neighbours = words.iter().flat_map(|line| line.0.as_chunks::<2>().0);
        for (([left, right], even), odd) in neighbours.zip(&mut even.0).zip(&mut odd.0) {
            *even = left & 0xffff | right << 16;
            *odd = left >> 16 | right & 0xffff_0000;
        }
    }
}

/// Writes each word's two f16 as f32 to a pair of its own.
pub(super) fn spread_f16(words: &[Pair], out: &mut [Pair]) {
    each_half(words, out, |half| f16::from_bits(half).to_f32().to_bits());
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the halves are taken apart")]
fn each_half(words: &[Pair], out: &mut [Pair], widen: impl Fn(u16) -> u32) {
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for ((words, even), odd) in words.iter().zip(even).zip(odd) {
            for ((word, even), odd) in words.0.iter().zip(&mut even.0).zip(&mut odd.0) {
                *even = widen(*word as u16);
                *odd = widen((*word >> 16) as u16);
            }
        }
    }
}

/// Writes each word's four codes, times the scale of their column, to a pair each.
#[inline(always)]
pub(super) fn spread_int8(words: &[Pair], scales: &[f32; LANES], out: &mut [Pair]) {
    for (words, out) in words.iter().zip(out.as_chunks_mut::<4>().0) {
        for (step, out) in out.iter_mut().enumerate() {
            for (half, (line, out)) in words.iter().zip(out).enumerate() {
                for lane in 0..WORDS {
                    let code = line.0[lane].to_le_bytes()[step].cast_signed();
                    out.0[lane] = (f32::from(code) * scales[half * WORDS + lane]).to_bits();
                }
            }
        }
    }
}

/// Rounds to bf16 (half to even): each two pairs of f32 make one of words.
#[inline(always)]
pub(super) fn narrow_pairs(floats: &[Pair], out: &mut [Pair]) {
    for ([even, odd], out) in floats.as_chunks::<2>().0.iter().zip(out) {
        for ((even, odd), out) in even.iter().zip(odd).zip(out) {
            for ((even, odd), word) in even.0.iter().zip(&odd.0).zip(&mut out.0) {
                *word = narrow(*even) | narrow(*odd) << 16;
            }
        }
    }
}

/// Rounds 32 floats to bf16: each two neighbours make a word.
#[inline(always)]
pub(super) fn narrow_line(floats: &Pair, out: &mut Line) {
    let [low, high] = out.0.as_chunks_mut::<8>().0 else { return };
    for (line, out) in floats.iter().zip([low, high]) {
        for ([even, odd], word) in line.0.as_chunks::<2>().0.iter().zip(out) {
            *word = narrow(*even) | narrow(*odd) << 16;
        }
    }
}

/// Leaves of each float what rounding it to bf16 takes off; 0 where the rounded one is not finite.
#[inline(always)]
pub(super) fn narrow_rest(floats: &mut Pair) {
    for word in floats.iter_mut().flat_map(|line| &mut line.0) {
        let rounded = f32::from_bits(narrow(*word) << 16);
        let rest = f32::from_bits(*word) - rounded;
        *word = if rounded.is_finite() { rest.to_bits() } else { 0 };
    }
}

/// Writes each word's four codes as bf16, exactly: two words of them.
#[inline(always)]
pub(super) fn halve_int8(words: &[Pair], out: &mut [Pair]) {
    let upper = |code: u8| f32::from(code.cast_signed()).to_bits();
    for (words, out) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for (half, line) in words.iter().enumerate() {
            for (lane, word) in line.0.iter().enumerate() {
                for ([even, odd], out) in
                    word.to_le_bytes().as_chunks::<2>().0.iter().zip(&mut *out)
                {
                    out[half].0[lane] = upper(*even) >> 16 | upper(*odd);
                }
            }
        }
    }
}

/// bf16 bits of an f32's, half to even, as `half` rounds; without a branch.
#[inline(always)]
pub(super) fn narrow(bits: u32) -> u32 {
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    let is_nan = bits & 0x7fff_ffff > 0x7f80_0000;
    if is_nan { quiet } else { rounded }
}

/// Exchanges rows and columns of 16 x 16 words.
pub(super) fn transpose(block: &mut [Line; WORDS]) {
    for row in 1..WORDS {
        for column in 0..row {
            let word = block[row].0[column];
            block[row].0[column] = std::mem::replace(&mut block[column].0[row], word);
        }
    }
}
