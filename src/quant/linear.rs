//! A linear layer with an int8 weight: forward as bitsandbytes computes it, and backward.

use std::sync::Arc;

use super::{Activations, Dtype, Int8Weight, OUTLIER_THRESHOLD, QuantError, RECIPROCAL_127};
use crate::kernels::int8::{Kernels, Precision};

/// What 1/127² is on the CPU; the true value is 6.2000124e-5.
///
/// Source: bitsandbytes 0.50.2, `int8_mm_dequant` of the default backend.
const DEQUANT_CPU: f32 = 6.200_124e-5;

/// What 1/127² is on CUDA devices.
///
/// Source: bitsandbytes 0.50.2, `kdequant_mm_int32_fp16`.
const DEQUANT_CUDA: f32 = 6.200_012e-5;

/// Whose arithmetic the forward pass follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Arithmetic {
    /// bitsandbytes on the CPU in evaluation: int8 product, outlier columns in the input's format.
    #[default]
    CpuEval,
    /// bitsandbytes on the CPU in training, since 0.47: the weight dequantised, activations as they
    /// are. Not LLM.int8().
    CpuTrain,
    /// bitsandbytes on CUDA: as in evaluation on the CPU, with its constant and half-precision
    /// results.
    Cuda,
}

/// A linear layer `y = x · Wᵀ + b` with a frozen int8 weight.
#[derive(Debug, Clone)]
pub struct Int8Linear {
    weight: Arc<Int8Weight>,
    bias: Option<Vec<f32>>,
    /// Magnitude from which an activation is an outlier; 0 for none.
    pub threshold: f32,
    /// Whose arithmetic to follow.
    pub arithmetic: Arithmetic,
    /// Number format of input and output; the caller passes values of this format.
    pub dtype: Dtype,
}

impl Int8Linear {
    /// Returns a layer with threshold 6.0 that computes as [`Arithmetic::CpuEval`] in f32.
    ///
    /// `bias: [outputs]`.
    ///
    /// # Errors
    ///
    /// [`QuantError::Length`] if the bias has another length.
    pub fn new(weight: Arc<Int8Weight>, bias: Option<Vec<f32>>) -> Result<Self, QuantError> {
        let (expected, got) = (weight.outputs(), bias.as_ref().map_or(weight.outputs(), Vec::len));
        if expected != got {
            return Err(QuantError::Length { what: "the bias", expected, got });
        }
        let (arithmetic, dtype) = (Arithmetic::default(), Dtype::default());
        Ok(Self { weight, bias, threshold: OUTLIER_THRESHOLD, arithmetic, dtype })
    }

    /// Returns the weight.
    pub fn weight(&self) -> &Arc<Int8Weight> {
        &self.weight
    }

    /// Returns the bias, `[outputs]`.
    pub fn bias(&self) -> Option<&[f32]> {
        self.bias.as_deref()
    }

    /// Applies the layer to the tokens of one call.
    ///
    /// `x: [t, inputs]`, result `[t, outputs]`, both values of [`Self::dtype`]. Outlier columns are
    /// those of all `t` tokens together, so a token's result depends on the tokens beside it, as in
    /// bitsandbytes; threads and kernel sets make no difference.
    ///
    /// # Errors
    ///
    /// As [`Activations::quantize`].
    pub fn forward(&self, x: &[f32]) -> Result<Vec<f32>, QuantError> {
        if self.arithmetic == Arithmetic::CpuTrain {
            self.check_rows(x, self.weight.inputs())?;
            return Ok(self.forward_dequantized(x));
        }
        let activations = Activations::quantize(x, self.weight.inputs(), self.threshold)?;
        let mut y = self.multiply(&activations);
        self.add_outliers(x, &activations.outliers, &mut y);
        Ok(y)
    }

    /// Returns the gradient of the input, `g · W`, with the weight dequantised block by block.
    ///
    /// `g: [t, outputs]`, result `[t, inputs]`, in [`Self::dtype`]. Rounding of activations and
    /// outliers have no part in it (straight through), as in bitsandbytes.
    ///
    /// # Errors
    ///
    /// [`QuantError::Rows`] if `g` is not whole rows.
    pub fn backward(&self, g: &[f32]) -> Result<Vec<f32>, QuantError> {
        self.check_rows(g, self.weight.outputs())?;
        let (packed, steps) = (self.weight.packed(), self.weight.steps());
        let mut grad = Kernels::get().transposed_product(g, packed, steps, self.precision());
        self.dtype.round_all(&mut grad);
        Ok(grad)
    }

