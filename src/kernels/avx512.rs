//! Tile kernels on 512-bit vectors: 12 rows x 32 columns, 24 sums in registers.

use std::arch::x86_64::*;

use super::words::{Block, LANES, Line, Pair, WORDS};

/// Numbers of rows that the kernels take.
pub(super) const HEIGHTS: &[usize] = &[12, 8, 4, 2, 1];

/// Writes one tile kernel: its sums' type, how to load, spread and store, and its multiply-add.
macro_rules! tile {
    (
        $(#[$doc:meta])* $name:ident, $rows:ident, $features:literal,
        $load_sums:ident, $load:ident, $spread:ident, $multiply_add:ident, $store:ident
    ) => {
        $(#[$doc])*
        #[target_feature(enable = $features)]
        pub(super) fn $name(block: Block<'_>) {
            match block.height {
                1 => $rows::<1>(block),
                2 => $rows::<2>(block),
                4 => $rows::<4>(block),
                8 => $rows::<8>(block),
                12 => $rows::<12>(block),
                rows => unreachable!("no tile of {rows} rows"),
            }
        }

        /// With the number of rows as a constant, so that sums stay in registers.
        #[target_feature(enable = $features)]
        fn $rows<const R: usize>(Block { a, tile_lines, b, ahead, sums: out, .. }: Block<'_>) {
            let (b, out) = (b.as_chunks::<WORDS>().0, out.as_chunks_mut::<R>().0);
            let steps = (b.len() * out.len()).max(1);
            let mut ahead = ahead.chunks(ahead.len().div_ceil(steps).max(1));
            for (a, out) in a.chunks(tile_lines).zip(out) {
                let mut sums = [[$load_sums(&Line::default()); 2]; R];
                for (sums, [low, high]) in sums.iter_mut().zip(&*out) {
                    *sums = [$load_sums(low), $load_sums(high)];
                }
                for (a, b) in a.as_chunks::<R>().0.iter().zip(b) {
                    fetch(ahead.next().unwrap_or_default());
                    for (word, [low, high]) in b.iter().enumerate() {
                        let (low, high) = ($load(low), $load(high));
                        for (sums, a) in sums.iter_mut().zip(a) {
                            let a = $spread(a.0[word]);
                            sums[0] = $multiply_add(sums[0], a, low);
                            sums[1] = $multiply_add(sums[1], a, high);
                        }
                    }
                }
                for ([low, high], sums) in out.iter_mut().zip(sums) {
                    $store(low, sums[0]);
                    $store(high, sums[1]);
                }
            }
        }
    };
}

tile! {
    /// f32 words, one fused multiply-add each, in order.
    f32_tile, f32_rows, "avx512f",
    load_floats, load_floats, spread_float, fused, store_floats
}
tile! {
    /// Words of int8, those of `a` with 128 added; i32 sums that wrap, so that they are exact.
    int8_tile, int8_rows, "avx512f,avx512vnni",
    load, load, spread, _mm512_dpbusd_epi32, store
}
tile! {
    /// bf16 words, f32 sums.
    bf16_tile, bf16_rows, "avx512f,avx512bf16",
    load_floats, load_halves, spread_halves, _mm512_dpbf16_ps, store_floats
}

/// f32 words of the left operand, bf16 words of the right one, 8 a step: each is spread to the two
/// numbers that it holds, in registers, so that sums have the bits of [`f32_tile`].
#[target_feature(enable = "avx512f")]
pub(super) fn spread_tile(block: Block<'_>) {
    match block.height {
        1 => spread_rows::<1>(block),
        2 => spread_rows::<2>(block),
        4 => spread_rows::<4>(block),
        8 => spread_rows::<8>(block),
        12 => spread_rows::<12>(block),
        rows => unreachable!("no tile of {rows} rows"),
    }
}

#[target_feature(enable = "avx512f")]
fn spread_rows<const R: usize>(Block { a, tile_lines, b, ahead, sums: out, .. }: Block<'_>) {
    let (b, out) = (b.as_chunks::<{ WORDS / 2 }>().0, out.as_chunks_mut::<R>().0);
    let steps = (b.len() * out.len()).max(1);
    let mut ahead = ahead.chunks(ahead.len().div_ceil(steps).max(1));
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    for (a, out) in a.chunks(tile_lines).zip(out) {
        let mut sums = [[_mm512_setzero_ps(); 2]; R];
        for (sums, [low, high]) in sums.iter_mut().zip(&*out) {
            *sums = [load_floats(low), load_floats(high)];
        }
        for (a, b) in a.as_chunks::<R>().0.iter().zip(b) {
            fetch(ahead.next().unwrap_or_default());
            for (word, [low, high]) in b.iter().enumerate() {
                let (low, high) = (load(low), load(high));
                let even = [_mm512_slli_epi32::<16>(low), _mm512_slli_epi32::<16>(high)];
                let odd = [_mm512_and_si512(low, upper), _mm512_and_si512(high, upper)];
                for (half, numbers) in [even, odd].into_iter().enumerate() {
                    let numbers = numbers.map(|numbers| _mm512_castsi512_ps(numbers));
                    for (sums, a) in sums.iter_mut().zip(a) {
                        let a = spread_float(a.0[2 * word + half]);
                        sums[0] = fused(sums[0], a, numbers[0]);
                        sums[1] = fused(sums[1], a, numbers[1]);
                    }
                }
            }
        }
        for ([low, high], sums) in out.iter_mut().zip(sums) {
            store_floats(low, sums[0]);
            store_floats(high, sums[1]);
        }
    }
}

/// Asks for lines that come next, while what is here is multiplied.
#[target_feature(enable = "avx512f")]
fn fetch(pairs: &[Pair]) {
    for line in pairs.as_flattened() {
        _mm_prefetch::<_MM_HINT_T1>((&raw const line.0).cast());
    }
}

#[target_feature(enable = "avx512f")]
fn fused(sum: __m512, a: __m512, b: __m512) -> __m512 {
    _mm512_fmadd_ps(a, b, sum)
}

#[target_feature(enable = "avx512f")]
pub(super) fn load(line: &Line) -> __m512i {
    // SAFETY: a line is 64 readable bytes, aligned to 64.
    unsafe { _mm512_load_si512((&raw const line.0).cast()) }
}

#[target_feature(enable = "avx512f")]
pub(super) fn load_floats(line: &Line) -> __m512 {
    _mm512_castsi512_ps(load(line))
}

#[target_feature(enable = "avx512f")]
fn load_halves(line: &Line) -> __m512bh {
    halves(load(line))
}

#[target_feature(enable = "avx512f")]
fn spread(word: u32) -> __m512i {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
fn spread_float(word: u32) -> __m512 {
    _mm512_set1_ps(f32::from_bits(word))
}

#[target_feature(enable = "avx512f")]
fn spread_halves(word: u32) -> __m512bh {
    halves(spread(word))
}

#[target_feature(enable = "avx512f")]
fn halves(x: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(x) }
}

#[target_feature(enable = "avx512f")]
pub(super) fn store(line: &mut Line, x: __m512i) {
    // SAFETY: a line is 64 writable bytes, aligned to 64.
    unsafe { _mm512_store_si512((&raw mut line.0).cast(), x) };
}

#[target_feature(enable = "avx512f")]
pub(super) fn store_floats(line: &mut Line, x: __m512) {
    store(line, _mm512_castps_si512(x));
}

/// Four shifts take each byte of a word to its top and back, with its sign; then scaled.
#[target_feature(enable = "avx512f")]
pub(super) fn spread_int8(words: &[Pair], scales: &[f32; 32], out: &mut [Pair]) {
    let scales = scales.as_chunks::<WORDS>().0;
    for (words, out) in words.iter().zip(out.as_chunks_mut::<4>().0) {
        for (half, (line, scales)) in words.iter().zip(scales).enumerate() {
            let codes = load(line);
            let spread = [
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(codes)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(codes)),
                _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(codes)),
                _mm512_srai_epi32::<24>(codes),
            ];
            // SAFETY: 16 floats are readable; `loadu` needs no alignment.
            let scales = unsafe { _mm512_loadu_ps(scales.as_ptr()) };
            for (out, codes) in out.iter_mut().zip(spread) {
                store_floats(&mut out[half], _mm512_mul_ps(_mm512_cvtepi32_ps(codes), scales));
            }
        }
    }
}

