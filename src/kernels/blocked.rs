//! The loops around the tile kernels: which part of which operand is in which cache when.
//!
//! A block of a panel stays in the first-level cache while all rows pass it; the sums of a group of
//! panels and a block of the rows stay in the second. Threads share out groups. Each sum is one
//! chain over ascending steps, so neither blocks nor threads nor the rows beside it change a bit.

use std::{marker::PhantomData, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::words::{Block, LANES, Line, Pair, Run, Scratch, TileKernel, WORDS};

/// Multiply-adds of words below which a product stays on the calling thread.
const MIN_PARALLEL_WORK: usize = 1 << 18;

/// Rows that pass a block together; their sums stay in the second-level cache.
const CHUNK_ROWS: usize = 512;

/// Bytes of sums that may take up the second-level cache.
const CACHE_BYTES: usize = 256 << 10;

/// Most panels of a task.
const MAX_GROUP: usize = 16;

/// Least bytes of a task that reads the right operand once.
const STREAM_BYTES: usize = 64 << 10;

/// Most columns of a transposed product that one task computes.
const MAX_TRANSPOSED: usize = 512;

/// The left operand: rows in tiles, `[tile][step][row of the tile]`.
///
/// A row of the product may stand for several rows here, its parts, whose products are added in
/// the end.
pub(super) struct Left {
    pairs: Scratch,
    runs: Vec<Run>,
    steps: usize,
    parts: usize,
}

impl Left {
    /// Packs `rows` of `steps` lines in some parts; `fill(row, part, step, line)` writes a whole
    /// line.
    pub(super) fn pack(
        kernel: &TileKernel,
        rows: usize,
        parts: usize,
        steps: usize,
        fill: impl Fn(usize, usize, usize, &mut Line) + Sync,
    ) -> Self {
        let rows = rows * parts;
        let runs = kernel.split(rows);
        let mut pairs = Scratch::new((rows * steps).div_ceil(2));
        let mut tiles = Vec::new();
        let mut rest = pairs.as_flattened_mut();
        for Run { rows, height } in &runs {
            for first in rows.clone().step_by(*height) {
                let (tile, behind) = rest.split_at_mut(height * steps);
                tiles.push((first, *height, tile));
                rest = behind;
            }
        }
        let pack = |(first, height, lines): (usize, usize, &mut [Line])| {
            for row in 0..height {
                let lines = lines[row..].iter_mut().step_by(height);
                let (row, part) = ((first + row) / parts, (first + row) % parts);
                lines.enumerate().for_each(|(step, line)| fill(row, part, step, line));
            }
        };
        if rows * steps * WORDS < MIN_PARALLEL_WORK {
            tiles.into_iter().for_each(pack);
        } else {
            tiles.into_par_iter().for_each(pack);
        }
        Self { pairs, runs, steps, parts }
    }

    fn rows(&self) -> usize {
        self.runs.last().map_or(0, |run| run.rows.end)
    }

    /// Splits the runs into chunks of about [`CHUNK_ROWS`] rows; all parts of a row are in one.
    fn chunks(&self) -> Vec<Vec<Run>> {
        let mut chunks: Vec<Vec<Run>> = Vec::new();
        for Run { rows, height } in &self.runs {
            if *height < self.runs[0].height
                && let Some(last) = chunks.last_mut()
            {
                last.push(Run { rows: rows.clone(), height: *height });
                continue;
            }
            let whole = height * self.parts;
            let each = (CHUNK_ROWS / whole).max(1) * whole;
            for first in rows.clone().step_by(each) {
                let rows = first..rows.end.min(first + each);
                chunks.push(vec![Run { rows, height: *height }]);
            }
        }
        chunks
    }

    /// The lines of a run from some step on.
    fn lines(&self, run: &Run, step: usize) -> &[Line] {
        let lines = &self.pairs.as_flattened()[run.rows.start * self.steps..];
        &lines[step * run.height..run.rows.len() * self.steps]
    }
}

/// Writes some steps of one panel: `(panel, steps, [step * 16])`.
pub(super) type Convert<'a> = dyn Fn(usize, Range<usize>, &mut [Pair]) + Sync + 'a;

/// The right operand: panels of 32 columns, as they are or converted block by block.
#[derive(Clone, Copy)]
pub(super) struct Right<'a> {
    /// `[panel][words]`, in the format that they are kept in; none if there is no such form.
    pub(super) pairs: &'a [Pair],
    /// Words of each panel, in that format.
    pub(super) words: usize,
    /// Words of one step, in that format: the tile kernel's own where nothing is converted.
    pub(super) step_words: usize,
    /// What makes the tile kernel's words of them.
    pub(super) convert: Option<&'a Convert<'a>>,
}