    fn check_rows(&self, x: &[f32], width: usize) -> Result<(), QuantError> {
        match x.len().checked_rem(width) {
            Some(0) => Ok(()),
            None if x.is_empty() => Ok(()),
            _ => Err(QuantError::Rows { inputs: width, got: x.len() }),
        }
    }

    /// How the dequantised weight is rounded.
    fn precision(&self) -> Precision {
        match self.dtype {
            Dtype::F32 => Precision::F32,
            Dtype::F16 => Precision::F16,
            Dtype::Bf16 => Precision::Bf16,
        }
    }

    fn forward_dequantized(&self, x: &[f32]) -> Vec<f32> {
        let (packed, steps) = (self.weight.packed(), self.weight.steps());
        let mut y = Kernels::get().dequantized_product(x, packed, steps, self.precision());
        self.add_bias(&mut y);
        self.dtype.round_all(&mut y);
        y
    }

    /// The int8 product, dequantised, with the bias, in the output's format.
    fn multiply(&self, activations: &Activations) -> Vec<f32> {
        let kernels = Kernels::get();
        let sums = kernels.int8_product(&activations.codes, self.weight.packed());
        let (rows, scales) = (&activations.scales, self.weight.scales());
        let mut y = vec![0.0; rows.len() * scales.len()];
        if self.arithmetic == Arithmetic::Cuda {
            let half_bias = self.bias.as_ref().filter(|_| self.dtype == Dtype::F16);
            for (row, (y, row_scale)) in y.chunks_mut(scales.len().max(1)).zip(rows).enumerate() {
                for (output, (y, scale)) in y.iter_mut().zip(scales).enumerate() {
                    let sum = sums.get(row, output) as f32 * row_scale * scale;
                    let bias = half_bias.map_or(0.0, |bias| bias[output]);
                    *y = Dtype::F16.round(sum.mul_add(DEQUANT_CUDA, bias));
                }
            }
            self.dtype.round_all(&mut y);
            if half_bias.is_none() {
                self.add_bias(&mut y);
                self.dtype.round_all(&mut y);
            }
        } else {
            kernels.dequantize(&sums, rows, scales, DEQUANT_CPU, &mut y);
            self.add_bias(&mut y);
            self.dtype.round_all(&mut y);
        }
        y
    }

    fn add_bias(&self, y: &mut [f32]) {
        if let Some(bias) = &self.bias {
            for y in y.chunks_mut(bias.len().max(1)) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }

    /// Adds the outlier columns' product: a fused sum over the columns in order, then added, in the
    /// order of torch's `addmm`; one column is fused into `y` itself.
    fn add_outliers(&self, x: &[f32], columns: &[usize], y: &mut [f32]) {
        if columns.is_empty() {
            return;
        }
        let (inputs, outputs) = (self.weight.inputs(), self.weight.outputs());
        let scales = self.weight.scales();
        let weight = |column: usize, output: usize| {
            let code = f32::from(self.weight.packed().code(output, column));
            self.dtype.round(code * scales[output] * RECIPROCAL_127)
        };
        let weights: Vec<Vec<f32>> = columns
            .iter()
            .map(|&column| (0..outputs).map(|output| weight(column, output)).collect())
            .collect();
        for (x, y) in x.chunks(inputs).zip(y.chunks_mut(outputs)) {
            if let ([column], [weights]) = (columns, &*weights) {
                y.iter_mut().zip(weights).for_each(|(y, w)| *y = x[*column].mul_add(*w, *y));
            } else {
                let mut sums = vec![0.0; outputs];
                for (&column, weights) in columns.iter().zip(&weights) {
                    for (sum, w) in sums.iter_mut().zip(weights) {
                        *sum = x[column].mul_add(*w, *sum);
                    }
                }
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
            }
        }
        self.dtype.round_all(y);
    }
}
