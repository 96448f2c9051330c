//! The low-rank branch beside a linear layer of a network, with its gradients.
//!
//! y = base(x) + s · B(A(dropout(x))), in f32. Inner products are those of
//! [`Matrix`]: a row has the same bits in any batch and on any number of threads. The backward
//! computes A · dropout(x) anew instead of keeping it. The base layer and its gradient are left to
//! the network.
//!
//! Source: PEFT 0.21.2, `LoraLayer.forward` (`golden/make/lora.py`).

use std::sync::Arc;

use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, Device, Error, Layout, Result, Shape, Tensor, Var,
};

use super::{Draw, LowRank, dropout::Mask};
use crate::kernels::matrix::{Matrix, WeightType};

/// The layer that a branch stands beside.
pub trait BaseLayer {
    /// Returns `x · Wᵀ`, without a bias; gradients reach `x`.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    fn product(&self, x: &Tensor) -> Result<Tensor>;
}

/// A and B of a module inside a network, s, and the dropout in front of A.
#[derive(Debug, Clone)]
pub struct Branch {
    module: String,
    weights: Weights,
    rank: usize,
    scaling: f64,
    dropout: f64,
}

#[derive(Debug, Clone)]
enum Weights {
    Frozen(Pair),
    Trainable { a: Var, b: Var },
}

/// A and B, packed.
#[derive(Debug, Clone)]
struct Pair {
    a: Arc<Matrix>,
    b: Arc<Matrix>,
}

/// Whether a network's adapter takes gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// Packed once, for evaluation.
    Frozen,
    /// As f32 variables, for training.
    Trainable,
}

impl Branch {
    /// Returns the branch of `module` with these matrices.
    pub fn new(module: &str, low: &LowRank, dropout: f64, attach: Attach) -> Self {
        let (rank, inputs, outputs) = (low.rank, low.inputs(), low.outputs());
        let weights = match attach {
            Attach::Frozen => Weights::Frozen(Pair {
                a: packed(&low.a, rank, inputs),
                b: packed(&low.b, outputs, rank),
            }),
            Attach::Trainable => {
                Weights::Trainable { a: variable(&low.a, rank), b: variable(&low.b, outputs) }
            }
        };
        Self { module: module.to_owned(), weights, rank, scaling: low.scaling, dropout }
    }

    /// Returns the variables under PEFT's names; none for a frozen branch.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let name = |part| super::parameter_name(&self.module, part);
        match &self.weights {
            Weights::Frozen(_) => Vec::new(),
            Weights::Trainable { a, b } => {
                vec![(name("lora_A.weight"), a.clone()), (name("lora_B.weight"), b.clone())]
            }
        }
    }

    /// Returns the matrices as they are now.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn low_rank(&self) -> Result<LowRank> {
        let (a, b) = match &self.weights {
            Weights::Frozen(Pair { a, b }) => (unpacked(a), unpacked(b)),
            Weights::Trainable { a, b } => (values(a)?, values(b)?),
        };
        Ok(LowRank { a, b, rank: self.rank, scaling: self.scaling })
    }

    /// Applies the base layer, its bias and this branch beside it.
    ///
    /// `x: [t, inputs]`, contiguous f32; result `[t, outputs]`. `draw` has `t` rows; `None` drops
    /// nothing. Gradients reach `x` and, of a trainable branch, A and B.
    ///
    /// # Errors
    ///
    /// If the shapes disagree.
    pub fn forward(
        &self,
        base: &dyn BaseLayer,
        bias: Option<&Tensor>,
        x: &Tensor,
        draw: Option<&Draw>,
    ) -> Result<Tensor> {
        let y = base.product(x)?;
        let y = match bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        y + self.delta(x, draw)?
    }

    /// Returns s · B(A(dropout(x))).
    fn delta(&self, x: &Tensor, draw: Option<&Draw>) -> Result<Tensor> {
        let mask = draw.and_then(|draw| Mask::new(draw, &self.module, self.dropout));
        #[expect(clippy::cast_possible_truncation, reason = "torch multiplies by the nearest f32")]
        let scaling = self.scaling as f32;
        match &self.weights {
            Weights::Frozen(pair) => x.apply_op1(LowRankOp { pair: pair.clone(), scaling, mask }),
            Weights::Trainable { a, b } => {
                let pair = Pair {
                    a: packed(&values(a)?, self.rank, a.dim(1)?),
                    b: packed(&values(b)?, b.dim(0)?, self.rank),
                };
                x.apply_op3(a.as_tensor(), b.as_tensor(), LowRankOp { pair, scaling, mask })
            }
        }
    }
}

