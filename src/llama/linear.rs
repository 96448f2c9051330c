//! The seam for linear layers: frozen weights, dense or int8, or trainable ones behind one forward.

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Tensor, Var};

use super::{NetworkError, ops};
use crate::{
    kernels::matrix::Matrix,
    lora::{BaseLayer, BaseRows, Branch, Draw},
    quant::{Int8Linear, int8_linear},
};

/// The rows of each sequence in a packed matrix of tokens, consecutive.
pub type Spans = Arc<[Range<usize>]>;

/// What a layer must know of the rows it is applied to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rows<'a> {
    /// Which belong to one call; `None` is all. Int8 weights look for outlier columns in each call by
    /// itself, as bitsandbytes does; other weights take no notice. A call is a sequence, but in
    /// training with padding, where it is the whole micro-batch ([`super::Batch::in_one_call`]).
    pub spans: Option<&'a Spans>,
    /// What the adapter's dropout drops; `None` is nothing.
    pub draw: Option<&'a Draw>,
}

/// The weights of a linear layer.
#[derive(Debug, Clone)]
pub enum Base {
    /// Packed, without gradient.
    Frozen(Arc<Matrix>),
    /// LLM.int8(), without gradient; the layer's bias is inside.
    Int8(Arc<Int8Linear>),
    /// A variable, `[outputs, inputs]` f32.
    Trainable(Var),
}

impl Base {
    /// Returns the number of outputs and of inputs.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Frozen(matrix) => [matrix.outputs(), matrix.inputs()],
            Self::Int8(layer) => [layer.weight().outputs(), layer.weight().inputs()],
            Self::Trainable(weight) => weight.dims2().map_or([0, 0], |(rows, width)| [rows, width]),
        }
    }
}

impl BaseRows for Base {
    fn row(&self, row: usize, out: &mut [f32]) {
        match self {
            Self::Frozen(matrix) => matrix.row(row, out),
            Self::Int8(layer) => layer.weight().dequantize_row(row, out),
            Self::Trainable(weight) => {
                let values = weight.get(row).and_then(|row| row.to_vec1());
                out.copy_from_slice(&values.expect("a row of an f32 matrix on the CPU"));
            }
        }
    }
}

/// Weights and the rows they are applied to.
struct BaseOn<'a>(&'a Base, &'a Rows<'a>);

impl BaseRows for BaseOn<'_> {
    fn row(&self, row: usize, out: &mut [f32]) {
        self.0.row(row, out);
    }
}

impl BaseLayer for BaseOn<'_> {
    fn product(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self.0 {
            Base::Frozen(matrix) => ops::frozen_linear(x, matrix),
            Base::Int8(layer) => match self.1.spans {
                Some(spans) => int8_linear(x, layer, spans),
                None => int8_linear(x, layer, &std::iter::once(0..x.dim(0)?).collect()),
            },
            Base::Trainable(weight) => ops::trainable_linear(x, weight),
        }
    }

    fn inner_bias(&self) -> Option<Tensor> {
        let Base::Int8(layer) = self.0 else { return None };
        let bias = layer.bias()?;
        Some(Tensor::new(bias, &Device::Cpu).expect("a vector on the CPU"))
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
    /// Returns a layer of these weights; `bias` is added to what they give.
    pub fn new(base: Base, bias: Option<Tensor>) -> Self {
        Self { base, bias, branch: None }
    }

    /// Returns the weights.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// Returns the bias added behind the weights, `[outputs]`; that of an int8 layer is inside it.
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

    /// Puts other weights in place of these.
    pub fn set_base(&mut self, base: Base) {
        self.base = base;
    }

    /// Puts another bias in place of this one.
    pub fn set_bias(&mut self, bias: Option<Tensor>) {
        self.bias = bias;
    }

    /// Returns the number of outputs and of inputs.
    pub fn shape(&self) -> [usize; 2] {
        self.base.shape()
    }

    /// Applies the layer.
    ///
    /// `x: [t, inputs]` f32, result `[t, outputs]` f32. Gradients reach `x`, and the weights where
    /// they are trainable.
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or `rows` are not those of `x`.
    pub fn forward(&self, x: &Tensor, rows: &Rows<'_>) -> Result<Tensor, NetworkError> {
        let base = BaseOn(&self.base, rows);
        if let Some(branch) = &self.branch {
            return Ok(branch.forward(&base, self.bias.as_ref(), x, rows.draw)?);
        }
        let y = base.product(x)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }
}
