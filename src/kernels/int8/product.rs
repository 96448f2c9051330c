//! Matrix products of activations with a packed int8 weight, built of a set's tile functions.
//!
//! Threads share out panels of the result; each output is one chain in a fixed order, so results
//! do not depend on the number of threads or on the rows multiplied together.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::{
    super::float,
    Kernels,
    packed::{GROUP, PANEL, PackedInt8},
    scalar,
};

/// Multiply-adds below which a product stays on the calling thread.
const MIN_PARALLEL_WORK: usize = 1 << 20;

/// Activation bytes taken through all panels at a time, to stay in the second-level cache.
const BLOCK_BYTES: usize = 640 << 10;

/// Steps of a dequantised block: 128 x 32 floats stay in the first-level cache.
const BLOCK_STEPS: usize = 128;

/// Number format of the operands of a dequantising product; sums are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// f32 operands, one fused multiply-add a step, in order: the same bits on every set.
    #[default]
    F32,
    /// The int8 side rounded to half precision, then as [`Self::F32`]: the caller rounds the other.
    F16,
    /// Operands rounded to bf16. Sets differ in the rounding of a step, by at most
    /// `2 * steps * f32::EPSILON * sum |a| |b|`; subnormal products may count as zero.
    Bf16,
}

/// Exact sums of int8 products, `[t, outputs]`, held panel by panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    rows: usize,
    outputs: usize,
    /// `[panels][t][32]`.
    data: Vec<[i32; PANEL]>,
}

impl Sums {
    /// Returns the sum of one token and output.
    ///
    /// # Panics
    ///
    /// If `row` or `output` lies outside.
    pub fn get(&self, row: usize, output: usize) -> i32 {
        assert!(row < self.rows && output < self.outputs, "[{row}, {output}] lies outside");
        self.data[output / PANEL * self.rows + row][output % PANEL]
    }

    /// Returns the sums row-major, `[t, outputs]`.
    pub fn to_vec(&self) -> Vec<i32> {
        from_panels(&self.data, self.rows, self.outputs)
    }
}

impl Kernels {
    /// Returns `x · wᵀ`, exact.
    ///
    /// `x: [t, inputs]` int8, row-major; the result is `[t, outputs]` i32.
    ///
    /// # Panics
    ///
    /// If the length of `x` is not a multiple of the weight's inputs.
    pub fn int8_product(&self, x: &[i8], weight: &PackedInt8) -> Sums {
        let (rows, width) = (rows_of(x.len(), weight.inputs()), weight.groups() * GROUP);
        let tiles = tiles(rows, self.heights);
        let packed = self.pack_codes(x, weight, &tiles);
        let mut data = vec![[0; PANEL]; weight.panels() * rows];
        let tallest = self.heights[0];
        for tiles in tiles.chunks((BLOCK_BYTES / width.max(1) / tallest).max(1)) {
            each_panel(&mut data, rows, rows * width * PANEL, |panel, out| {
                let (lines, corrections) = (weight.panel(panel), weight.corrections(panel));
                // While this panel is multiplied, memory delivers the next one, a part a tile.
                let next = weight.panel((panel + 1).min(weight.panels() - 1));
                let mut ahead = next.chunks(next.len().div_ceil(tiles.len()).max(1));
                for tile in tiles {
                    let x = &packed[tile.start * width..tile.end * width];
                    let ahead = ahead.next().unwrap_or_default();
                    (self.int8_tile)(x, lines, ahead, corrections, &mut out[tile.clone()]);
                }
            });
        }
        Sums { rows, outputs: weight.outputs(), data }
    }

