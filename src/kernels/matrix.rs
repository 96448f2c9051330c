//! A frozen weight matrix, packed once into panels, and its products with rows of activations.
//!
//! Each output is one sum over the inputs in ascending order, whatever the number of rows, threads
//! or kernel set: the product of a row has the same bits alone and in any batch. Panels are
//! [`LANES`] outputs wide, the last one padded with zeros; element `(output, input)` of a panel
//! stands at `input * LANES + lane`.

use half::{bf16, f16};
use rayon::prelude::*;

use super::float::{Kernels, LANES, TILE_ROWS, Weight};

/// Inputs multiplied in one go: a panel's share stays in the second-level cache.
const BLOCK_INPUTS: usize = 512;

/// Products with fewer multiply-adds than this run on the calling thread alone.
const PARALLEL_FROM: usize = 1 << 18;

/// Number format of the weights held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl WeightType {
    /// Returns the bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

#[derive(Debug)]
enum Panels {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

/// Runs `$body` with `$panels` bound to the weights, whatever their format.
macro_rules! with_panels {
    ($matrix:expr, $panels:ident => $body:expr) => {
        match $matrix {
            Panels::F32($panels) => $body,
            Panels::F16($panels) => $body,
            Panels::Bf16($panels) => $body,
        }
    };
}

/// A weight matrix `[outputs, inputs]` that takes no gradient.
#[derive(Debug)]
pub struct Matrix {
    outputs: usize,
    inputs: usize,
    panels: Panels,
}

impl Matrix {
    /// Returns a matrix of zeros, to be filled by [`Matrix::set_rows`].
    pub fn zeros(weight_type: WeightType, outputs: usize, inputs: usize) -> Self {
        let len = outputs.div_ceil(LANES) * LANES * inputs;
        let panels = match weight_type {
            WeightType::F32 => Panels::F32(vec![0.0; len]),
            WeightType::F16 => Panels::F16(vec![f16::ZERO; len]),
            WeightType::Bf16 => Panels::Bf16(vec![bf16::ZERO; len]),
        };
        Self { outputs, inputs, panels }
    }

    /// Returns the number of rows.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of columns.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the number format of the weights.
    pub fn weight_type(&self) -> WeightType {
        match self.panels {
            Panels::F32(_) => WeightType::F32,
            Panels::F16(_) => WeightType::F16,
            Panels::Bf16(_) => WeightType::Bf16,
        }
    }

    /// Returns the bytes that the weights take in memory.
    pub fn mem_bytes(&self) -> usize {
        self.outputs.div_ceil(LANES) * LANES * self.inputs * self.weight_type().bytes()
    }

    /// Overwrites the rows from `first` on, each weight rounded to nearest, ties to even.
    ///
    /// `values: [n, inputs]`.
    ///
    /// # Panics
    ///
    /// If `values` is not whole rows, or they reach behind the last row.
    pub fn set_rows(&mut self, first: usize, values: &[f32]) {
        let inputs = self.inputs;
        assert_eq!(values.len() % inputs, 0, "set_rows: whole rows");
        let rows = values.len() / inputs;
        assert!(first + rows <= self.outputs, "set_rows: row out of range");
        with_panels!(&mut self.panels, panels => {
            let from = first / LANES;
            panels.par_chunks_mut(LANES * inputs).enumerate().skip(from).for_each(|(p, panel)| {
                let begin = (p * LANES).max(first);
                let end = ((p + 1) * LANES).min(first + rows);
                for row in begin..end.max(begin) {
                    let values = &values[(row - first) * inputs..][..inputs];
                    let lanes = panel[row % LANES..].iter_mut().step_by(LANES);
                    for (slot, value) in lanes.zip(values) {
                        *slot = Weight::from_f32(*value);
                    }
                }
            });
        });
    }

    /// Writes row `row` to `out`, `[inputs]`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `out` has another length.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.outputs, "row {row} of a matrix of {}", self.outputs);
        assert_eq!(out.len(), self.inputs, "row: length");
        with_panels!(&self.panels, panels => {
            let panel = &panels[row / LANES * LANES * self.inputs..][..LANES * self.inputs];
            for (out, weight) in out.iter_mut().zip(panel[row % LANES..].iter().step_by(LANES)) {
                *out = weight.to_f32();
            }
        });
    }

