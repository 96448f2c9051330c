//! Number format of a layer's input and output; values are carried in f32.

use half::{bf16, f16};

use crate::kernels::int8::Kernels;

/// Number format of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dtype {
    /// IEEE single precision.
    #[default]
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl Dtype {
    /// Returns `x` rounded to this format, ties to even.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 => x,
            Self::F16 => f16::from_f32(x).to_f32(),
            Self::Bf16 => bf16::from_f32(x).to_f32(),
        }
    }

    /// Rounds every element.
    pub fn round_all(self, x: &mut [f32]) {
        if self != Self::F32 {
            x.iter_mut().for_each(|x| *x = self.round(*x));
        }
    }

    /// Returns the largest relative error of [`Self::round`] for normal numbers.
    pub fn unit_roundoff(self) -> f64 {
        match self {
            Self::F32 => 2_f64.powi(-24),
            Self::F16 => 2_f64.powi(-11),
            Self::Bf16 => 2_f64.powi(-8),
        }
    }

    /// Returns the largest absolute error of [`Self::round`] for subnormal numbers.
    pub fn smallest_half(self) -> f64 {
        match self {
            Self::F32 => 2_f64.powi(-150),
            Self::F16 => 2_f64.powi(-25),
            Self::Bf16 => 2_f64.powi(-134),
        }
    }
}

/// Rounds to half precision and returns it in f32, the 11 bits that int8 codes are made of.
pub(super) fn to_half(x: &[f32]) -> Vec<f32> {
    let mut half = vec![0.0; x.len()];
    Kernels::get().round_to_half(x, &mut half);
    half
}
