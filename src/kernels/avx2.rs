//! Tile kernels on 256-bit vectors, half a panel or a quarter at a time.
//!
//! int8 is widened to int16 before multiplying: `maddubs` would be shorter, but saturates.

use std::arch::x86_64::*;

use super::{
    scalar,
    words::{Block, LANES, Line, Pair, WORDS},
};

/// Numbers of rows that the kernels take.
pub(super) const HEIGHTS: &[usize] = &[6, 4, 2, 1];

/// Calls `$tile::<R>` for each tile with the number of rows as a constant, so that sums stay in
/// registers.
macro_rules! by_rows {
    ($tile:ident, $block:expr) => {{
        let Block { a, tile_lines, height, b, sums, .. } = $block;
        for (a, sums) in a.chunks(tile_lines).zip(sums.chunks_exact_mut(height)) {
            match height {
                1 => $tile::<1>(a, b, sums),
                2 => $tile::<2>(a, b, sums),
                4 => $tile::<4>(a, b, sums),
                6 => $tile::<6>(a, b, sums),
                rows => unreachable!("no tile of {rows} rows"),
            }
        }
    }};
}

/// f32 words, one fused multiply-add each, in order.
#[target_feature(enable = "avx2,fma")]
pub(super) fn f32_tile(block: Block<'_>) {
    by_rows!(f32_rows, block);
}

#[target_feature(enable = "avx2,fma")]
fn f32_rows<const R: usize>(a: &[Line], b: &[Pair], out: &mut [Pair]) {
    let Some(out) = out.as_mut_array::<R>() else { return };
    for half in 0..2 {
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        for (sums, out) in sums.iter_mut().zip(&*out) {
            *sums = load_floats(&out[half]);
        }
        for (a, b) in a.as_chunks::<R>().0.iter().zip(b.as_chunks::<WORDS>().0) {
            for (word, b) in b.iter().enumerate() {
                let [low, high] = load_floats(&b[half]);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = _mm256_set1_ps(f32::from_bits(a.0[word]));
                    sums[0] = _mm256_fmadd_ps(a, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(a, high, sums[1]);
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            store_floats(&mut out[half], sums);
        }
    }
}

/// int8 words, i32 sums, exact.
#[target_feature(enable = "avx2,fma")]
pub(super) fn int8_tile(block: Block<'_>) {
    by_rows!(int8_rows, block);
}

/// Takes 8 columns through all words at a time: R x 2 sums, each `[4 columns][2]`.
#[target_feature(enable = "avx2,fma")]
fn int8_rows<const R: usize>(a: &[Line], b: &[Pair], out: &mut [Pair]) {
    let Some(out) = out.as_mut_array::<R>() else { return };
    for quarter in 0..4 {
        let (line, part) = (quarter / 2, quarter % 2);
        let mut sums = [[_mm256_setzero_si256(); 2]; R];
        for (a, b) in a.as_chunks::<R>().0.iter().zip(b.as_chunks::<WORDS>().0) {
            for (word, b) in b.iter().enumerate() {
                let codes = load(&b[line])[part];
                let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(codes));
                let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(codes));
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = _mm256_cvtepi8_epi16(_mm_set1_epi32(a.0[word].cast_signed()));
                    sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(a, low));
                    sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(a, high));
                }
            }
        }
        for (out, [low, high]) in out.iter_mut().zip(sums) {
            // hadd leaves columns 0 1 4 5 | 2 3 6 7: the permutation sorts its 64-bit quarters.
            let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
            let mut both = load(&out[line]);
            both[part] = _mm256_add_epi32(both[part], sums);
            store(&mut out[line], both);
        }
    }
}

/// Writes each word's two f16 as f32 to a pair of its own.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn spread_f16(words: &[Pair], out: &mut [Pair]) {
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for ((words, even), odd) in words.iter().zip(even).zip(odd) {
            let [low, high] = load(words);
            store_floats(even, [widen(low), widen(high)]);
            let (low, high) = (_mm256_srli_epi32::<16>(low), _mm256_srli_epi32::<16>(high));
            store_floats(odd, [widen(low), widen(high)]);
        }
    }
}