    /// Writes `sums * (row_scales * scales) * constant`, in that grouping, to `out: [t, outputs]`.
    ///
    /// # Panics
    ///
    /// If a length does not fit the sums.
    pub fn dequantize(
        &self,
        sums: &Sums,
        row_scales: &[f32],
        scales: &[f32],
        constant: f32,
        out: &mut [f32],
    ) {
        assert_eq!(row_scales.len(), sums.rows, "one scale a row");
        assert_eq!(scales.len(), sums.outputs, "one scale an output");
        assert_eq!(out.len(), sums.rows * sums.outputs, "[t, outputs]");
        each_row(out, sums.outputs, |row, out| {
            let panels = out.chunks_mut(PANEL).zip(scales.chunks(PANEL));
            for (panel, (out, scales)) in panels.enumerate() {
                let sums = &sums.data[panel * sums.rows + row];
                (self.dequantize_row)(sums, row_scales[row], scales, constant, out);
            }
        });
    }

    /// Returns `x · Wᵀ` with `W[o][i] = code[o][i] * scales[o]`, rounded to `precision`.
    ///
    /// `x: [t, inputs]` f32; the result is `[t, outputs]`. `W` is made block by block.
    ///
    /// # Panics
    ///
    /// If a length does not fit the weight.
    pub fn dequantized_product(
        &self,
        x: &[f32],
        weight: &PackedInt8,
        scales: &[f32],
        precision: Precision,
    ) -> Vec<f32> {
        assert_eq!(scales.len(), weight.outputs(), "one scale an output");
        let rows = rows_of(x.len(), weight.inputs());
        let steps = weight.groups() * GROUP;
        let shape = Shape { rows, steps, columns: weight.outputs() };
        self.blocked(x, weight.inputs(), shape, precision, |panel, steps, block| {
            let lines = steps.start / GROUP * 2..steps.end / GROUP * 2;
            (self.spread_rows)(&weight.panel(panel)[lines], block);
            let scales = panel_scales(scales, panel);
            for row in block {
                for (value, scale) in row.iter_mut().zip(scales) {
                    *value *= scale;
                }
            }
        })
    }

    /// Returns `g · W` with `W[o][i] = code[o][i] * scales[o]`, rounded to `precision`.
    ///
    /// `g: [t, outputs]` f32; the result is `[t, inputs]`: the gradient of a frozen linear layer's
    /// input. `W` is made block by block.
    ///
    /// # Panics
    ///
    /// If a length does not fit the weight.
    pub fn transposed_product(
        &self,
        g: &[f32],
        weight: &PackedInt8,
        scales: &[f32],
        precision: Precision,
    ) -> Vec<f32> {
        assert_eq!(scales.len(), weight.outputs(), "one scale an output");
        let rows = rows_of(g.len(), weight.outputs());
        let steps = weight.panels() * PANEL;
        let shape = Shape { rows, steps, columns: weight.inputs() };
        self.blocked(g, weight.outputs(), shape, precision, |column, steps, block| {
            let groups = column * (PANEL / GROUP)..weight.groups().min((column + 1) * 8);
            for (panel, block) in (steps.start / PANEL..).zip(block.as_chunks_mut::<PANEL>().0) {
                let lines = &weight.panel(panel)[groups.start * 2..groups.end * 2];
                (self.spread_columns)(lines, block);
                for (row, scale) in block.iter_mut().zip(panel_scales(scales, panel)) {
                    row.iter_mut().for_each(|value| *value *= scale);
                }
            }
        })
    }