/// As the definition of that name: codes have fewer bits than bf16, so that none is lost.
#[target_feature(enable = "avx512f")]
pub(super) fn halve_int8(words: &[Pair], out: &mut [Pair]) {
    for (words, out) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for (half, line) in words.iter().enumerate() {
            let codes = load(line);
            let even = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(codes));
            let odd = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<16>(codes));
            store(&mut out[0][half], joined(even, odd));
            let even = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<8>(codes));
            store(&mut out[1][half], joined(even, _mm512_srai_epi32::<24>(codes)));
        }
    }
}

/// Words of two integers each that bf16 holds exactly.
#[target_feature(enable = "avx512f")]
fn joined(even: __m512i, odd: __m512i) -> __m512i {
    let even = _mm512_castps_si512(_mm512_cvtepi32_ps(even));
    let odd = _mm512_castps_si512(_mm512_cvtepi32_ps(odd));
    _mm512_or_si512(_mm512_srli_epi32::<16>(even), odd)
}

/// Writes each word's two bf16 as f32 to a pair of its own.
#[target_feature(enable = "avx512f")]
pub(super) fn spread_bf16(words: &[Pair], out: &mut [Pair]) {
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for ((words, even), odd) in words.iter().zip(even).zip(odd) {
            let words = load(words);
            store(even, _mm512_slli_epi32::<16>(words));
            store(odd, _mm512_and_si512(words, upper));
        }
    }
}

