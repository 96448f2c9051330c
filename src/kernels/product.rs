//! Products of f32 activations with a frozen weight in any format, and with its transpose.
//!
//! The format of the weight in memory and the precision of the operands are independent: blocks
//! of the weight are converted on the way, in the first-level cache or in registers.

use std::ops::Range;

use half::{f16, slice::HalfFloatSliceExt};

use super::{
    Level, Precision,
    blocked::{Left, Right, Shape, multiply, multiply_transposed, sum, write_floats},
    float::Kernels,
    words::{LANES, Line, Pair, Run, Scratch, TileKernel, WORDS},
};

/// Inputs are padded with zeros to a multiple of this: a line of the narrowest format.
const PADDED: usize = 4 * WORDS;

/// Numbers of 8 bits that one of 24 is the sum of.
const PARTS: usize = 3;

/// Number format of a weight in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    F32,
    F16,
    Bf16,
    Int8,
}

impl Format {
    /// Returns the elements of one word.
    pub(super) fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::Int8 => 4,
        }
    }

    /// Returns the words of `inputs` elements, padding included.
    pub(super) fn words(self, inputs: usize) -> usize {
        inputs.next_multiple_of(PADDED) / self.per_word()
    }
}

/// A weight `[outputs, inputs]`: outputs in panels of 32, `[panel][word]`.
#[derive(Clone, Copy)]
pub(super) struct Weight<'a> {
    pub(super) pairs: &'a [Pair],
    pub(super) format: Format,
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// What the codes of each output are multiplied by; empty unless [`Format::Int8`].
    pub(super) scales: &'a [f32],
}

/// How operands are rounded, and which tile kernel multiplies them.
#[derive(Clone, Copy)]
struct Plan {
    precision: Precision,
    /// Whether the tile kernel takes words of two bf16; of one f32 otherwise.
    halves: bool,
    /// Numbers that an activation is the sum of.
    parts: usize,
    tile: TileKernel,
}

impl Plan {
    fn new(precision: Precision, format: Format) -> Self {
        let kernels = Kernels::get();
        let is_exact = matches!(format, Format::Bf16 | Format::Int8);
        match (precision, kernels.bf16_tile) {
            (Precision::Bf16, Some(tile)) => Self { precision, halves: true, parts: 1, tile },
            // On vectors a product in bf16 takes half as long as one in f32.
            (Precision::Bf16Exact, Some(tile)) if is_exact && kernels.level == Level::Amx => {
                Self { precision, halves: true, parts: PARTS, tile }
            }
            _ => Self { precision, halves: false, parts: 1, tile: kernels.f32_tile },
        }
    }

    /// Whether the weight is multiplied by its codes alone, and the rest by their scales.
    fn sets_scales_apart(self, format: Format) -> bool {
        self.parts == PARTS && format == Format::Int8
    }

    /// Elements of a step of the tile kernel.
    fn step(self) -> usize {
        if self.halves { 2 * WORDS } else { WORDS }
    }

    fn steps(self, elements: usize) -> usize {
        elements.div_ceil(self.step())
    }

    /// Writes one step of a part of a row of activations times `scales`, if there are some.
    fn line(self, row: &[f32], scales: &[f32], part: usize, step: usize, line: &mut Line) {
        let from = step * self.step();
        let here = from..row.len().min(from + self.step());
        let values = &row[here.clone()];
        if self.halves {
            let (low, high) = values.split_at(values.len().min(WORDS));
            let mut pair = [Line::of_slice(low), Line::of_slice(high)];
            if !scales.is_empty() {
                let words = pair.iter_mut().flat_map(|line| &mut line.0);
                for (word, scale) in words.zip(&scales[here]) {
                    *word = (f32::from_bits(*word) * scale).to_bits();
                }
            }
            let kernels = Kernels::get();
            (0..part).for_each(|_| (kernels.narrow_rest)(&mut pair));
            (kernels.narrow_line)(&pair, line);
        } else {
            *line = Line::of_slice(values);
            self.round(std::slice::from_mut(line));
        }
    }

    /// Rounds f32 words where the tile kernel does not.
    fn round(self, lines: &mut [Line]) {
        if self.precision == Precision::Bf16 && !self.halves {
            for word in lines.iter_mut().flat_map(|line| &mut line.0) {
                *word = super::scalar::narrow(*word) << 16;
            }
        }
    }
}

