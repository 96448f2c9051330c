//! A frozen weight matrix, packed once into panels, and its products with rows of activations.
//!
//! In f32 each output is one sum over the inputs in ascending order, whatever the number of rows,
//! threads or kernel set: the product of a row has the same bits alone and in any batch. In bf16
//! that holds on one kernel set; see [`Precision`].

use half::{bf16, f16};
use rayon::prelude::*;

use super::{
    Precision,
    product::{Format, Weight},
    words::{LANES, Pair, WORDS},
};

/// Number format of the weights held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
    /// As [`Self::Bf16`], and [`Self::precision`] rounds what it is multiplied by as well.
    Bf16Rounded,
}

impl WeightType {
    /// Returns the bytes of one weight.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 | Self::Bf16Rounded => 2,
        }
    }

    /// Returns how a layer of such weights multiplies.
    pub fn precision(self) -> Precision {
        match self {
            Self::F32 | Self::F16 => Precision::F32,
            Self::Bf16 => Precision::Bf16Exact,
            Self::Bf16Rounded => Precision::Bf16,
        }
    }

    fn format(self) -> Format {
        match self {
            Self::F32 => Format::F32,
            Self::F16 => Format::F16,
            Self::Bf16 | Self::Bf16Rounded => Format::Bf16,
        }
    }

    /// Returns the bits of the nearest value, ties to even.
    fn bits_of(self, value: f32) -> u32 {
        match self {
            Self::F32 => value.to_bits(),
            Self::F16 => u32::from(f16::from_f32(value).to_bits()),
            Self::Bf16 | Self::Bf16Rounded => u32::from(bf16::from_f32(value).to_bits()),
        }
    }

    /// Returns the value of an element of a word.
    #[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
    fn value_of(self, word: u32, element: usize) -> f32 {
        let half = (word >> (16 * element)) as u16;
        match self {
            Self::F32 => f32::from_bits(word),
            Self::F16 => f16::from_bits(half).to_f32(),
            Self::Bf16 | Self::Bf16Rounded => bf16::from_bits(half).to_f32(),
        }
    }
}

/// A weight matrix `[outputs, inputs]` that takes no gradient.
#[derive(Debug)]
pub struct Matrix {
    outputs: usize,
    inputs: usize,
    weight_type: WeightType,
    /// `[panel][word]`.
    pairs: Vec<Pair>,
}

impl Matrix {
    /// Returns a matrix of zeros, to be filled by [`Matrix::set_rows`].
    pub fn zeros(weight_type: WeightType, outputs: usize, inputs: usize) -> Self {
        let len = outputs.div_ceil(LANES) * weight_type.format().words(inputs);
        Self { outputs, inputs, weight_type, pairs: vec![Pair::default(); len] }
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
        self.weight_type
    }

    /// Returns the bytes that the weights take in memory.
    pub fn mem_bytes(&self) -> usize {
        size_of_val(&*self.pairs)
    }

