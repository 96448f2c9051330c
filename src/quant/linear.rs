//! A linear layer with an int8 weight: forward as bitsandbytes computes it, and backward.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Activations, Dtype, Int8Weight, OUTLIER_THRESHOLD, QuantError, RECIPROCAL_127,
    activation::whole_rows,
};
use crate::kernels::{
    dense,
    int8::{Kernels, Precision},
};

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

impl Arithmetic {
    /// Returns its name in run records: `cpu-eval`, `cpu-train` or `cuda`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuEval => "cpu-eval",
            Self::CpuTrain => "cpu-train",
            Self::Cuda => "cuda",
        }
    }

    /// Returns whether a token's result depends on the other tokens of its call.
    pub fn depends_on_call(self) -> bool {
        self != Self::CpuTrain
    }
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
    /// Whether gradients, and activations that meet dequantised weights, are rounded to bf16 for
    /// the product alone.
    pub rounds_gradients: bool,
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
        let threshold = OUTLIER_THRESHOLD;
        Ok(Self { weight, bias, threshold, arithmetic, dtype, rounds_gradients: false })
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
    /// As [`Self::forward_calls`] with all rows in one call.
    ///
    /// # Errors
    ///
    /// [`QuantError::Rows`] if `x` is not whole rows.
    pub fn forward(&self, x: &[f32]) -> Result<Vec<f32>, QuantError> {
        let tokens = whole_rows(x, self.weight.inputs())?;
        self.forward_calls(x, std::slice::from_ref(&(0..tokens)))
    }

    /// Applies the layer to the tokens of several calls, packed one behind the other.
    ///
    /// `x: [t, inputs]`, result `[t, outputs]`, both values of [`Self::dtype`]; `calls` are the rows
    /// of each call, consecutive. Outlier columns are those of all tokens of a call, so a token's
    /// result depends on the tokens of its call, as in bitsandbytes, and on nothing else: neither
    /// the calls beside it, nor threads; kernel sets change no bit but with [`Arithmetic::CpuTrain`].
    /// A token that holds NaN gives NaN.
    ///
    /// # Errors
    ///
    /// [`QuantError::Rows`] if `x` is not whole rows, [`QuantError::Calls`] if the calls do not
    /// cover them.
    pub fn forward_calls(&self, x: &[f32], calls: &[Range<usize>]) -> Result<Vec<f32>, QuantError> {
        let inputs = self.weight.inputs();
        let tokens = whole_rows(x, inputs)?;
        if self.arithmetic == Arithmetic::CpuTrain {
            return Ok(self.forward_dequantized(x));
        }
        let next =
            |at, call: &Range<usize>| (call.start == at && call.end >= at).then_some(call.end);
        if calls.iter().try_fold(0, next) != Some(tokens) {
            return Err(QuantError::Calls { tokens });
        }
        let (activations, outliers) = Activations::of_calls(x, inputs, self.threshold, calls);
        let mut y = self.multiply(&activations);
        self.add_outliers(x, calls, &outliers, &mut y);
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
        whole_rows(g, self.weight.outputs())?;
        let (packed, steps) = (self.weight.packed(), self.weight.steps());
        let mut grad = Kernels::get().transposed_product(g, packed, steps, self.precision());
        self.dtype.round_all(&mut grad);
        Ok(grad)
    }

    /// How the dequantised weight is rounded.
    fn precision(&self) -> Precision {
        match self.dtype {
            Dtype::F32 if self.rounds_gradients => Precision::Bf16,
            Dtype::F32 => Precision::Bf16Exact,
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
        let (rows, scales) = (&activations.scales, self.weight.scales());
        let (codes, packed) = (&activations.codes, self.weight.packed());
        if self.arithmetic != Arithmetic::Cuda {
            let mut y = kernels.scaled_product(codes, packed, rows, scales, DEQUANT_CPU);
            self.add_bias(&mut y);
            self.dtype.round_all(&mut y);
            return y;
        }
        let sums = kernels.int8_product(codes, packed);
        let mut y = vec![0.0; rows.len() * scales.len()];
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
        y
    }

    fn add_bias(&self, y: &mut [f32]) {
        if let Some(bias) = &self.bias {
            for y in y.chunks_mut(bias.len().max(1)) {
                y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
            }
        }
    }

    /// Adds the outlier columns' product of each call: a fused sum over the columns in order, then
    /// added, in the order of torch's `addmm`; one column is fused into `y` itself.
    fn add_outliers(
        &self,
        x: &[f32],
        calls: &[Range<usize>],
        outliers: &[Vec<usize>],
        y: &mut [f32],
    ) {
        let (inputs, outputs) = (self.weight.inputs(), self.weight.outputs());
        let mut weights = BTreeMap::new();
        for (call, columns) in calls.iter().zip(outliers) {
            if columns.is_empty() || outputs == 0 {
                continue;
            }
            for &column in columns {
                weights.entry(column).or_insert_with(|| self.column(column));
            }
            let x = &x[call.start * inputs..call.end * inputs];
            let y = &mut y[call.start * outputs..call.end * outputs];
            if let [column] = **columns {
                let weights = &*weights[&column];
                for (x, y) in x.chunks(inputs).zip(y.chunks_mut(outputs)) {
                    y.iter_mut().zip(weights).for_each(|(y, w)| *y = x[column].mul_add(*w, *y));
                }
            } else {
                // One fused sum over the columns in their order, as `dense` states.
                let rows: Vec<f32> =
                    columns.iter().flat_map(|column| &weights[column]).copied().collect();
                let x: Vec<f32> = x
                    .chunks(inputs)
                    .flat_map(|x| columns.iter().map(|column| x[*column]))
                    .collect();
                let sums = dense::input_gradient(&x, &rows, outputs);
                y.iter_mut().zip(sums).for_each(|(y, sum)| *y += sum);
            }
            self.dtype.round_all(y);
        }
    }

    /// One column of the dequantised weight, `[outputs]`, in the layer's format.
    fn column(&self, column: usize) -> Vec<f32> {
        let codes = self.weight.packed().column(column);
        let weights = codes.into_iter().zip(self.weight.scales());
        weights
            .map(|(code, scale)| self.dtype.round(f32::from(code) * scale * RECIPROCAL_127))
            .collect()
    }
}