    /// Returns `x · Wᵀ`.
    ///
    /// `x: [n, inputs]`, result `[n, outputs]`. Inputs are summed in ascending order with fused
    /// multiply-adds in f32, so the relative error is at most `inputs * 2^-24` of the sum of
    /// absolute products.
    ///
    /// # Panics
    ///
    /// If `x` is not whole rows.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        assert_eq!(x.len() % self.inputs, 0, "multiply: whole rows");
        let rows = x.len() / self.inputs;
        let tiles = pack_tiles(x, rows, self.inputs);
        let mut strips = vec![[0.0; LANES]; self.outputs.div_ceil(LANES) * rows];
        with_panels!(&self.panels, panels => {
            let strip = |(sums, panel): (&mut [[f32; LANES]], _)| {
                multiply_panel(&tiles, self.inputs, panel, sums);
            };
            let width = LANES * self.inputs;
            if rows * self.outputs * self.inputs < PARALLEL_FROM {
                strips.chunks_mut(rows.max(1)).zip(panels.chunks(width)).for_each(strip);
            } else {
                strips.par_chunks_mut(rows).zip(panels.par_chunks(width)).for_each(strip);
            }
        });
        join_strips(&strips, rows, self.outputs)
    }

    /// Returns `g · W`, the gradient of the product's input.
    ///
    /// `g: [n, outputs]`, result `[n, inputs]`. The weights are unpacked strip by strip; no second
    /// copy of the matrix is made.
    ///
    /// # Panics
    ///
    /// If `g` is not whole rows.
    pub fn multiply_transposed(&self, g: &[f32]) -> Vec<f32> {
        assert_eq!(g.len() % self.outputs, 0, "multiply_transposed: whole rows");
        let rows = g.len() / self.outputs;
        let tiles = pack_tiles(g, rows, self.outputs);
        let mut strips = vec![[0.0; LANES]; self.inputs.div_ceil(LANES) * rows];
        with_panels!(&self.panels, panels => {
            strips.par_chunks_mut(rows.max(1)).enumerate().for_each(|(s, sums)| {
                let columns = s * LANES..((s + 1) * LANES).min(self.inputs);
                let mut strip = vec![0.0; self.outputs * LANES];
                for (panel, rows) in
                    panels.chunks(LANES * self.inputs).zip(strip.chunks_mut(LANES * LANES))
                {
                    for (c, lanes) in panel.chunks(LANES).take(columns.end).skip(columns.start).enumerate() {
                        for (row, weight) in rows.chunks_mut(LANES).zip(lanes) {
                            row[c] = weight.to_f32();
                        }
                    }
                }
                multiply_panel(&tiles, self.outputs, &strip, sums);
            });
        });
        join_strips(&strips, rows, self.inputs)
    }
}

/// Rows of activations, regrouped for the kernels: each tile `[inputs, height]`.
struct Tiles {
    /// Height and packed values of each tile.
    tiles: Vec<(usize, Vec<f32>)>,
}

fn pack_tiles(x: &[f32], rows: usize, inputs: usize) -> Tiles {
    let mut tiles = Vec::new();
    let mut done = 0;
    while done < rows {
        let height = TILE_ROWS
            .into_iter()
            .find(|height| *height <= rows - done)
            .expect("a tile of one row always fits");
        let x = &x[done * inputs..][..height * inputs];
        let mut packed = vec![0.0; x.len()];
        for (r, row) in x.chunks_exact(inputs).enumerate() {
            for (slot, value) in packed[r..].iter_mut().step_by(height).zip(row) {
                *slot = *value;
            }
        }
        tiles.push((height, packed));
        done += height;
    }
    Tiles { tiles }
}