    /// Overwrites the rows from `first` on, each weight rounded to nearest, ties to even.
    ///
    /// `values: [n, inputs]`.
    ///
    /// # Panics
    ///
    /// If `values` is not whole rows, or they reach behind the last row.
    pub fn set_rows(&mut self, first: usize, values: &[f32]) {
        let (inputs, weight_type) = (self.inputs, self.weight_type);
        let rows = values.len() / inputs;
        assert_eq!(rows * inputs, values.len(), "set_rows: whole rows");
        assert!(first + rows <= self.outputs, "set_rows: row out of range");
        let (words, per_word) = (self.words(), weight_type.format().per_word());
        let from = first / LANES;
        let until = (first + rows).div_ceil(LANES);
        let panels = self.pairs[from * words..until * words].par_chunks_mut(words);
        panels.zip(from..until).for_each(|(pairs, panel)| {
            let begin = (panel * LANES).max(first);
            let end = ((panel + 1) * LANES).min(first + rows);
            for row in begin..end {
                let (half, lane) = (row % LANES / WORDS, row % WORDS);
                let values = &values[(row - first) * inputs..][..inputs];
                for (pair, values) in pairs.iter_mut().zip(values.chunks(per_word)) {
                    let bits = values.iter().enumerate().fold(0, |bits, (element, value)| {
                        bits | weight_type.bits_of(*value) << (16 * element)
                    });
                    pair[half].0[lane] = bits;
                }
            }
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
        let pairs = &self.pairs[row / LANES * self.words()..][..self.words()];
        let per_word = self.weight_type.format().per_word();
        for (out, pair) in out.chunks_mut(per_word).zip(pairs) {
            let word = pair[row % LANES / WORDS].0[row % WORDS];
            for (element, out) in out.iter_mut().enumerate() {
                *out = self.weight_type.value_of(word, element);
            }
        }
    }

    /// Returns `x · Wᵀ` in f32.
    ///
    /// `x: [n, inputs]`, result `[n, outputs]`. Inputs are summed in ascending order with fused
    /// multiply-adds in f32, so the relative error is at most `inputs * 2^-24` of the sum of
    /// absolute products.
    ///
    /// # Panics
    ///
    /// If `x` is not whole rows.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        self.multiply_in(x, Precision::F32)
    }

    /// Returns `x · Wᵀ` with the operands taken as `precision` says.
    ///
    /// `x: [n, inputs]`, result `[n, outputs]`.
    ///
    /// # Panics
    ///
    /// If `x` is not whole rows.
    pub fn multiply_in(&self, x: &[f32], precision: Precision) -> Vec<f32> {
        self.weight().multiply(x, precision)
    }

    /// Returns `g · W` in f32, the gradient of the product's input.
    ///
    /// `g: [n, outputs]`, result `[n, inputs]`. The weights are unpacked block by block; no second
    /// copy of the matrix is made.
    ///
    /// # Panics
    ///
    /// If `g` is not whole rows.
    pub fn multiply_transposed(&self, g: &[f32]) -> Vec<f32> {
        self.multiply_transposed_in(g, Precision::F32)
    }

    /// Returns `g · W` with the operands taken as `precision` says.
    ///
    /// `g: [n, outputs]`, result `[n, inputs]`.
    ///
    /// # Panics
    ///
    /// If `g` is not whole rows.
    pub fn multiply_transposed_in(&self, g: &[f32], precision: Precision) -> Vec<f32> {
        self.weight().multiply_transposed(g, precision)
    }

    fn words(&self) -> usize {
        self.weight_type.format().words(self.inputs)
    }

    fn weight(&self) -> Weight<'_> {
        let Self { outputs, inputs, weight_type, ref pairs } = *self;
        Weight { pairs, format: weight_type.format(), outputs, inputs, scales: &[] }
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

    /// In bf16 too, for the kernel set in use: prompts and single tokens must agree.
    #[test]
    fn a_row_has_the_same_bits_in_bf16_alone_and_in_a_batch() {
        for (weight_type, precision) in TYPES
            .map(|weight_type| (weight_type, Precision::Bf16))
            .into_iter()
            .chain([(WeightType::Bf16, Precision::Bf16Exact)])
        {
            let (matrix, _) = matrix(weight_type, 257, 1100);
            // In three parts more rows than pass a block together.
            let (x, g) = (values(9, 270 * 1100), values(5, 70 * 257));
            let together = matrix.multiply_in(&x, precision);
            let gradient = matrix.multiply_transposed_in(&g, precision);
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                for rows in [1, 7, 33] {
                    let alone = pool.install(|| matrix.multiply_in(&x[..rows * 1100], precision));
                    assert_eq!(alone, together[..rows * 257]);
                    let g = &g[..rows * 257];
                    let alone = pool.install(|| matrix.multiply_transposed_in(g, precision));
                    assert_eq!(alone, gradient[..rows * 1100]);
                }
            }
        }
    }

