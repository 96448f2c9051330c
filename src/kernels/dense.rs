//! The three products of a linear layer whose f32 weight changes from step to step.
//!
//! Nothing is packed ahead. Each result is one sum in ascending order of fused multiply-adds in
//! f32, with the same bits on every kernel set and any number of threads.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    blocked::{Convert, Left, Right, multiply, write_floats},
    float::Kernels,
    product::{copy, rows_of, zeros},
    words::{LANES, Line, Pair, WORDS},
};

/// Returns `x · Wᵀ`.
///
/// `x: [t, inputs]`, `w: [outputs, inputs]`, result `[t, outputs]`.
///
/// # Panics
///
/// If an operand is not whole rows of `inputs`.
pub fn forward(x: &[f32], w: &[f32], inputs: usize) -> Vec<f32> {
    let (rows, outputs) = (rows_of(x.len(), inputs), rows_of(w.len(), inputs));
    product(&rows_in_order(x, inputs), rows, inputs, outputs, &|panel, steps, out| {
        by_transposing(w, inputs, panel, steps, out);
    })
}

/// Returns `g · W`, the gradient of the input.
///
/// `g: [t, outputs]`, `w: [outputs, inputs]`, result `[t, inputs]`.
///
/// # Panics
///
/// If an operand is not whole rows.
pub fn input_gradient(g: &[f32], w: &[f32], inputs: usize) -> Vec<f32> {
    let outputs = rows_of(w.len(), inputs);
    let rows = rows_of(g.len(), outputs);
    product(&rows_in_order(g, outputs), rows, outputs, inputs, &|panel, steps, out| {
        by_copying(w, inputs, panel, steps, out);
    })
}

/// Returns `gᵀ · x`, the gradient of the weight.
///
/// `g: [t, outputs]`, `x: [t, inputs]`, result `[outputs, inputs]`.
///
/// # Panics
///
/// If `g` has not as many rows as `x`, or an operand is not whole rows.
pub fn weight_gradient(g: &[f32], x: &[f32], inputs: usize) -> Vec<f32> {
    let rows = rows_of(x.len(), inputs);
    let outputs = rows_of(g.len(), rows);
    let columns = transposed(g, outputs);
    product(&rows_in_order(&columns, rows), outputs, rows, inputs, &|panel, steps, out| {
        by_copying(x, inputs, panel, steps, out);
    })
}

/// `[rows, width]` as `[width, rows]`, in squares that stay in registers.
fn transposed(values: &[f32], width: usize) -> Vec<f32> {
    let transpose = Kernels::get().transpose;
    let rows = rows_of(values.len(), width);
    let mut out = vec![0.0; values.len()];
    if rows == 0 {
        return out;
    }
    out.par_chunks_mut(WORDS * rows).enumerate().for_each(|(band, out)| {
        let first = band * WORDS;
        let columns = first..width.min(first + WORDS);
        let mut square = [Line::default(); WORDS];
        for from in (0..rows).step_by(WORDS) {
            let here = from..rows.min(from + WORDS);
            for (row, line) in here.clone().zip(&mut square) {
                *line = Line::of_slice(&values[row * width..][columns.clone()]);
            }
            transpose(&mut square);
            for (line, out) in square.iter().zip(out.chunks_mut(rows)) {
                write_floats(line, &mut out[here.clone()]);
            }
        }
    });
    out
}

/// `[rows, depth] · [depth, columns]`.
fn product(
    left: &(dyn Fn(usize, usize, &mut Line) + Sync),
    rows: usize,
    depth: usize,
    columns: usize,
    right: &Convert<'_>,
) -> Vec<f32> {
    let tile = Kernels::get().f32_tile;
    let left = Left::pack(&tile, rows, 1, depth.div_ceil(WORDS), |row, _, step, line| {
        left(row, step, line)
    });
    let right = Right { pairs: &[], words: 0, step_words: 0, convert: Some(right) };
    multiply(&tile, &left, &right, columns, zeros, copy)
}

/// Lines of a left operand that lies row by row.
fn rows_in_order(values: &[f32], width: usize) -> impl Fn(usize, usize, &mut Line) + Sync {
    move |row, step, line| {
        let row = &values[row * width..][..width];
        *line = Line::of_slice(&row[step * WORDS..width.min((step + 1) * WORDS)]);
    }
}

/// Part of a panel whose columns lie side by side: `values: [depth, width]`.
fn by_copying(values: &[f32], width: usize, panel: usize, steps: Range<usize>, out: &mut [Pair]) {
    let columns = panel * LANES..width.min((panel + 1) * LANES);
    let mut rows = values.chunks(width).skip(steps.start * WORDS);
    for pair in out {
        let Some(row) = rows.next() else {
            *pair = Pair::default();
            continue;
        };
        let (low, high) = row[columns.clone()].split_at(columns.len().min(WORDS));
        *pair = [Line::of_slice(low), Line::of_slice(high)];
    }
}

/// Part of a panel whose columns lie one behind the other: `values: [columns, depth]`.
fn by_transposing(
    values: &[f32],
    depth: usize,
    panel: usize,
    steps: Range<usize>,
    out: &mut [Pair],
) {
    let transpose = Kernels::get().transpose;
    let mut square = [Line::default(); WORDS];
    for (step, out) in steps.zip(out.as_chunks_mut::<WORDS>().0) {
        for half in 0..2 {
            let first = panel * LANES + half * WORDS;
            let from = step * WORDS;
            for (column, line) in (first..).zip(&mut square) {
                let row = values.get(column * depth..(column + 1) * depth).unwrap_or_default();
                *line = Line::of_slice(&row[from.min(row.len())..row.len().min(from + WORDS)]);
            }
            transpose(&mut square);
            for (pair, line) in out.iter_mut().zip(&square) {
                pair[half] = *line;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        })
        .take(len)
        .collect()
    }

    /// One sum in ascending order: `a(row, k) * b(k, column)`.
    fn sums(
        rows: usize,
        depth: usize,
        columns: usize,
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f32> {
        let sum = |row, column| (0..depth).fold(0.0, |sum, k| a(row, k).mul_add(b(k, column), sum));
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| sum(row, column))
            .collect()
    }

    #[test]
    fn the_three_products_are_ascending_fused_sums_on_any_number_of_threads() {
        let shapes =
            [(1, 1, 1), (3, 40, 7), (29, 33, 70), (70, 129, 300), (520, 64, 65), (0, 3, 4)];
        for (t, outputs, inputs) in shapes {
            let (x, w, g) =
                (values(1, t * inputs), values(2, outputs * inputs), values(3, t * outputs));
            let forward =
                sums(t, inputs, outputs, |r, k| x[r * inputs + k], |k, c| w[c * inputs + k]);
            let input =
                sums(t, outputs, inputs, |r, k| g[r * outputs + k], |k, c| w[k * inputs + c]);
            let weight =
                sums(outputs, t, inputs, |r, k| g[k * outputs + r], |k, c| x[k * inputs + c]);
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    assert_eq!(super::forward(&x, &w, inputs), forward);
                    assert_eq!(input_gradient(&g, &w, inputs), input);
                    if t > 0 {
                        assert_eq!(weight_gradient(&g, &x, inputs), weight);
                    }
                });
            }
        }
    }
}