/// As the definition of that name: one choice of 16-bit parts a line.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn split_bf16(words: &[Pair], out: &mut [Line]) {
    let mut places = [[0_i16; 32]; 2];
    for (odd, places) in (0..).zip(&mut places) {
        (0..).zip(places).for_each(|(lane, place)| *place = 2 * lane + odd);
    }
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    let places = unsafe { std::mem::transmute::<[[i16; 32]; 2], [__m512i; 2]>(places) };
    for ([low, high], out) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        let (low, high) = (load(low), load(high));
        for (out, places) in out.iter_mut().zip(places) {
            store(out, _mm512_permutex2var_epi16(low, places, high));
        }
    }
}

/// Rounds to bf16 (half to even): each two pairs of f32 make one of words.
#[target_feature(enable = "avx512f")]
pub(super) fn narrow_pairs(floats: &[Pair], out: &mut [Pair]) {
    for ([even, odd], out) in floats.as_chunks::<2>().0.iter().zip(out) {
        for ((even, odd), out) in even.iter().zip(odd).zip(out) {
            let odd = _mm512_slli_epi32::<16>(narrow(load(odd)));
            store(out, _mm512_or_si512(narrow(load(even)), odd));
        }
    }
}

/// As the definition of that name.
#[target_feature(enable = "avx512f")]
fn narrow(bits: __m512i) -> __m512i {
    let high = _mm512_srli_epi32::<16>(bits);
    let last = _mm512_and_si512(high, _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff));
    let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
    let quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    let float = _mm512_castsi512_ps(bits);
    _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(float, float), quiet)
}

/// Rounds 32 floats to bf16: each two neighbours make a word.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn narrow_line([low, high]: &Pair, out: &mut Line) {
    let narrow = _mm512_cvtne2ps_pbh(load_floats(high), load_floats(low));
    // SAFETY: both are 64 bytes, and every bit pattern is a value of both.
    store(out, unsafe { std::mem::transmute::<__m512bh, __m512i>(narrow) });
}

