//! How far an int8 layer's output can lie from the product in floats, element by element.

use super::{Activations, Arithmetic, Dtype, Int8Linear, QuantError, dtype::to_half};

/// Relative error of half precision, and its absolute error below the normal numbers.
const HALF: (f64, f64) = (1.0 / 2048.0, 1.0 / 33_554_432.0);

/// A code's distance from its value is at most 1/2 and what two roundings in f32 add.
const STEP: f64 = 0.5 + 127.0 * 3.0 / 16_777_216.0;

/// f32's relative error.
const SINGLE: f64 = 1.0 / 16_777_216.0;

/// Bounds `[t, outputs]` on `|y - x · Wᵀ - b|`, where `W` is the weight before it was quantised.
///
/// With `S` the token's scale, `s` the row's, `C` the outlier columns and everything in f64:
///
/// ```text
/// sum over j not in C:  |x_j| s/254 + |w_j| S/254 + S s / (4 · 127²)      the codes
///                     + what rounding x_j and w_j to half adds
/// sum over j in C:      |w_j - W8_j| |x_j|, at most |x_j| s/254           the codes of W
/// sum over all j:       |x_j w_j| (k · 127² - 1) + f32 roundings          the constant k
/// and the rounding of y to the layer's format.
/// ```
///
/// `s/254` stands for half a step and the two f32 roundings on the way to a code.
///
/// Source: the triangle inequality on Dettmers et al. 2022, equations 5 and 8.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorBound {
    /// Row-major `[t, outputs]`.
    pub bounds: Vec<f64>,
    /// The product in f64, `[t, outputs]`: what the bounds are around.
    pub exact: Vec<f64>,
}

impl ErrorBound {
    /// Returns the bounds for `layer`, whose weight is `weight: [outputs, inputs]` quantised, on
    /// `x: [t, inputs]`.
    ///
    /// # Errors
    ///
    /// As [`Int8Linear::forward`].
    pub fn new(layer: &Int8Linear, x: &[f32], weight: &[f32]) -> Result<Self, QuantError> {
        let (outputs, inputs) = (layer.weight().outputs(), layer.weight().inputs());
        if weight.len() != outputs * inputs {
            let (expected, got) = (outputs * inputs, weight.len());
            return Err(QuantError::Length { what: "the weight", expected, got });
        }
        let activations = Activations::quantize(x, inputs, layer.threshold)?;
        let train = layer.arithmetic == Arithmetic::CpuTrain;
        let mut is_float = vec![train; inputs];
        activations.outliers.iter().for_each(|&column| is_float[column] = true);
        let half = to_half(x);
        let (mut bounds, mut exact) = (Vec::new(), Vec::new());
        for (row, x) in x.chunks(inputs.max(1)).enumerate() {
            let scale = f64::from(activations.scales[row]);
            for (output, weight) in weight.chunks(inputs.max(1)).enumerate() {
                let terms = Terms {
                    layer,
                    is_float: &is_float,
                    x,
                    half: &half[row * inputs..][..inputs],
                    weight,
                    row_scale: scale,
                    scale: f64::from(layer.weight().scales()[output]),
                };
                let bias = f64::from(layer.bias().map_or(0.0, |bias| bias[output]));
                let (bound, product) = terms.sum(bias);
                bounds.push(bound);
                exact.push(product);
            }
        }
        Ok(Self { bounds, exact })
    }
}

/// One output of one token.
struct Terms<'a> {
    layer: &'a Int8Linear,
    is_float: &'a [bool],
    x: &'a [f32],
    half: &'a [f32],
    weight: &'a [f32],
    row_scale: f64,
    scale: f64,
}

impl Terms<'_> {
    fn sum(&self, bias: f64) -> (f64, f64) {
        let dtype = self.layer.dtype;
        let (weight_step, input_step) = (self.scale / 127.0 * STEP, self.row_scale / 127.0 * STEP);
        let (mut error, mut size, mut product) = (0.0, 0.0, bias);
        for (j, (&x, &w)) in self.x.iter().zip(self.weight).enumerate() {
            let (x, w, half) = (f64::from(x), f64::from(w), f64::from(self.half[j]));
            product += x * w;
            let weight_error = weight_step + w.abs() * HALF.0 + HALF.1;
            let weight_size = w.abs() + weight_error;
            if self.is_float[j] {
                // W is rounded to the layer's format once more.
                let rounding = weight_size * (dtype.unit_roundoff() + 3.0 * SINGLE);
                error += x.abs() * (weight_error + rounding + dtype.smallest_half());
                size += x.abs() * weight_size;
            } else {
                let input_error = input_step + (x - half).abs();
                error +=
                    x.abs() * weight_error + w.abs() * input_error + weight_error * input_error;
                size += (x.abs() + input_error) * weight_size;
            }
        }
        let constant = match self.layer.arithmetic {
            Arithmetic::CpuEval | Arithmetic::Cuda => 2e-5,
            Arithmetic::CpuTrain => 0.0,
        };
        // Each of at most `inputs` fused additions, and a handful of products.
        error += size * (constant + (self.x.len() as f64 + 8.0) * 2.0 * SINGLE);
        let largest = product.abs() + bias.abs() + size + error;
        // Rounded after the product, after the bias, after the outliers.
        let format = match self.layer.arithmetic {
            Arithmetic::Cuda => Dtype::F16.unit_roundoff() + 2.0 * dtype.unit_roundoff(),
            _ => 3.0 * dtype.unit_roundoff(),
        };
        let least = dtype.smallest_half() + Dtype::F16.smallest_half();
        (error + largest * format + 3.0 * least, product)
    }
}
