//! The seam for linear layers: dense frozen weights or trainable ones behind one forward.

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::{NetworkError, ops};
use crate::kernels::matrix::Matrix;

/// The weights of a linear layer.
#[derive(Debug, Clone)]
pub enum Base {
    /// Packed, without gradient.
    Frozen(Arc<Matrix>),
    /// A variable, `[outputs, inputs]` f32.
    Trainable(Var),
}

/// A linear layer: `x · Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    base: Base,
    bias: Option<Tensor>,
}

impl Linear {
    /// Returns a layer of these weights.
    pub fn new(base: Base, bias: Option<Tensor>) -> Self {
        Self { base, bias }
    }

    /// Returns the weights.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Returns the bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Applies the layer.
    ///
    /// `x: [t, inputs]` f32, result `[t, outputs]` f32. Gradients reach `x`, and the weights where
    /// they are trainable.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        let y = match &self.base {
            Base::Frozen(matrix) => ops::frozen_linear(x, matrix)?,
            Base::Trainable(weight) => x.matmul(&weight.t()?)?,
        };
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }
}