impl<'a> Right<'a> {
    /// Returns panels that are the tile kernel's own.
    pub(super) fn packed(pairs: &'a [Pair], words: usize) -> Self {
        Self { pairs, words, step_words: WORDS, convert: None }
    }

    /// Returns some steps of a panel, made in `scratch` if need be.
    fn block<'b>(
        &'b self,
        panel: usize,
        steps: &Range<usize>,
        scratch: &'b mut [Pair],
    ) -> &'b [Pair] {
        match self.convert {
            None => {
                let from = panel * self.words + steps.start * self.step_words;
                &self.pairs[from..][..steps.len() * self.step_words]
            }
            Some(convert) => {
                let block = &mut scratch[..steps.len() * WORDS];
                convert(panel, steps.clone(), block);
                block
            }
        }
    }

    /// Returns what can be fetched ahead of some steps of a panel; nothing behind the last.
    fn ahead(&self, panel: usize, first_step: usize, steps: usize) -> &'a [Pair] {
        let from = panel * self.words + first_step * self.step_words;
        let behind = self.pairs.get(from..).unwrap_or_default();
        &behind[..behind.len().min(steps * self.step_words)]
    }
}

/// Returns `left · right`, `[rows, columns]`.
///
/// `start(panel)` are the sums before the first step; `finish(row, panel, sums, out)` writes the up
/// to 32 results of a row and panel, whose parts' sums it is given.
pub(super) fn multiply<T: Copy + Default + Send>(
    kernel: &TileKernel,
    left: &Left,
    right: &Right<'_>,
    columns: usize,
    start: impl Fn(usize) -> Pair + Sync + Send,
    finish: impl Fn(usize, usize, &[Pair], &mut [T]) + Sync + Send,
) -> Vec<T> {
    let (rows, panels) = (left.rows(), columns.div_ceil(LANES));
    if rows == 0 || panels == 0 {
        return Vec::new();
    }
    let parts = left.parts;
    let mut results = Vec::new();
    let out = Columns::new(&mut results, rows / parts, columns);
    let chunks = left.chunks();
    // A single tile passes a panel once: nothing is kept for the next.
    let is_stream = rows <= kernel.heights[0] && right.convert.is_none();
    let block_steps = if is_stream { left.steps.max(1) } else { kernel.block_steps };
    let group = group_size(rows.min(CHUNK_ROWS), left.steps, panels, is_stream);
    let work = rows * left.steps * WORDS * columns;
    each_task(panels.div_ceil(group) * chunks.len(), work, |task| {
        let runs = &chunks[task % chunks.len()];
        let first_panel = task / chunks.len() * group;
        let group = first_panel..panels.min(first_panel + group);
        let chunk = runs[0].rows.start..runs[runs.len() - 1].rows.end;
        let mut sums = Scratch::new(group.len() * chunk.len());
        let mut scratch = Scratch::new(kernel.block_steps * WORDS);
        for (panel, sums) in group.clone().zip(sums.chunks_mut(chunk.len())) {
            sums.fill(start(panel));
        }
        for first in (0..left.steps).step_by(block_steps) {
            let steps = first..left.steps.min(first + block_steps);
            for (panel, sums) in group.clone().zip(sums.chunks_mut(chunk.len())) {
                let block = right.block(panel, &steps, &mut scratch);
                let mut ahead = if panel + 1 < group.end {
                    right.ahead(panel + 1, first, block_steps)
                } else if steps.end < left.steps {
                    right.ahead(group.start, steps.end, block_steps)
                } else {
                    right.ahead(group.end, 0, block_steps)
                };
                for run in runs {
                    (kernel.run)(Block {
                        a: left.lines(run, first),
                        tile_lines: left.steps * run.height,
                        height: run.height,
                        b: block,
                        // Once is enough; the first run is the longest.
                        ahead: std::mem::take(&mut ahead),
                        sums: &mut sums[run.rows.start - chunk.start..run.rows.end - chunk.start],
                    });
                }
            }
        }
        let mut finished = [T::default(); LANES];
        for row in chunk.clone().step_by(parts) {
            let sums = sums.chunks(chunk.len()).map(|sums| &sums[row - chunk.start..][..parts]);
            let row = row / parts;
            for (panel, sums) in group.clone().zip(sums) {
                let columns = panel * LANES..columns.min((panel + 1) * LANES);
                let finished = &mut finished[..columns.len()];
                finish(row, panel, sums, finished);
                // SAFETY: rows of a chunk and columns of a group belong to one task, and the slice
                // of the panel before is gone.
                unsafe { out.slice(row, columns) }.write_copy_of_slice(finished);
            }
        }
    });
    // SAFETY: the groups and chunks of the tasks are all panels and rows.
    unsafe { results.set_len(rows / parts * columns) };
    results
}

