//! Matrix products of activations with a packed int8 weight.
//!
//! Integer sums are exact, so neither threads nor tiles nor sets change them; the f32 products have
//! one order.

use super::{
    super::{
        Precision,
        blocked::{Left, multiply},
        product::rows_of,
        words::{LANES, Pair, WORDS},
    },
    Kernels, PackedInt8, packed,
};

/// Codes of one line.
const STEP: usize = 4 * WORDS;

/// Exact sums of int8 products, `[t, outputs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    outputs: usize,
    data: Vec<i32>,
}

impl Sums {
    /// Returns the sum of one token and output.
    ///
    /// # Panics
    ///
    /// If `row` or `output` lies outside.
    pub fn get(&self, row: usize, output: usize) -> i32 {
        assert!(output < self.outputs, "[{row}, {output}] lies outside");
        self.data[row * self.outputs + output]
    }

    /// Returns the sums row-major, `[t, outputs]`.
    pub fn to_vec(&self) -> Vec<i32> {
        self.data.clone()
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
        let outputs = weight.outputs();
        let data = self.product(x, weight, |_, _, sums, out| {
            let words = sums.iter().flat_map(|line| line.0);
            out.iter_mut().zip(words).for_each(|(out, word)| *out = word.cast_signed());
        });
        Sums { outputs, data }
    }

    /// Returns `x · wᵀ` with each sum times `row_scale * scale`, then times `constant`.
    ///
    /// As [`Self::int8_product`] and [`Self::dequantize`], in one pass: `x: [t, inputs]` int8,
    /// `row_scales: [t]`, `scales: [outputs]`, result `[t, outputs]`.
    ///
    /// # Panics
    ///
    /// If a length does not fit the weight.
    pub fn scaled_product(
        &self,
        x: &[i8],
        weight: &PackedInt8,
        row_scales: &[f32],
        scales: &[f32],
        constant: f32,
    ) -> Vec<f32> {
        let rows = rows_of(x.len(), weight.inputs());
        assert_eq!(row_scales.len(), rows, "one scale a row");
        assert_eq!(scales.len(), weight.outputs(), "one scale an output");
        self.product(x, weight, |row, panel, sums, out| {
            let scales = &scales[panel * LANES..][..out.len()];
            if let (Some(scales), Some(out)) = (scales.as_array(), out.as_mut_array()) {
                (self.dequantize_lanes)(sums, row_scales[row], scales, constant, out);
                return;
            }
            let mut signed = [0; LANES];
            let words = sums.iter().flat_map(|line| line.0);
            signed.iter_mut().zip(words).for_each(|(signed, word)| *signed = word.cast_signed());
            (self.dequantize_row)(&signed[..out.len()], row_scales[row], scales, constant, out);
        })
    }

    /// Calls `finish(row, panel, sums, out)` for each 32 sums, i32.
    fn product<T: Copy + Default + Send>(
        &self,
        x: &[i8],
        weight: &PackedInt8,
        finish: impl Fn(usize, usize, &Pair, &mut [T]) + Sync + Send,
    ) -> Vec<T> {
        let (inputs, outputs) = (weight.inputs(), weight.outputs());
        let (rows, steps) = (rows_of(x.len(), inputs), inputs.div_ceil(STEP));
        let left = Left::pack(&self.tile, rows, 1, steps, |row, _, step, line| {
            let codes = &x[row * inputs..][..inputs][step * STEP..];
            *line = packed::line(&codes[..codes.len().min(STEP)]);
            line.0.iter_mut().for_each(|word| *word ^= self.shift);
        });
        let start = |panel| match self.shift {
            0 => Pair::default(),
            _ => weight.corrections(panel),
        };
        multiply(&self.tile, &left, &weight.packed(), outputs, start, |row, panel, sums, out| {
            finish(row, panel, &sums[0], out)
        })
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
        assert_eq!(row_scales.len() * sums.outputs, sums.data.len(), "one scale a row");
        assert_eq!(scales.len(), sums.outputs, "one scale an output");
        assert_eq!(out.len(), sums.data.len(), "[t, outputs]");
        let width = sums.outputs.max(1);
        let rows = out.chunks_mut(width).zip(sums.data.chunks(width));
        for ((out, sums), row_scale) in rows.zip(row_scales) {
            (self.dequantize_row)(sums, *row_scale, scales, constant, out);
        }
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
        weight.scaled(scales).multiply(x, precision)
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
        weight.scaled(scales).multiply_transposed(g, precision)
    }
}