impl Weight<'_> {
    /// Returns `x · Wᵀ`: `x: [t, inputs]`, result `[t, outputs]`.
    pub(super) fn multiply(&self, x: &[f32], precision: Precision) -> Vec<f32> {
        let rows = rows_of(x.len(), self.inputs);
        let mut plan = Plan::new(precision, self.format);
        let are_codes = plan.sets_scales_apart(self.format);
        let steps = plan.steps(self.inputs);
        let spreads = match Kernels::get().spread_tile {
            Some(tile) if self.format == Format::Bf16 && !plan.halves => {
                plan.tile = tile;
                true
            }
            _ => false,
        };
        let left = Left::pack(&plan.tile, rows, plan.parts, steps, |row, part, step, line| {
            plan.line(&x[row * self.inputs..][..self.inputs], &[], part, step, line);
        });
        let convert = |panel: usize, steps: Range<usize>, out: &mut [Pair]| {
            let inputs = steps.start * plan.step()..steps.end * plan.step();
            if are_codes {
                let words =
                    inputs.start / self.format.per_word()..inputs.end / self.format.per_word();
                let pairs = &self.pairs[panel * self.format.words(self.inputs)..][words];
                (Kernels::get().halve_int8)(pairs, out);
            } else if plan.halves {
                let mut floats = Scratch::new(inputs.len());
                self.spread(panel, inputs, plan, &mut floats);
                (Kernels::get().narrow_pairs)(&floats, out);
            } else {
                self.spread(panel, inputs, plan, out);
            }
        };
        let is_own = match self.format {
            Format::F32 => precision != Precision::Bf16,
            Format::Bf16 => plan.halves || spreads,
            Format::F16 | Format::Int8 => false,
        };
        let right = Right {
            pairs: self.pairs,
            words: self.format.words(self.inputs),
            step_words: plan.step() / self.format.per_word(),
            convert: if is_own { None } else { Some(&convert) },
        };
        multiply(&plan.tile, &left, &right, self.outputs, zeros, |row, panel, sums, out| {
            copy(row, panel, sums, out);
            if are_codes {
                let scales = &self.scales[panel * LANES..];
                out.iter_mut().zip(scales).for_each(|(out, scale)| *out *= scale);
            }
        })
    }

    /// Returns `g · W`: `g: [t, outputs]`, result `[t, inputs]`.
    pub(super) fn multiply_transposed(&self, g: &[f32], precision: Precision) -> Vec<f32> {
        let columns = rows_of(g.len(), self.outputs);
        let plan = Plan::new(precision, self.format);
        let (parts, steps) = (plan.parts, plan.steps(self.outputs));
        let shape = Shape { rows: self.inputs, steps, columns, parts };
        let scales = if plan.sets_scales_apart(self.format) { self.scales } else { &[] };
        let right = columns_of(columns, parts, steps, |column, part, step, line| {
            let row = &g[column * self.outputs..][..self.outputs];
            plan.line(row, scales, part, step, line);
        });
        let transpose = Kernels::get().transpose;
        multiply_transposed(&plan.tile, shape, &right, transpose, |inputs, steps, runs, lines| {
            self.fill(plan, inputs, steps, runs, lines)
        })
    }

    /// Writes some inputs as rows of a left operand whose steps go over the outputs,
    /// `[tile][step][row of the tile]`.
    fn fill(
        &self,
        plan: Plan,
        inputs: Range<usize>,
        steps: Range<usize>,
        runs: &[Run],
        lines: &mut [Line],
    ) {
        let kernels = Kernels::get();
        let outputs = steps.start * plan.step()..steps.end * plan.step();
        let padded = inputs.start..inputs.end.next_multiple_of(PADDED);
        let is_split = plan.halves && self.format == Format::Bf16;
        let mut scratch = Scratch::new(padded.len());
        for panel in outputs.start / LANES..outputs.end.div_ceil(LANES) {
            if is_split {
                let words = padded.start / 2..padded.end / 2;
                let pairs = &self.pairs[panel * self.format.words(self.inputs)..][words];
                (kernels.split_bf16)(pairs, scratch.as_flattened_mut());
            } else {
                self.spread(panel, padded.clone(), plan, &mut scratch);
            }
            for (first, height) in tiles(runs) {
                let lines = &mut lines[first * steps.len()..][..height * steps.len()];
                let at =
                    |step: usize| (step - steps.start) * height..(step - steps.start + 1) * height;
                let floats = &scratch[first..][..height];
                if is_split {
                    lines[at(panel)].copy_from_slice(&scratch.as_flattened()[first..][..height]);
                } else if plan.halves {
                    for (floats, line) in floats.iter().zip(&mut lines[at(panel)]) {
                        (kernels.narrow_line)(floats, line);
                    }
                } else {
                    for (half, step) in (2 * panel..2 * panel + 2).enumerate() {
                        if steps.contains(&step) {
                            let lines = floats.iter().zip(&mut lines[at(step)]);
                            lines.for_each(|(floats, line)| *line = floats[half]);
                        }
                    }
                }
            }
        }
    }

    /// Writes some inputs of a panel in f32, rounded as the plan says, `[input]`.
    fn spread(&self, panel: usize, inputs: Range<usize>, plan: Plan, out: &mut [Pair]) {
        let (kernels, per_word) = (Kernels::get(), self.format.per_word());
        let words = inputs.start / per_word..inputs.end / per_word;
        let out = &mut out[..inputs.len()];
        let pairs = &self.pairs[panel * self.format.words(self.inputs)..][words];
        match self.format {
            Format::F32 => out.copy_from_slice(pairs),
            Format::F16 => (kernels.spread_f16)(pairs, out),
            Format::Bf16 => (kernels.spread_bf16)(pairs, out),
            Format::Int8 => {
                let mut scales = [0.0; LANES];
                let here = panel * LANES..self.outputs.min((panel + 1) * LANES);
                if plan.sets_scales_apart(self.format) {
                    scales[..here.len()].fill(1.0);
                } else {
                    scales[..here.len()].copy_from_slice(&self.scales[here]);
                }
                (kernels.spread_int8)(pairs, &scales, out);
                if plan.precision == Precision::F16 {
                    round_to_half(out.as_flattened_mut());
                }
            }
        }
        plan.round(out.as_flattened_mut());
    }
}