/// Panels of one task.
fn group_size(rows: usize, steps: usize, panels: usize, is_stream: bool) -> usize {
    let wanted = if is_stream {
        STREAM_BYTES.div_ceil(steps.max(1) * WORDS * size_of::<Pair>())
    } else {
        (CACHE_BYTES / (rows * size_of::<Pair>())).clamp(1, MAX_GROUP)
    };
    wanted.min(panels.div_ceil(4 * rayon::current_num_threads())).max(1)
}

/// Returns `(left · right)ᵀ`, `[columns, rows]`, where the left operand is the larger one and
/// is made block by block.
///
/// `right: [panel][part][steps * 16]`. `fill(rows, steps, runs, lines)` writes the lines
/// `[tile][step][row of the tile]` of some rows, whose first is a multiple of 64.
pub(super) fn multiply_transposed(
    kernel: &TileKernel,
    shape: Shape,
    right: &[Pair],
    transpose: fn(&mut [Line; WORDS]),
    fill: impl Fn(Range<usize>, Range<usize>, &[Run], &mut [Line]) + Sync + Send,
) -> Vec<f32> {
    let Shape { rows, steps, columns, parts } = shape;
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let mut results = Vec::new();
    let out = Columns::new(&mut results, columns, rows);
    let each = rows.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(64);
    let each = each.min(MAX_TRANSPOSED);
    each_task(rows.div_ceil(each), rows * steps * WORDS * columns * parts, |task| {
        let group = task * each..rows.min((task + 1) * each);
        let runs = kernel.split(group.len());
        let panels = columns.div_ceil(LANES) * parts;
        let mut sums = Scratch::new(panels * group.len());
        sums.fill(Pair::default());
        let mut lines = Scratch::new((group.len() * kernel.block_steps).div_ceil(2));
        let lines = lines.as_flattened_mut();
        for first in (0..steps).step_by(kernel.block_steps) {
            let block = first..steps.min(first + kernel.block_steps);
            let lines = &mut lines[..group.len() * block.len()];
            fill(group.clone(), block.clone(), &runs, lines);
            for (panel, sums) in sums.chunks_mut(group.len()).enumerate() {
                let right = &right[(panel * steps + first) * WORDS..][..block.len() * WORDS];
                for run in &runs {
                    (kernel.run)(Block {
                        a: &lines[run.rows.start * block.len()..run.rows.end * block.len()],
                        tile_lines: run.height * block.len(),
                        height: run.height,
                        b: right,
                        ahead: &[],
                        sums: &mut sums[run.rows.clone()],
                    });
                }
            }
        }
        let mut square = [Line::default(); WORDS];
        for (panel, sums) in sums.chunks(group.len() * parts).enumerate() {
            for from in (0..group.len()).step_by(WORDS) {
                let here = from..group.len().min(from + WORDS);
                let first = group.start + from;
                for half in 0..2 {
                    for (line, row) in square.iter_mut().zip(here.clone()) {
                        let parts = sums[row..].iter().step_by(group.len());
                        *line = sum(parts.map(|pair| pair[half]));
                    }
                    transpose(&mut square);
                    let column = panel * LANES + half * WORDS;
                    for (column, line) in (column..columns).zip(&square) {
                        // SAFETY: rows of a group belong to one task, and the slice of the column
                        // before is gone.
                        let out = unsafe { out.slice(column, first..first + here.len()) };
                        out.write_copy_of_slice(&line.floats()[..here.len()]);
                    }
                }
            }
        }
    });
    // SAFETY: the groups of the tasks are all rows, and the panels all columns.
    unsafe { results.set_len(columns * rows) };
    results
}