/// The lower f16 of each word as f32.
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(words: __m256i) -> __m256 {
    let low = _mm256_and_si256(words, _mm256_set1_epi32(0xffff));
    let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(low, low));
    _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
}

#[target_feature(enable = "avx2")]
fn load(line: &Line) -> [__m256i; 2] {
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(*line) }
}

#[target_feature(enable = "avx2")]
fn store(line: &mut Line, x: [__m256i; 2]) {
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    *line = unsafe { std::mem::transmute::<[__m256i; 2], Line>(x) };
}

#[target_feature(enable = "avx2")]
fn load_floats(line: &Line) -> [__m256; 2] {
    let [low, high] = load(line);
    [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
}

#[target_feature(enable = "avx2")]
fn store_floats(line: &mut Line, [low, high]: [__m256; 2]) {
    store(line, [_mm256_castps_si256(low), _mm256_castps_si256(high)]);
}

/// The definition compiled for this width.
#[target_feature(enable = "avx2")]
pub(super) fn spread_bf16(words: &[Pair], out: &mut [Pair]) {
    scalar::spread_bf16(words, out);
}

/// The definition compiled for this width.
#[target_feature(enable = "avx2")]
pub(super) fn narrow_pairs(floats: &[Pair], out: &mut [Pair]) {
    scalar::narrow_pairs(floats, out);
}

/// The definition compiled for this width.
#[target_feature(enable = "avx2")]
pub(super) fn spread_int8(words: &[Pair], scales: &[f32; LANES], out: &mut [Pair]) {
    scalar::spread_int8(words, scales, out);
}

/// The definition.
#[target_feature(enable = "avx2")]
pub(super) fn transpose(block: &mut [Line; WORDS]) {
    scalar::transpose(block);
}

/// Adds the product of rows, `[k, rows]`, and a panel, `[k, 32]`, that are not packed: 16 columns
/// and up to 6 rows at a time.
#[target_feature(enable = "avx2,fma")]
pub(super) fn plain_tile(rows: usize, x: &[f32], w: &[f32], acc: &mut [[f32; LANES]]) {
    for half in 0..2 {
        match rows {
            12 => {
                plain_rows::<12, 0, 6>(half, x, w, acc);
                plain_rows::<12, 6, 6>(half, x, w, acc);
            }
            8 => {
                plain_rows::<8, 0, 4>(half, x, w, acc);
                plain_rows::<8, 4, 4>(half, x, w, acc);
            }
            4 => plain_rows::<4, 0, 4>(half, x, w, acc),
            2 => plain_rows::<2, 0, 2>(half, x, w, acc),
            1 => plain_rows::<1, 0, 1>(half, x, w, acc),
            rows => unreachable!("no tile of {rows} rows"),
        }
    }
}

/// Rows `FROM..FROM + N` of a tile of `R`.
#[target_feature(enable = "avx2,fma")]
fn plain_rows<const R: usize, const FROM: usize, const N: usize>(
    half: usize,
    x: &[f32],
    w: &[f32],
    acc: &mut [[f32; LANES]],
) {
    let acc = &mut acc[FROM..FROM + N];
    let mut sums = [[_mm256_setzero_ps(); 2]; N];
    for (sums, acc) in sums.iter_mut().zip(&*acc) {
        *sums = load_half(acc, half);
    }
    for (x, w) in x.as_chunks::<R>().0.iter().zip(w.as_chunks::<LANES>().0) {
        let [low, high] = load_half(w, half);
        for (sums, x) in sums.iter_mut().zip(&x[FROM..]) {
            let x = _mm256_set1_ps(*x);
            sums[0] = _mm256_fmadd_ps(x, low, sums[0]);
            sums[1] = _mm256_fmadd_ps(x, high, sums[1]);
        }
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
        let sums = unsafe { std::mem::transmute::<[__m256; 2], [f32; WORDS]>(sums) };
        acc.as_chunks_mut::<WORDS>().0[half] = sums;
    }
}

#[target_feature(enable = "avx2,fma")]
fn load_half(lanes: &[f32; LANES], half: usize) -> [__m256; 2] {
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(lanes.as_chunks::<WORDS>().0[half]) }
}
