//! Activations in int8: one scale a token, outlier columns left out.

use std::ops::Range;

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
        let tokens = whole_rows(x, inputs)?;
        let limit = limit(threshold);
        for (row, x) in x.chunks(inputs.max(1)).enumerate() {
            // Beyond the largest half is an outlier like any other, but NaN and infinity are not.
            let wrong = |(&x, &half): (&f32, &f32)| {
                !x.is_finite() || half.abs() >= limit && threshold <= 0.0
            };
            if let Some(column) = x.iter().zip(&to_half(x)).position(wrong) {
                return Err(QuantError::NotFinite { row, column });
            }
        }
        let (quantized, mut outliers) =
            Self::of_calls(x, inputs, threshold, std::slice::from_ref(&(0..tokens)));
        Ok(Self { outliers: outliers.pop().unwrap_or_default(), ..quantized })
    }

    /// Quantises the rows of several calls, each as [`Self::quantize`] does them alone; returns the
    /// outlier columns of each call.
    ///
    /// A row that holds NaN, or without a threshold infinity, gets the scale NaN: all that is
    /// computed from it is NaN, as in bitsandbytes. Otherwise infinity is an outlier.
    ///
    /// `calls` are consecutive and cover the whole rows `x`.
    pub(super) fn of_calls(
        x: &[f32],
        inputs: usize,
        threshold: f32,
        calls: &[Range<usize>],
    ) -> (Self, Vec<Vec<usize>>) {
        let limit = limit(threshold);
        let mut codes = vec![0; x.len()];
        let mut scales = vec![0.0; x.len().checked_div(inputs).unwrap_or(0)];
        if scales.is_empty() {
            let outliers = vec![Vec::new(); calls.len()];
            return (Self { codes, scales, outliers: Vec::new() }, outliers);
        }
        let kernels = Kernels::get();
        let quantize_row = |half: &mut Vec<f32>, ((codes, scale), x): RowOf<'_>| {
            kernels.round_to_half(x, half);
            let has_far = !kernels.all_below(half, limit);
            if has_far && half.iter().any(|x| x.is_nan() || x.is_infinite() && threshold <= 0.0) {
                *scale = f32::NAN;
                return Vec::new();
            }
            *scale = kernels.absmax_below(half, limit);
            kernels.quantize_row(half, multiplier(*scale), limit, codes);
            if !has_far {
                return Vec::new();
            }
            let far = half.iter().enumerate().filter(|(_, x)| x.abs() >= limit);
            far.map(|(column, _)| column).collect()
        };
        let scratch = || vec![0.0; inputs];
        let far: Vec<Vec<usize>> = if x.len() < PARALLEL_FROM {
            let rows = codes.chunks_mut(inputs).zip(&mut scales).zip(x.chunks(inputs));
            let mut half = scratch();
            rows.map(|row| quantize_row(&mut half, row)).collect()
        } else {
            let rows = codes.par_chunks_mut(inputs).zip(&mut scales).zip(x.par_chunks(inputs));
            rows.map_init(scratch, quantize_row).collect()
        };
        let outliers = calls
            .iter()
            .map(|call| {
                let mut outliers = far[call.clone()].concat();
                outliers.sort_unstable();
                outliers.dedup();
                for codes in codes[call.start * inputs..call.end * inputs].chunks_mut(inputs) {
                    outliers.iter().for_each(|&column| codes[column] = 0);
                }
                outliers
            })
            .collect();
        (Self { codes, scales, outliers: Vec::new() }, outliers)
    }
}

/// Codes and scale of a row, and what they are made of.
type RowOf<'a> = ((&'a mut [i8], &'a mut f32), &'a [f32]);

/// Elements below which one thread quantises them.
const PARALLEL_FROM: usize = 1 << 14;

/// Magnitude from which an element is an outlier; infinity for a threshold of 0.
fn limit(threshold: f32) -> f32 {
    if threshold > 0.0 { threshold } else { f32::INFINITY }
}

/// Returns the number of rows of `width` in `x`.
pub(super) fn whole_rows(x: &[f32], width: usize) -> Result<usize, QuantError> {
    let rows = x.len().checked_div(width).unwrap_or(0);
    if rows * width == x.len() {
        Ok(rows)
    } else {
        Err(QuantError::Rows { inputs: width, got: x.len() })
    }
}