    #[test]
    fn exact_products_in_bf16_have_the_bound_of_those_in_f32() {
        for (n, outputs, inputs) in [(1, 1, 1), (5, 33, 7), (31, 64, 600), (40, 100, 1025)] {
            let (matrix, w) = matrix(WeightType::Bf16, outputs, inputs);
            let check = |got: f32, terms: &mut dyn Iterator<Item = (f32, f32)>| {
                let (mut sum, mut size, mut count) = (0.0, 0.0, 0.0);
                for (a, b) in terms {
                    sum += f64::from(a) * f64::from(b);
                    size += (f64::from(a) * f64::from(b)).abs();
                    count += 1.0;
                }
                // Three chains and their sum.
                let bound = 2.0 * (count + 2.0) * f64::from(f32::EPSILON) * size;
                assert!((f64::from(got) - sum).abs() <= bound, "{got} {sum} {bound}");
            };
            let (x, g) = (values(3, n * inputs), values(5, n * outputs));
            for (at, got) in matrix.multiply_in(&x, Precision::Bf16Exact).into_iter().enumerate() {
                let (x, w) = (&x[at / outputs * inputs..], &w[at % outputs * inputs..][..inputs]);
                check(got, &mut x.iter().copied().zip(w.iter().copied()));
            }
            let gradient = matrix.multiply_transposed_in(&g, Precision::Bf16Exact);
            for (at, got) in gradient.into_iter().enumerate() {
                let g = g[at / inputs * outputs..][..outputs].iter().copied();
                check(got, &mut g.zip(w[at % inputs..].iter().step_by(inputs).copied()));
            }
        }
    }

    /// An infinity less itself would be no number.
    #[test]
    fn what_is_not_finite_comes_out_of_bf16_as_it_does_of_f32() {
        let mut matrix = Matrix::zeros(WeightType::Bf16, 1, 1);
        matrix.set_rows(0, &[0.5]);
        for x in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX] {
            let (got, want) = (matrix.multiply_in(&[x], Precision::Bf16Exact)[0], 0.5 * x);
            if want.is_nan() {
                assert!(got.is_nan(), "{x}: {got}");
            } else {
                // The largest float may be rounded up to infinity in bf16.
                let infinity = f32::INFINITY.copysign(want);
                assert!([want, infinity].contains(&got), "{x}: {got}");
            }
        }
    }

    #[test]
    fn exact_products_of_weights_that_bf16_does_not_hold_are_in_f32() {
        for weight_type in [WeightType::F32, WeightType::F16] {
            let (matrix, _) = matrix(weight_type, 40, 70);
            let (x, g) = (values(3, 5 * 70), values(4, 5 * 40));
            assert_eq!(matrix.multiply_in(&x, Precision::Bf16Exact), matrix.multiply(&x));
            let exact = matrix.multiply_transposed_in(&g, Precision::Bf16Exact);
            assert_eq!(exact, matrix.multiply_transposed(&g));
        }
    }

    #[test]
    fn bf16_products_lie_within_their_bound() {
        for weight_type in TYPES {
            for (n, outputs, inputs) in [(1, 1, 1), (5, 33, 7), (31, 64, 600), (40, 100, 1025)] {
                let (matrix, w) = matrix(weight_type, outputs, inputs);
                let round = |x: f32| f64::from(bf16::from_f32(x));
                let close = |got: f32, terms: &mut dyn Iterator<Item = (f32, f32)>, count| {
                    let (mut sum, mut size) = (0.0, 0.0);
                    for (a, b) in terms {
                        sum += round(a) * round(b);
                        size += (round(a) * round(b)).abs();
                    }
                    let bound = 2.0 * count as f64 * f64::from(f32::EPSILON) * size + 1e-30;
                    assert!((f64::from(got) - sum).abs() <= bound, "{got} {sum}");
                };
                let (x, g) = (values(3, n * inputs), values(5, n * outputs));
                for (at, got) in matrix.multiply_in(&x, Precision::Bf16).into_iter().enumerate() {
                    let (x, w) =
                        (&x[at / outputs * inputs..], &w[at % outputs * inputs..][..inputs]);
                    close(got, &mut x.iter().copied().zip(w.iter().copied()), inputs);
                }
                let gradient = matrix.multiply_transposed_in(&g, Precision::Bf16);
                for (at, got) in gradient.into_iter().enumerate() {
                    let g = g[at / inputs * outputs..][..outputs].iter().copied();
                    let w = w[at % inputs..].iter().step_by(inputs).copied();
                    close(got, &mut g.zip(w), outputs);
                }
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
