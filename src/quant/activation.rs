//! Activations in int8: one scale a token, outlier columns left out.

use rayon::prelude::*;

use super::{QuantError, dtype::to_half, weight::multiplier};
use crate::kernels::int8::Kernels;

/// Magnitude from which an activation is an outlier, in half precision.
///
/// Source: Dettmers et al. 2022, section 3.2; the default of transformers.
pub const OUTLIER_THRESHOLD: f32 = 6.0;

/// Quantised activations `[t, inputs]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Row-major `[t, inputs]`; 0 at outliers and, for more than one token, in their columns.
    pub codes: Vec<i8>,
    /// Largest magnitude of each token's elements that are no outliers, `[t]`.
    pub scales: Vec<f32>,
    /// Columns with an outlier in any token, ascending.
    pub outliers: Vec<usize>,
}

impl Activations {
    /// Quantises `x: [t, inputs]`.
    ///
    /// `x` is rounded to half precision. An element of magnitude `threshold` or more is an outlier;
    /// 0 means that there are none. A token's scale is its largest magnitude over the elements that
    /// are no outliers, those in outlier columns included; its codes are
    /// `round_half_even(x * (1 / scale * 127))`. Columns with an outlier then count as 0 for all tokens.
    /// So the result of a token depends on the tokens quantised with it, as in bitsandbytes.
    ///
    /// Source: bitsandbytes 0.50.2, `int8_vectorwise_quant` on the CPU, bit for bit.
    ///
    /// # Errors
    ///
    /// [`QuantError::Rows`] if `x` is not whole rows, [`QuantError::NotFinite`] for NaN, infinity,
    /// and without a threshold for what is infinite in half precision.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::quant::Activations;
    ///
    /// let x = [1.0, -2.5, 0.3, 7.0, 0.1, 0.2, -0.05, 0.0];
    /// let quantized = Activations::quantize(&x, 4, 6.0)?;
    /// assert_eq!(quantized.codes, [51, -127, 15, 0, 64, 127, -32, 0]);
    /// assert_eq!(quantized.outliers, [3]);
    /// # Ok::<(), medharness::quant::QuantError>(())
    /// ```
    pub fn quantize(x: &[f32], inputs: usize, threshold: f32) -> Result<Self, QuantError> {
        let tokens = x.len().checked_div(inputs).unwrap_or(0);
        if tokens * inputs != x.len() {
            return Err(QuantError::Rows { inputs, got: x.len() });
        }
        let limit = if threshold > 0.0 { threshold } else { f32::INFINITY };
        let mut codes = vec![0; x.len()];
        let mut scales = vec![0.0; tokens];
        if tokens == 0 {
            return Ok(Self { codes, scales, outliers: Vec::new() });
        }
        let kernels = Kernels::get();
        let rows = codes.par_chunks_mut(inputs).zip(&mut scales).zip(x.par_chunks(inputs));
        let outliers = rows.enumerate().map(|(row, ((codes, scale), x))| {
            let half = to_half(x);
            // Beyond the largest half is an outlier like any other, but NaN and infinity are not.
            let wrong = |(&x, &half): (&f32, &f32)| {
                !x.is_finite() || half.abs() >= limit && threshold <= 0.0
            };
            if let Some(column) = x.iter().zip(&half).position(wrong) {
                return Err(QuantError::NotFinite { row, column });
            }
            *scale = kernels.absmax_below(&half, limit);
            kernels.quantize_row(&half, multiplier(*scale), limit, codes);
            let far = half.iter().enumerate().filter(|(_, x)| x.abs() >= limit);
            Ok(far.map(|(column, _)| column).collect::<Vec<_>>())
        });
        let mut outliers = outliers.collect::<Result<Vec<_>, _>>()?.concat();
        outliers.sort_unstable();
        outliers.dedup();
        if tokens > 1 {
            for codes in codes.chunks_mut(inputs) {
                outliers.iter().for_each(|&column| codes[column] = 0);
            }
        }
        Ok(Self { codes, scales, outliers })
    }
}
