//! Int8 weights: one scale a row, the row's largest magnitude.

use rayon::prelude::*;

use super::{QuantError, RECIPROCAL_127, dtype::to_half};
use crate::kernels::int8::{Kernels, PackedInt8};

/// An int8 weight `[outputs, inputs]` with one scale a row: `W[o][i] = code * scale[o] / 127`.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Weight {
    packed: PackedInt8,
    scales: Vec<f32>,
    /// `scales / 127`, rounded to f32: what dequantising multiplies by.
    steps: Vec<f32>,
}

impl Int8Weight {
    /// Quantises a row-major weight `[outputs, inputs]`.
    ///
    /// Weights are rounded to half precision first, whatever they were; the scale of a row is its
    /// largest magnitude, and a code is `round_half_even(w * (1 / scale * 127))`, in f32. A row of zeros
    /// has scale 0 and codes 0. The error of a weight is at most `scale / 254`, and that of rounding
    /// to half.
    ///
    /// Source: bitsandbytes 0.50.2, `Int8Params._quantize`, bit for bit.
    ///
    /// # Errors
    ///
    /// [`QuantError::NotFinite`] names the first weight that is not finite in half precision;
    /// [`QuantError::Length`] and [`QuantError::Pack`] a shape that does not fit.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::quant::Int8Weight;
    ///
    /// let weight = Int8Weight::quantize(&[1.0, -0.5, 0.25, 0.0], 2, 2)?;
    /// assert_eq!(weight.codes(), [127, -64, 127, 0]);
    /// assert_eq!(weight.scales(), [1.0, 0.25]);
    /// # Ok::<(), medharness::quant::QuantError>(())
    /// ```
    pub fn quantize(weight: &[f32], outputs: usize, inputs: usize) -> Result<Self, QuantError> {
        let (codes, scales) = quantize_rows(weight, outputs, inputs)?;
        Self::from_codes(&codes, scales, inputs)
    }

    /// Takes the codes and scales of a checkpoint; codes of -128 are kept as they are.
    ///
    /// # Errors
    ///
    /// [`QuantError::Scale`] for a scale that is negative or not finite; [`QuantError::Pack`] if
    /// the codes are not `scales.len() * inputs`.
    pub fn from_codes(codes: &[i8], scales: Vec<f32>, inputs: usize) -> Result<Self, QuantError> {
        let valid = |scale: &f32| scale.is_finite() && *scale >= 0.0;
        if let Some(row) = scales.iter().position(|scale| !valid(scale)) {
            return Err(QuantError::Scale { row });
        }
        let packed = PackedInt8::pack(codes, scales.len(), inputs)?;
        let steps = scales.iter().map(|scale| scale * RECIPROCAL_127).collect();
        Ok(Self { packed, scales, steps })
    }

    /// Returns the number of rows.
    pub fn outputs(&self) -> usize {
        self.packed.outputs()
    }

    /// Returns the number of columns.
    pub fn inputs(&self) -> usize {
        self.packed.inputs()
    }

    /// Returns the codes, row-major `[outputs, inputs]`.
    pub fn codes(&self) -> Vec<i8> {
        self.packed.unpack()
    }

    /// Returns the largest magnitude of each row, `[outputs]`.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Returns the bytes held in memory.
    pub fn mem_bytes(&self) -> usize {
        self.packed.bytes() + 8 * self.scales.len()
    }

    /// Returns the weight in f32, row-major: `code * (scale / 127)`.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut weight = Vec::with_capacity(self.outputs() * self.inputs());
        dequantize_rows(&self.codes(), &self.scales, self.inputs(), &mut weight);
        weight
    }

    /// Writes one row in f32 to `out`, `[inputs]`.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `out` has another length.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.inputs(), "one value an input");
        for (input, value) in out.iter_mut().enumerate() {
            *value = f32::from(self.packed.code(row, input)) * self.steps[row];
        }
    }

    pub(super) fn packed(&self) -> &PackedInt8 {
        &self.packed
    }

    pub(super) fn steps(&self) -> &[f32] {
        &self.steps
    }
}

/// What a row is multiplied by: torch computes `127 / scale` as the reciprocal times 127, which
/// moves values off or onto ties.
pub(super) fn multiplier(scale: f32) -> f32 {
    1.0 / scale * 127.0
}

/// Codes and scales of [`Int8Weight::quantize`], row-major, not packed.
///
/// # Errors
///
/// As [`Int8Weight::quantize`].
pub fn quantize_rows(
    weight: &[f32],
    outputs: usize,
    inputs: usize,
) -> Result<(Vec<i8>, Vec<f32>), QuantError> {
    let expected = outputs.saturating_mul(inputs);
    if weight.len() != expected {
        return Err(QuantError::Length { what: "the weight", expected, got: weight.len() });
    }
    let mut codes = vec![0; expected];
    let mut scales = vec![0.0; outputs];
    if inputs == 0 {
        return Ok((codes, scales));
    }
    let kernels = Kernels::get();
    let rows = codes.par_chunks_mut(inputs).zip(&mut scales).zip(weight.par_chunks(inputs));
    rows.enumerate().try_for_each(|(row, ((codes, scale), weight))| {
        let half = to_half(weight);
        if let Some(column) = half.iter().position(|x| !x.is_finite()) {
            return Err(QuantError::NotFinite { row, column });
        }
        *scale = kernels.absmax_below(&half, f32::INFINITY);
        kernels.quantize_row(&half, multiplier(*scale), f32::INFINITY, codes);
        Ok(())
    })?;
    Ok((codes, scales))
}

/// Appends rows of codes in f32 to `out`: `code * (scale / 127)`, as [`Int8Weight::dequantize`].
///
/// `codes: [scales.len(), inputs]`, row-major.
pub fn dequantize_rows(codes: &[i8], scales: &[f32], inputs: usize, out: &mut Vec<f32>) {
    for (codes, scale) in codes.chunks(inputs.max(1)).zip(scales) {
        let step = scale * RECIPROCAL_127;
        out.extend(codes.iter().map(|&code| f32::from(code) * step));
    }
}