    /// `a: [rows, width] · B: [steps, columns]`, where `fill` makes a block of one panel of `B`.
    fn blocked(
        &self,
        a: &[f32],
        width: usize,
        shape: Shape,
        precision: Precision,
        fill: impl Fn(usize, Range<usize>, &mut [[f32; PANEL]]) + Sync,
    ) -> Vec<f32> {
        let Shape { rows, steps, columns } = shape;
        let mut data = vec![[0.0; PANEL]; columns.div_ceil(PANEL) * rows];
        let work = rows * steps * PANEL;
        let blocks = || (0..steps).step_by(BLOCK_STEPS).map(|s| s..steps.min(s + BLOCK_STEPS));
        match precision {
            Precision::F32 | Precision::F16 => {
                let (floats, tiles) = (float::Kernels::get(), tiles(rows, &float::TILE_ROWS));
                let a = pack_steps(a, width, steps, &tiles, |a| a);
                each_panel(&mut data, rows, work, |panel, out| {
                    let mut block = [[0.0; PANEL]; BLOCK_STEPS];
                    for range in blocks() {
                        let block = &mut block[..range.len()];
                        fill(panel, range.clone(), block);
                        if precision == Precision::F16 {
                            round_to_half(block.as_flattened_mut());
                        }
                        for tile in &tiles {
                            let at = tile.start * steps + range.start * tile.len();
                            let a = &a[at..][..range.len() * tile.len()];
                            let out = &mut out[tile.clone()];
                            floats.tile(tile.len(), a, block.as_flattened(), out);
                        }
                    }
                });
            }
            Precision::Bf16 => {
                let tiles = tiles(rows, self.heights);
                let a = pack_pairs(a, width, steps, &tiles);
                each_panel(&mut data, rows, work, |panel, out| {
                    let mut block = [[0.0; PANEL]; BLOCK_STEPS];
                    let mut pairs = [[[0; 2]; PANEL]; BLOCK_STEPS / 2];
                    for range in blocks() {
                        let block = &mut block[..range.len()];
                        fill(panel, range.clone(), block);
                        let pairs = &mut pairs[..range.len() / 2];
                        (self.pair_rows)(block, pairs);
                        for tile in &tiles {
                            let at = (tile.start * steps + range.start * tile.len()) / 2;
                            let a = &a[at..][..range.len() / 2 * tile.len()];
                            (self.bf16_tile)(a, pairs, &mut out[tile.clone()]);
                        }
                    }
                });
            }
        }
        from_panels(&data, rows, columns)
    }

    /// Codes as the tile functions read them: `[tile][group][row of the tile][4]`.
    fn pack_codes(&self, x: &[i8], weight: &PackedInt8, tiles: &[Range<usize>]) -> Vec<u8> {
        let (inputs, width) = (weight.inputs(), weight.groups() * GROUP);
        let rows = tiles.last().map_or(0, |tile| tile.end);
        let mut packed = vec![self.shift; rows * width];
        each_tile(&mut packed, width, tiles, |tile, packed| {
            for (row, x) in x[tile.start * inputs..].chunks(inputs).take(tile.len()).enumerate() {
                for (group, codes) in x.chunks(GROUP).enumerate() {
                    let at = (group * tile.len() + row) * GROUP;
                    for (packed, code) in packed[at..].iter_mut().zip(codes) {
                        *packed = code.cast_unsigned().wrapping_add(self.shift);
                    }
                }
            }
        });
        packed
    }
}

/// Rows `[rows, width]` as the tile functions read them: `[tile][step][row of the tile]`, zeros
/// behind `width`.
fn pack_steps<T: Copy + Default + Send>(
    a: &[f32],
    width: usize,
    steps: usize,
    tiles: &[Range<usize>],
    convert: impl Fn(f32) -> T + Sync,
) -> Vec<T> {
    let mut packed = vec![T::default(); rows_of(a.len(), width) * steps];
    each_tile(&mut packed, steps, tiles, |tile, packed| {
        for (row, a) in a[tile.start * width..].chunks(width).take(tile.len()).enumerate() {
            for (packed, &a) in packed[row..].iter_mut().step_by(tile.len()).zip(a) {
                *packed = convert(a);
            }
        }
    });
    packed
}

/// As [`pack_steps`] in bf16, `[tile][pair of steps][row of the tile][2]`.
fn pack_pairs(a: &[f32], width: usize, steps: usize, tiles: &[Range<usize>]) -> Vec<[u16; 2]> {
    let single = pack_steps(a, width, steps, tiles, scalar::narrow);
    let mut pairs = Vec::with_capacity(single.len() / 2);
    for tile in tiles {
        for two in single[tile.start * steps..tile.end * steps].chunks_exact(2 * tile.len()) {
            let (even, odd) = two.split_at(tile.len());
            pairs.extend(even.iter().zip(odd).map(|(&even, &odd)| [even, odd]));
        }
    }
    pairs
}