/// Returns the sum of the lines of parts, the last added first: it is the smallest.
#[inline(always)]
pub(super) fn sum(parts: impl DoubleEndedIterator<Item = Line>) -> Line {
    let add = |sum: Line, part: Line| {
        let (mut sum, part) = (sum.floats(), part.floats());
        sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        Line::of_floats(sum)
    };
    parts.rev().reduce(add).unwrap_or_default()
}

/// Writes up to 16 words as f32.
#[inline(always)]
pub(super) fn write_floats(line: &Line, out: &mut [f32]) {
    if let Some(whole) = out.as_mut_array() {
        *whole = line.floats();
    } else {
        out.copy_from_slice(&line.floats()[..out.len()]);
    }
}

/// Shape of a product: `[rows, steps * 16 words] · [steps * 16 words, columns]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) steps: usize,
    pub(super) columns: usize,
    /// Panels of the right operand that stand for one: their products are added.
    pub(super) parts: usize,
}

/// Runs `each` on every task, on all threads where it pays.
fn each_task(tasks: usize, work: usize, each: impl Fn(usize) + Sync + Send) {
    if work < MIN_PARALLEL_WORK || tasks < 2 {
        (0..tasks).for_each(each);
    } else {
        (0..tasks).into_par_iter().for_each(each);
    }
}

/// A matrix whose parts several threads write, in fresh memory: to fill it with zeros before, on one
/// thread, takes a twentieth of a product's time.
struct Columns<'a, T> {
    first: *mut MaybeUninit<T>,
    rows: usize,
    columns: usize,
    values: PhantomData<&'a mut [MaybeUninit<T>]>,
}

// SAFETY: it stands for an exclusive slice of memory for `T`, which may go to and be used by other threads;
// that no element is used by two at once is the promise of `slice`'s callers.
unsafe impl<T: Send> Sync for Columns<'_, T> {}

impl<'a, T> Columns<'a, T> {
    /// Takes memory from an empty vector, whose length is set once all is written.
    fn new(values: &'a mut Vec<T>, rows: usize, columns: usize) -> Self {
        values.reserve_exact(rows * columns);
        let values = &mut values.spare_capacity_mut()[..rows * columns];
        Self { first: values.as_mut_ptr(), rows, columns, values: PhantomData }
    }

    /// Returns some columns of a row.
    ///
    /// # Safety
    ///
    /// No other slice with one of these elements is in use.
    #[expect(clippy::mut_from_ref, reason = "the caller keeps the parts apart")]
    unsafe fn slice(&self, row: usize, columns: Range<usize>) -> &mut [MaybeUninit<T>] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.columns);
        // SAFETY: the place lies within the slice, as asserted.
        let first = unsafe { self.first.add(row * self.columns + columns.start) };
        // SAFETY: as do the elements behind it; no one else uses them (the caller's promise).
        unsafe { std::slice::from_raw_parts_mut(first, columns.len()) }
    }
}