/// Exchanges rows and columns of 16 x 16 words, in four rounds of exchanged halves.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose(block: &mut [Line; WORDS]) {
    let mut rows = [_mm512_setzero_si512(); WORDS];
    for (row, line) in rows.iter_mut().zip(&*block) {
        *row = load(line);
    }
    // Words of two rows, then pairs of words of four, within each 128 bits.
    let mut next = rows;
    for i in 0..8 {
        next[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        next[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            let (x, y) = (next[4 * i + j], next[4 * i + j + 2]);
            rows[4 * i + 2 * j] = _mm512_unpacklo_epi64(x, y);
            rows[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(x, y);
        }
    }
    // 128-bit parts: of rows 4 apart, then 8.
    for i in 0..2 {
        for j in 0..4 {
            let (x, y) = (rows[8 * i + j], rows[8 * i + j + 4]);
            next[8 * i + j] = _mm512_shuffle_i32x4::<0x88>(x, y);
            next[8 * i + j + 4] = _mm512_shuffle_i32x4::<0xdd>(x, y);
        }
    }
    for j in 0..8 {
        let (x, y) = (next[j], next[j + 8]);
        rows[j] = _mm512_shuffle_i32x4::<0x88>(x, y);
        rows[j + 8] = _mm512_shuffle_i32x4::<0xdd>(x, y);
    }
    // Register j now holds column `4 * (j >> 2 & 1) + 8 * (j >> 3) + (j & 3)`, which is j.
    for (line, row) in block.iter_mut().zip(rows) {
        store(line, row);
    }
}

/// Writes each word's two f16 as f32 to a pair of its own.
#[target_feature(enable = "avx512f")]
pub(super) fn spread_f16(words: &[Pair], out: &mut [Pair]) {
    for (words, [even, odd]) in words.iter().zip(out.as_chunks_mut::<2>().0) {
        for ((words, even), odd) in words.iter().zip(even).zip(odd) {
            let words = load(words);
            store_floats(even, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words)));
            let upper = _mm512_srli_epi32::<16>(words);
            store_floats(odd, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(upper)));
        }
    }
}

/// Adds the product of rows, `[k, rows]`, and a panel, `[k, 32]`, that are not packed.
#[target_feature(enable = "avx512f")]
pub(super) fn plain_tile(rows: usize, x: &[f32], w: &[f32], acc: &mut [[f32; LANES]]) {
    match rows {
        12 => plain_rows::<12>(x, w, acc),
        8 => plain_rows::<8>(x, w, acc),
        4 => plain_rows::<4>(x, w, acc),
        2 => plain_rows::<2>(x, w, acc),
        1 => plain_rows::<1>(x, w, acc),
        rows => unreachable!("no tile of {rows} rows"),
    }
}

#[target_feature(enable = "avx512f")]
fn plain_rows<const R: usize>(x: &[f32], w: &[f32], acc: &mut [[f32; LANES]]) {
    let Some(acc) = acc.as_mut_array::<R>() else { return };
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (sums, acc) in sums.iter_mut().zip(&*acc) {
        *sums = load_lanes(acc);
    }
    for (x, w) in x.as_chunks::<R>().0.iter().zip(w.as_chunks::<LANES>().0) {
        let [low, high] = load_lanes(w);
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = _mm512_set1_ps(*x);
            sums[0] = _mm512_fmadd_ps(x, low, sums[0]);
            sums[1] = _mm512_fmadd_ps(x, high, sums[1]);
        }
    }
    for (acc, sums) in acc.iter_mut().zip(sums) {
        // SAFETY: both are 128 bytes, and every bit pattern is a value of both.
        *acc = unsafe { std::mem::transmute::<[__m512; 2], [f32; LANES]>(sums) };
    }
}

#[target_feature(enable = "avx512f")]
fn load_lanes(lanes: &[f32; LANES]) -> [__m512; 2] {
    // SAFETY: both are 128 bytes, and every bit pattern is a value of both.
    unsafe { std::mem::transmute(*lanes) }
}