fn round_to_half(block: &mut [f32]) {
    let mut half = [f16::ZERO; PANEL];
    for row in block.chunks_exact_mut(PANEL) {
        half.convert_from_f32_slice(row);
        half.convert_to_f32_slice(row);
    }
}

/// Splits `rows` into tiles of these heights, tallest first, down to 1.
fn tiles(rows: usize, heights: &[usize]) -> Vec<Range<usize>> {
    let mut tiles = Vec::new();
    let mut first = 0;
    for &height in heights {
        while first + height <= rows {
            tiles.push(first..first + height);
            first += height;
        }
    }
    tiles
}

/// Runs `each` on the part of `packed` that belongs to each tile, `width` elements a row.
fn each_tile<T: Send>(
    packed: &mut [T],
    width: usize,
    tiles: &[Range<usize>],
    each: impl Fn(&Range<usize>, &mut [T]) + Sync,
) {
    let parallel = packed.len() * 8 >= MIN_PARALLEL_WORK;
    let mut parts = Vec::with_capacity(tiles.len());
    let mut rest = packed;
    for tile in tiles {
        let (part, behind) = rest.split_at_mut(tile.len() * width);
        parts.push((tile, part));
        rest = behind;
    }
    if parallel {
        parts.into_par_iter().for_each(|(tile, part)| each(tile, part));
    } else {
        parts.into_iter().for_each(|(tile, part)| each(tile, part));
    }
}

/// Shape of a dequantising product: `[rows, steps] · [steps, columns]`.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    steps: usize,
    columns: usize,
}

fn rows_of(length: usize, width: usize) -> usize {
    let rows = length.checked_div(width).unwrap_or(0);
    assert_eq!(rows * width, length, "rows of {width} do not make {length}");
    rows
}

/// The scales of one panel, zeros behind the last.
fn panel_scales(scales: &[f32], panel: usize) -> [f32; PANEL] {
    let mut padded = [0.0; PANEL];
    for (padded, &scale) in padded.iter_mut().zip(&scales[panel * PANEL..]) {
        *padded = scale;
    }
    padded
}

/// Runs `each` on every panel (`rows` entries of `data`), on all threads where it pays.
fn each_panel<T: Send>(
    data: &mut [T],
    rows: usize,
    work_each: usize,
    each: impl Fn(usize, &mut [T]) + Sync,
) {
    if data.is_empty() {
        return;
    }
    let panels = data.len() / rows;
    if panels * work_each < MIN_PARALLEL_WORK {
        data.chunks_mut(rows).enumerate().for_each(|(panel, out)| each(panel, out));
    } else {
        let least = (MIN_PARALLEL_WORK / 8).div_ceil(work_each.max(1));
        let panels = data.par_chunks_mut(rows).enumerate().with_min_len(least);
        panels.for_each(|(panel, out)| each(panel, out));
    }
}

/// Runs `each` on every row of `data`, on all threads where it pays.
fn each_row(data: &mut [f32], width: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    if data.len() * 8 < MIN_PARALLEL_WORK {
        data.chunks_mut(width.max(1)).enumerate().for_each(|(row, out)| each(row, out));
    } else {
        data.par_chunks_mut(width).enumerate().for_each(|(row, out)| each(row, out));
    }
}

/// `[panels][rows][32]` to row-major `[rows, columns]`.
fn from_panels<T: Copy + Default>(data: &[[T; PANEL]], rows: usize, columns: usize) -> Vec<T> {
    let mut out = vec![T::default(); rows * columns];
    for (row, out) in out.chunks_mut(columns.max(1)).enumerate() {
        for (panel, out) in out.chunks_mut(PANEL).enumerate() {
            out.copy_from_slice(&data[panel * rows + row][..out.len()]);
        }
    }
    out
}
