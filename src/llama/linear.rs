//! The seam for linear layers: frozen weights, dense or int8, or trainable ones behind one forward.

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Error, Tensor, Var};

use super::{
    NetworkError, ops,
    tape::{self, Receiver, Sum},
};
use crate::{
    kernels::{dense, matrix::Matrix},
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

    /// Returns `x · Wᵀ`, with the bias of an int8 layer, as [`BaseLayer::product`] does for tensors.
    fn multiply(&self, x: &[f32], rows: &Rows<'_>) -> candle_core::Result<Vec<f32>> {
        match self {
            Self::Frozen(matrix) => Ok(matrix.multiply_in(x, matrix.weight_type().precision())),
            Self::Int8(layer) => {
                let all = 0..x.len() / layer.weight().inputs().max(1);
                let calls = rows.spans.map_or(std::slice::from_ref(&all), |spans| spans);
                layer.forward_calls(x, calls).map_err(Error::wrap)
            }
            Self::Trainable(weight) => Ok(dense::forward(x, &ops::read(weight)?, weight.dim(1)?)),
        }
    }

    /// Adds the gradient of `x` to `of_x`, if it is wanted, and gives away that of the weights.
    fn pull_back(
        &self,
        x: &[f32],
        g: &[f32],
        of_x: &mut Sum,
        receiver: &mut dyn Receiver,
    ) -> candle_core::Result<()> {
        if of_x.is_wanted {
            of_x.add(match self {
                Self::Frozen(matrix) => {
                    matrix.multiply_transposed_in(g, matrix.weight_type().precision())
                }
                Self::Int8(layer) => layer.backward(g).map_err(Error::wrap)?,
                Self::Trainable(weight) => {
                    dense::input_gradient(g, &ops::read(weight)?, weight.dim(1)?)
                }
            });
        }
        if let Self::Trainable(weight) = self {
            receiver.whole(weight.id(), dense::weight_gradient(g, x, weight.dim(1)?));
        }
        Ok(())
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

    /// Returns whether anything of the layer takes a gradient.
    pub(super) fn is_trained(&self) -> bool {
        matches!(self.base, Base::Trainable(_))
            || self.bias.as_ref().is_some_and(Tensor::track_op)
            || self.branch.as_ref().is_some_and(Branch::is_trained)
    }

    /// Applies the layer as [`Self::forward`], to values.
    pub(super) fn apply(&self, x: &[f32], rows: &Rows<'_>) -> Result<Vec<f32>, NetworkError> {
        let added = match &self.branch {
            None => None,
            Some(branch) => match branch.added(rows.draw)? {
                None => {
                    let input = Tensor::from_slice(x, self.rows_of(x), &Device::Cpu)?;
                    return Ok(self.forward(&input, rows)?.flatten_all()?.to_vec1()?);
                }
                added => added,
            },
        };
        let mut y = self.base.multiply(x, rows)?;
        if let Some(bias) = &self.bias {
            let bias = ops::read(bias)?;
            for row in y.chunks_mut(bias.len().max(1)) {
                row.iter_mut().zip(&*bias).for_each(|(y, bias)| *y += bias);
            }
        }
        if let Some(added) = added {
            ops::add(&mut y, &added.forward(x)?);
        }
        Ok(y)
    }

    /// Adds the gradient of `x` to `of_x`, if it is wanted, and gives away those of what is
    /// trained, for the gradient `g: [t, outputs]` of what [`Self::apply`] makes of `x` and `rows`.
    pub(super) fn pull_back(
        &self,
        x: &[f32],
        g: &[f32],
        rows: &Rows<'_>,
        of_x: &mut Sum,
        receiver: &mut dyn Receiver,
    ) -> Result<(), NetworkError> {
        if let Some(branch) = &self.branch {
            let Some(added) = branch.added(rows.draw)? else {
                return self.pull_back_by_graph(x, g, rows, of_x, receiver);
            };
            let grads = added.gradients(x, g, of_x.is_wanted);
            if let Some(grad) = grads.x {
                of_x.add(grad);
            }
            for (variable, grad) in grads.matrices.into_iter().flatten() {
                receiver.whole(variable, grad);
            }
        }
        if let Some(bias) = self.bias.as_ref().filter(|bias| bias.track_op()) {
            let mut of_bias = vec![0.0; bias.elem_count()];
            for row in g.chunks(of_bias.len().max(1)) {
                of_bias.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            }
            receiver.whole(bias.id(), of_bias);
        }
        Ok(self.base.pull_back(x, g, of_x, receiver)?)
    }

    /// Where a branch rescales the base layer, candle finds the gradients, in a graph of this layer.
    fn pull_back_by_graph(
        &self,
        x: &[f32],
        g: &[f32],
        rows: &Rows<'_>,
        of_x: &mut Sum,
        receiver: &mut dyn Receiver,
    ) -> Result<(), NetworkError> {
        let input = Tensor::from_slice(x, self.rows_of(x), &Device::Cpu)?;
        let input = if of_x.is_wanted { Var::from_tensor(&input)?.into_inner() } else { input };
        let output = self.forward(&input, rows)?;
        let grad = Tensor::from_slice(g, output.shape(), &Device::Cpu)?;
        let mut store = tape::pull_back(&output, grad)?;
        if of_x.is_wanted {
            of_x.add(tape::take(&mut store, &input)?);
        }
        let base = match &self.base {
            Base::Trainable(weight) => Some(weight.as_tensor().clone()),
            Base::Frozen(_) | Base::Int8(_) => None,
        };
        let bias = self.bias.clone().filter(Tensor::track_op);
        let branch = self.branch.iter().flat_map(Branch::variables);
        let branch = branch.map(|(_, variable)| variable.into_inner());
        for weight in base.into_iter().chain(bias).chain(branch) {
            receiver.whole(weight.id(), tape::take(&mut store, &weight)?);
        }
        Ok(())
    }

    fn rows_of(&self, x: &[f32]) -> (usize, usize) {
        let [_, inputs] = self.shape();
        (x.len() / inputs.max(1), inputs)
    }
}
