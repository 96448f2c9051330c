//! The seam for linear layers: dense frozen weights or trainable ones behind one forward.

use std::sync::Arc;

use candle_core::{Tensor, Var};

use super::{NetworkError, ops};
use crate::{
    kernels::matrix::Matrix,
    lora::{BaseLayer, Branch, Draw},
};

/// The weights of a linear layer.
#[derive(Debug, Clone)]
pub enum Base {
    /// Packed, without gradient.
    Frozen(Arc<Matrix>),
    /// A variable, `[outputs, inputs]` f32.
    Trainable(Var),
}

impl Base {
    /// Returns the number of outputs and of inputs.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Frozen(matrix) => [matrix.outputs(), matrix.inputs()],
            Self::Trainable(weight) => weight.dims2().map_or([0, 0], |(rows, width)| [rows, width]),
        }
    }
}

impl BaseLayer for Base {
    fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Frozen(matrix) => ops::frozen_linear(x, matrix),
            Self::Trainable(weight) => x.matmul(&weight.t()?),
        }
    }
}

/// A linear layer: `x · Wᵀ + b`, with an adapter's branch beside it or none.
#[derive(Debug, Clone)]
pub struct Linear {
    base: Base,
    bias: Option<Tensor>,
    branch: Option<Branch>,
}

impl Linear {
    /// Returns a layer of these weights.
    pub fn new(base: Base, bias: Option<Tensor>) -> Self {
        Self { base, bias, branch: None }
    }

    /// Returns the weights.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Returns the bias, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// Returns the adapter's branch.
    pub fn branch(&self) -> Option<&Branch> {
        self.branch.as_ref()
    }

    /// Puts an adapter's branch beside the weights, or takes it away.
    pub fn set_branch(&mut self, branch: Option<Branch>) {
        self.branch = branch;
    }

    /// Returns the number of outputs and of inputs.
    pub fn shape(&self) -> [usize; 2] {
        self.base.shape()
    }

    /// Applies the layer without dropout.
    ///
    /// `x: [t, inputs]` f32, result `[t, outputs]` f32. Gradients reach `x`, and the weights where
    /// they are trainable.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        self.forward_drawn(x, None)
    }

    /// Applies the layer with the adapter's dropout, as [`Linear::forward`].
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn forward_drawn(&self, x: &Tensor, draw: Option<&Draw>) -> Result<Tensor, NetworkError> {
        if let Some(branch) = &self.branch {
            return Ok(branch.forward(&self.base, self.bias.as_ref(), x, draw)?);
        }
        let y = self.base.product(x)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }
}
