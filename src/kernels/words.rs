//! Operands of matrix products in the one form that all tile kernels read.
//!
//! A word of 32 bits holds one f32, two bf16 or f16, or four int8: as many neighbouring elements
//! along the dimension that is summed over. 16 words make a [`Line`], a step of a row of the left
//! operand. The right operand is held in panels of [`LANES`] columns: word `w` of all columns
//! stands in [`Pair`] `w`. Sums are words too, f32 or i32. What is missing is padded with zeros, which add
//! nothing. So one register tile serves every format, AMX as well as vectors: only the
//! multiply-add differs.

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut, Range},
};

/// Columns of the right operand that stand side by side.
pub const LANES: usize = 32;

/// Steps of a block where the kernel does not say otherwise: half of a cache of 32 KiB.
pub(super) const BLOCK_STEPS: usize = 8;

/// Words in a line.
pub(super) const WORDS: usize = 16;

/// 16 words in one cache line: one 512-bit register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; WORDS]);

/// One word of each of 32 columns.
pub(super) type Pair = [Line; 2];

impl Line {
    /// Returns the words as f32.
    #[inline(always)]
    pub(super) fn floats(self) -> [f32; WORDS] {
        self.0.map(f32::from_bits)
    }

    /// Returns a line of f32.
    #[inline(always)]
    pub(super) fn of_floats(values: [f32; WORDS]) -> Self {
        Self(values.map(f32::to_bits))
    }

    /// Returns a line of up to 16 f32, zeros behind them.
    #[inline(always)]
    pub(super) fn of_slice(values: &[f32]) -> Self {
        if let Some(whole) = values.as_array() {
            return Self::of_floats(*whole);
        }
        let mut line = Self::default();
        for (word, value) in line.0.iter_mut().zip(values) {
            *word = value.to_bits();
        }
        line
    }
}

/// Tiles of one height, a block of one panel, and the sums that their product is added to.
pub(super) struct Block<'a> {
    /// `[step][row]` of the first tile, and so on, `tile_lines` apart.
    pub(super) a: &'a [Line],
    pub(super) tile_lines: usize,
    /// Rows of each tile, one of the kernel's heights.
    pub(super) height: usize,
    /// `[step * 16]`; `[step * 8]` where the kernel spreads bf16.
    pub(super) b: &'a [Pair],
    /// What is needed next: a part of it is fetched into the cache with each step.
    pub(super) ahead: &'a [Pair],
    /// `[tile * height]`.
    pub(super) sums: &'a mut [Pair],
}

/// Adds a product to its sums.
pub(super) type Tile = fn(Block<'_>);

/// A tile kernel with the numbers of rows that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileKernel {
    /// Tallest first, down to 1.
    pub(super) heights: &'static [usize],
    /// Steps of a block of the right operand, 2 KiB each (1 KiB in bf16 that is spread), that stays in the first-level cache.
    pub(super) block_steps: usize,
    /// The kernel.
    pub(super) run: Tile,
}

/// Neighbouring tiles of one height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Their rows.
    pub(super) rows: Range<usize>,
    /// Rows of each.
    pub(super) height: usize,
}

impl TileKernel {
    /// Splits `rows` into tiles, tallest first.
    pub(super) fn split(&self, rows: usize) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut first = 0;
        for &height in self.heights {
            let end = first + (rows - first) / height * height;
            if end > first {
                runs.push(Run { rows: first..end, height });
                first = end;
            }
        }
        runs
    }
}

/// Pairs for the time of one product, given back to their thread's store when dropped.
///
/// Fresh memory costs a page fault every 4 KiB, as much as some products take.
#[derive(Debug)]
pub(super) struct Scratch {
    pairs: Vec<Pair>,
    len: usize,
}

thread_local! {
    static STORE: RefCell<Vec<Vec<Pair>>> = const { RefCell::new(Vec::new()) };
}

impl Scratch {
    /// Returns `len` pairs of any content.
    pub(super) fn new(len: usize) -> Self {
        let found = STORE.with_borrow_mut(|store| {
            let enough = store.iter().position(|pairs| pairs.len() >= len);
            let at = enough.or(store.len().checked_sub(1))?;
            // The smallest that is enough lies first.
            Some(store.remove(at))
        });
        let mut pairs = found.unwrap_or_default();
        if pairs.len() < len {
            pairs = Vec::new();
            pairs.resize(len, Pair::default());
        }
        Self { pairs, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let pairs = std::mem::take(&mut self.pairs);
        // The store is gone while a thread ends.
        let _ = STORE.try_with(|store| {
            let mut store = store.borrow_mut();
            let at = store.partition_point(|other| other.len() < pairs.len());
            store.insert(at, pairs);
        });
    }
}

impl Deref for Scratch {
    type Target = [Pair];

    fn deref(&self) -> &[Pair] {
        &self.pairs[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [Pair] {
        &mut self.pairs[..self.len]
    }
}