/// First row and height of each tile.
fn tiles(runs: &[Run]) -> impl Iterator<Item = (usize, usize)> {
    runs.iter().flat_map(|run| run.rows.clone().step_by(run.height).map(|row| (row, run.height)))
}

/// Sums before the first step.
pub(super) fn zeros(_panel: usize) -> Pair {
    Pair::default()
}

/// Writes sums that are the results, those of the parts added.
pub(super) fn copy(_row: usize, _panel: usize, sums: &[Pair], out: &mut [f32]) {
    if let ([sums], Some(out)) = (sums, out.as_mut_array::<LANES>()) {
        for (line, out) in sums.iter().zip(out.as_chunks_mut::<WORDS>().0) {
            *out = line.floats();
        }
        return;
    }
    for (half, out) in out.chunks_mut(WORDS).enumerate() {
        write_floats(&sum(sums.iter().map(|pair| pair[half])), out);
    }
}

/// Packs `columns` of a right operand whose words lie line by line, as rows of a left one do:
/// `[panel][part][step * 16]`.
fn columns_of(
    columns: usize,
    parts: usize,
    steps: usize,
    fill: impl Fn(usize, usize, usize, &mut Line) + Sync,
) -> Scratch {
    use rayon::prelude::*;
    let mut right = Scratch::new(columns.div_ceil(LANES) * parts * steps * WORDS);
    let transpose = Kernels::get().transpose;
    right.par_chunks_mut(steps.max(1) * WORDS).enumerate().for_each(|(panel, pairs)| {
        let mut square = [Line::default(); WORDS];
        for (step, pairs) in pairs.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
            for half in 0..2 {
                let first = panel / parts * LANES + half * WORDS;
                for (column, line) in (first..).zip(&mut square) {
                    if column < columns {
                        fill(column, panel % parts, step, line);
                    } else {
                        *line = Line::default();
                    }
                }
                transpose(&mut square);
                for (pair, line) in pairs.iter_mut().zip(&square) {
                    pair[half] = *line;
                }
            }
        }
    });
    right
}

fn round_to_half(lines: &mut [Line]) {
    let mut half = [f16::ZERO; WORDS];
    for line in lines {
        let mut floats = line.floats();
        half.convert_from_f32_slice(&floats);
        half.convert_to_f32_slice(&mut floats);
        *line = Line::of_floats(floats);
    }
}

/// Returns the number of rows of `width` elements in `length`.
pub(super) fn rows_of(length: usize, width: usize) -> usize {
    let rows = length.checked_div(width).unwrap_or(0);
    assert_eq!(rows * width, length, "rows of {width} do not make {length}");
    rows
}
