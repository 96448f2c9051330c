//! Int8 weights in the order the tile kernels read them.
//!
//! Rows of the weight (outputs) are taken 32 at a time, inputs four at a time: see
//! [`words`](super::super::words). Missing rows and inputs are zeros. Packed once at load, unpacked
//! exactly.

use rayon::prelude::*;
use thiserror::Error;

use super::super::{
    blocked::Right,
    product::{Format, Weight},
    words::{LANES, Line, Pair, WORDS},
};

/// Inputs (columns of the weight) in one word.
const GROUP: usize = 4;

/// Most inputs: more products of -128 x -128 could overflow the `i32` sum.
pub const MAX_INPUTS: usize = i32::MAX as usize / (128 * 128);

/// An int8 weight `[out, in]`, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedInt8 {
    outputs: usize,
    inputs: usize,
    /// `[panel][word]`.
    pairs: Vec<Pair>,
    /// -128 times the sum of each row: what shifting the other operand by 128 adds too much.
    corrections: Vec<Pair>,
}

/// Why codes cannot be packed.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackError {
    /// The number of codes is not `outputs * inputs`.
    #[error("{outputs} x {inputs} weights need that many codes, got {got}")]
    Length {
        /// Rows asked for.
        outputs: usize,
        /// Columns asked for.
        inputs: usize,
        /// Codes given.
        got: usize,
    },
    /// An exact sum might not fit 32 bits.
    #[error("{inputs} inputs are more than the {MAX_INPUTS} whose sum is exact in 32 bits")]
    TooManyInputs {
        /// Columns asked for.
        inputs: usize,
    },
}

impl PackedInt8 {
    /// Packs row-major codes `[outputs, inputs]`; any `i8`, -128 too, is kept as it is.
    ///
    /// # Errors
    ///
    /// [`PackError`] if the length does not fit the shape, or `inputs` exceeds [`MAX_INPUTS`].
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::kernels::int8::PackedInt8;
    ///
    /// let weight = PackedInt8::pack(&[1, -2, 3, 4, 5, -128], 2, 3)?;
    /// assert_eq!(weight.unpack(), [1, -2, 3, 4, 5, -128]);
    /// assert_eq!(weight.code(1, 2), -128);
    /// # Ok::<(), medharness::kernels::int8::PackError>(())
    /// ```
    pub fn pack(codes: &[i8], outputs: usize, inputs: usize) -> Result<Self, PackError> {
        if inputs > MAX_INPUTS {
            return Err(PackError::TooManyInputs { inputs });
        }
        if outputs.checked_mul(inputs) != Some(codes.len()) {
            return Err(PackError::Length { outputs, inputs, got: codes.len() });
        }
        let (panels, words) = (outputs.div_ceil(LANES), Format::Int8.words(inputs));
        let mut pairs = vec![Pair::default(); panels * words];
        let mut corrections = vec![Pair::default(); panels];
        let panels = pairs.par_chunks_mut(words.max(1)).zip(&mut corrections);
        let rows = codes.par_chunks((LANES * inputs).max(1));
        panels.zip(rows).for_each(|((pairs, corrections), rows)| {
            for (lane, codes) in rows.chunks(inputs).enumerate() {
                let (half, at) = (lane / WORDS, lane % WORDS);
                for (pair, codes) in pairs.iter_mut().zip(codes.chunks(GROUP)) {
                    pair[half].0[at] = word(codes);
                }
                let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
                corrections[half].0[at] = (sum * -128).cast_unsigned();
            }
        });
        Ok(Self { outputs, inputs, pairs, corrections })
    }

    /// Returns the number of rows (outputs).
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Returns the number of columns (inputs).
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Returns the bytes held, padding and row sums included.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.pairs) + size_of_val(&*self.corrections)
    }

    /// Returns one code.
    ///
    /// # Panics
    ///
    /// If `output` or `input` lies outside the weight.
    pub fn code(&self, output: usize, input: usize) -> i8 {
        assert!(output < self.outputs && input < self.inputs, "[{output}, {input}] lies outside");
        let pair = &self.panel(output / LANES)[input / GROUP];
        let word = pair[output % LANES / WORDS].0[output % WORDS];
        word.to_le_bytes()[input % GROUP].cast_signed()
    }

    /// Returns the codes of one input, `[outputs]`.
    ///
    /// # Panics
    ///
    /// If `input` lies outside the weight.
    pub fn column(&self, input: usize) -> Vec<i8> {
        assert!(input < self.inputs, "column {input} lies outside");
        let panels =
            (0..self.outputs.div_ceil(LANES)).map(|panel| &self.panel(panel)[input / GROUP]);
        let words = panels.flat_map(|pair| pair.iter().flat_map(|line| line.0));
        let codes = words.map(|word| word.to_le_bytes()[input % GROUP].cast_signed());
        codes.take(self.outputs).collect()
    }

    /// Returns the codes row-major, `[outputs, inputs]`, as they were packed.
    pub fn unpack(&self) -> Vec<i8> {
        let mut codes = vec![0; self.outputs * self.inputs];
        for (row, codes) in codes.chunks_mut(self.inputs.max(1)).enumerate() {
            for (codes, pair) in codes.chunks_mut(GROUP).zip(self.panel(row / LANES)) {
                let word = pair[row % LANES / WORDS].0[row % WORDS].to_le_bytes();
                for (code, byte) in codes.iter_mut().zip(word) {
                    *code = byte.cast_signed();
                }
            }
        }
        codes
    }

    /// The words of one panel.
    fn panel(&self, panel: usize) -> &[Pair] {
        let words = Format::Int8.words(self.inputs);
        &self.pairs[panel * words..][..words]
    }

    /// The panels, for the tile kernels.
    pub(super) fn packed(&self) -> Right<'_> {
        Right::packed(&self.pairs, Format::Int8.words(self.inputs))
    }

    /// -128 times the row sums of one panel, i32.
    pub(super) fn corrections(&self, panel: usize) -> Pair {
        self.corrections[panel]
    }

    /// The weight with the scale of each output, for products with floats.
    pub(super) fn scaled<'a>(&'a self, scales: &'a [f32]) -> Weight<'a> {
        let Self { outputs, inputs, ref pairs, .. } = *self;
        Weight { pairs, format: Format::Int8, outputs, inputs, scales }
    }
}

/// A word of up to four codes, zeros behind them.
#[inline(always)]
pub(super) fn word(codes: &[i8]) -> u32 {
    let mut bytes = [0; GROUP];
    for (byte, code) in bytes.iter_mut().zip(codes) {
        *byte = code.cast_unsigned();
    }
    u32::from_le_bytes(bytes)
}

/// A line of up to 64 codes, zeros behind them.
pub(super) fn line(codes: &[i8]) -> Line {
    let mut line = Line::default();
    if let Some(whole) = codes.as_array::<64>() {
        for (slot, codes) in line.0.iter_mut().zip(whole.as_chunks().0) {
            *slot = u32::from_le_bytes(codes.map(i8::cast_unsigned));
        }
        return line;
    }
    for (slot, codes) in line.0.iter_mut().zip(codes.chunks(GROUP)) {
        *slot = word(codes);
    }
    line
}