fn packed(values: &[f32], outputs: usize, inputs: usize) -> Arc<Matrix> {
    let mut matrix = Matrix::zeros(WeightType::F32, outputs, inputs);
    matrix.set_rows(0, values);
    Arc::new(matrix)
}

fn unpacked(matrix: &Matrix) -> Vec<f32> {
    let mut values = vec![0.0; matrix.outputs() * matrix.inputs()];
    for (row, out) in values.chunks_mut(matrix.inputs()).enumerate() {
        matrix.row(row, out);
    }
    values
}

fn variable(values: &[f32], rows: usize) -> Var {
    Var::from_slice(values, (rows, values.len() / rows), &Device::Cpu)
        .expect("copying whole rows on the CPU does not fail")
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

/// s · B(A(dropout(x))) with the matrices inside; as an op of three arguments they take gradients.
struct LowRankOp {
    pair: Pair,
    scaling: f32,
    mask: Option<Mask>,
}

impl LowRankOp {
    fn forward(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Pair { a, b } = &self.pair;
        let (rows, width) = layout.shape().dims2()?;
        if width != a.inputs() {
            candle_core::bail!("low-rank: {width} inputs, A has {}", a.inputs());
        }
        if let Some(mask) = &self.mask
            && mask.rows() != rows
        {
            candle_core::bail!("low-rank: {rows} rows, dropout was drawn for {}", mask.rows());
        }
        let (begin, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::RequiresContiguous { op: "low-rank" })?;
        let x = &storage.as_slice::<f32>()?[begin..end];
        let mut y = b.multiply(&self.low(x));
        y.iter_mut().for_each(|y| *y *= self.scaling);
        Ok((CpuStorage::F32(y), (rows, b.outputs()).into()))
    }

    /// A · dropout(x), `[t, rank]`.
    fn low(&self, x: &[f32]) -> Vec<f32> {
        match &self.mask {
            None => self.pair.a.multiply(x),
            Some(_) => self.pair.a.multiply(&self.dropped(x)),
        }
    }

    fn dropped(&self, x: &[f32]) -> Vec<f32> {
        let mut x = x.to_vec();
        if let Some(mask) = &self.mask {
            mask.apply(&mut x, self.pair.a.inputs());
        }
        x
    }

    /// Gradient of B(A(dropout(x))), scaled by s: `[t, outputs]`; and of A(dropout(x)), `[t, rank]`.
    fn grads_behind(&self, grad: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut grad = values(grad)?;
        grad.iter_mut().for_each(|g| *g *= self.scaling);
        let low = self.pair.b.multiply_transposed(&grad);
        Ok((grad, low))
    }

    fn grad_x(&self, grad_low: &[f32], x: &Tensor) -> Result<Tensor> {
        let grad = self.dropped(&self.pair.a.multiply_transposed(grad_low));
        Tensor::from_vec(grad, x.shape(), &Device::Cpu)
    }
}

impl CustomOp1 for LowRankOp {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(storage, layout)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (_, grad_low) = self.grads_behind(grad)?;
        self.grad_x(&grad_low, x).map(Some)
    }
}

impl CustomOp3 for LowRankOp {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward(x, x_layout)
    }

    /// With g the gradient times s and z = dropout(x): dB = gᵀ · A(z), dA = (g · B)ᵀ · z,
    /// dx = dropout((g · B) · A). Sums over rows are in ascending order.
    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (rows, rank) = (x.dim(0)?, a.dim(0)?);
        let (grad, grad_low) = self.grads_behind(grad)?;
        let z = self.dropped(&values(x)?);
        let low = self.pair.a.multiply(&z);
        // Products over rows: what is summed over is the matrix's `outputs`.
        let over_rows = |left: &[f32], right: &[f32]| {
            let right = packed(right, rows, right.len() / rows);
            right.multiply_transposed(&transposed(left, rank))
        };
        let grad_a = over_rows(&grad_low, &z);
        let grad_b = transposed(&over_rows(&low, &grad), b.dim(0)?);
        Ok((
            Some(self.grad_x(&grad_low, x)?),
            Some(Tensor::from_vec(grad_a, a.shape(), &Device::Cpu)?),
            Some(Tensor::from_vec(grad_b, b.shape(), &Device::Cpu)?),
        ))
    }
}

/// Returns `[n, width]` as `[width, n]`.
fn transposed(x: &[f32], width: usize) -> Vec<f32> {
    (0..width).flat_map(|column| x[column..].iter().step_by(width).copied()).collect()
}