/// Fills `sums`, `[rows, LANES]`, with the products of every tile and one panel.
fn multiply_panel<W: Weight>(x: &Tiles, inputs: usize, panel: &[W], sums: &mut [[f32; LANES]]) {
    let kernels = Kernels::get();
    for (block, w) in panel.chunks(BLOCK_INPUTS * LANES).enumerate() {
        let from = block * BLOCK_INPUTS;
        let len = (inputs - from).min(BLOCK_INPUTS);
        let mut rest = &mut *sums;
        for (height, x) in &x.tiles {
            let (acc, behind) = rest.split_at_mut(*height);
            kernels.tile(*height, &x[from * height..][..len * height], &w[..len * LANES], acc);
            rest = behind;
        }
    }
}

/// Regroups strips `[strip, rows, LANES]` to `[rows, width]`.
fn join_strips(strips: &[[f32; LANES]], rows: usize, width: usize) -> Vec<f32> {
    if rows <= 1 {
        let mut out = strips.as_flattened().to_vec();
        out.truncate(width * rows);
        return out;
    }
    let mut out = vec![0.0; rows * width];
    let join = |(r, row): (usize, &mut [f32])| {
        for (s, out) in row.chunks_mut(LANES).enumerate() {
            out.copy_from_slice(&strips[s * rows + r][..out.len()]);
        }
    };
    if rows * width < PARALLEL_FROM {
        out.chunks_mut(width).enumerate().for_each(join);
    } else {
        out.par_chunks_mut(width).enumerate().for_each(join);
    }
    out
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

    fn matrix(weight_type: WeightType, outputs: usize, inputs: usize) -> (Matrix, Vec<f32>) {
        let mut matrix = Matrix::zeros(weight_type, outputs, inputs);
        let w = values(7, outputs * inputs);
        // In uneven pieces, as a reader would.
        let split = outputs / 3 * inputs;
        matrix.set_rows(0, &w[..split]);
        matrix.set_rows(outputs / 3, &w[split..]);
        let mut rounded = vec![0.0; w.len()];
        for (row, out) in rounded.chunks_mut(inputs).enumerate() {
            matrix.row(row, out);
        }
        (matrix, rounded)
    }

    const TYPES: [WeightType; 3] = [WeightType::F32, WeightType::F16, WeightType::Bf16];

    #[test]
    fn products_are_ascending_fused_sums() {
        for weight_type in TYPES {
            for (n, outputs, inputs) in [(1, 1, 1), (5, 33, 7), (31, 64, 600), (3, 100, 1025)] {
                let (matrix, w) = matrix(weight_type, outputs, inputs);
                let x = values(3, n * inputs);
                let mut want = Vec::new();
                for x in x.chunks(inputs) {
                    for w in w.chunks(inputs) {
                        want.push(x.iter().zip(w).fold(0.0, |sum: f32, (x, w)| x.mul_add(*w, sum)));
                    }
                }
                assert_eq!(matrix.multiply(&x), want, "{weight_type:?} {n} {outputs} {inputs}");
                let g = values(5, n * outputs);
                let mut want = Vec::new();
                for g in g.chunks(outputs) {
                    for i in 0..inputs {
                        let w = w[i..].iter().step_by(inputs);
                        want.push(g.iter().zip(w).fold(0.0, |sum: f32, (g, w)| g.mul_add(*w, sum)));
                    }
                }
                assert_eq!(matrix.multiply_transposed(&g), want, "{weight_type:?} transposed");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
        let (matrix, _) = matrix(WeightType::Bf16, 257, 1100);
        let x = values(9, 32 * 1100);
        let together = matrix.multiply(&x);
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
            for (x, want) in x.chunks(1100).zip(together.chunks(257)) {
                assert_eq!(pool.install(|| matrix.multiply(x)), want);
            }
        }
    }

    #[test]
    fn f32_weights_are_kept_exactly_and_half_ones_rounded_to_even() {
        let (_, kept) = matrix(WeightType::F32, 40, 9);
        assert_eq!(kept, values(7, 40 * 9));
        let (_, rounded) = matrix(WeightType::Bf16, 40, 9);
        assert_eq!(rounded[3].to_bits(), bf16::from_f32(kept[3]).to_f32().to_bits());
    }

    #[test]
    fn no_rows_give_no_products() {
        let (matrix, _) = matrix(WeightType::F32, 8, 8);
        assert!(matrix.multiply(&[]).is_empty());
        assert!(matrix.multiply_transposed(&[]).is_empty());
    }
}
