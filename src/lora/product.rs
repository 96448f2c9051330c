//! s · B(A(dropout(x))) and its gradients.
//!
//! Inner products are those of [`Matrix`] and of [`dense`]: a row has the same bits in any batch and
//! on any number of threads. The backward computes A · dropout(x) anew instead of keeping it.

use std::{borrow::Cow, sync::Arc};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp3, Device, Error, Layout, Result, Shape, Tensor, TensorId,
};

use super::{
    branch::{transposed, values},
    dropout::Mask,
};
use crate::kernels::{dense, matrix::Matrix};

/// A and B, packed.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) a: Arc<Matrix>,
    pub(super) b: Arc<Matrix>,
}

/// s · B(A(dropout(x))) with the matrices inside, as they are at one moment.
#[derive(Debug, Clone)]
pub struct LowRankProduct {
    pub(super) pair: Pair,
    pub(super) scaling: f32,
    pub(super) mask: Option<Mask>,
    /// The variables of A and B.
    pub(super) trained: Option<[TensorId; 2]>,
}

/// Gradients of a [`LowRankProduct`].
#[derive(Debug)]
pub struct LowRankGradients {
    /// Of A, `[rank, inputs]`, and of B, `[outputs, rank]`, each with the id of its variable; `None`
    /// where they are not trained.
    pub matrices: Option<[(TensorId, Vec<f32>); 2]>,
    /// Of x, `[t, inputs]`; `None` if it is not wanted.
    pub x: Option<Vec<f32>>,
}

impl LowRankProduct {
    /// Returns s · B(A(dropout(x))).
    ///
    /// `x: [t, inputs]`, result `[t, outputs]`.
    ///
    /// # Errors
    ///
    /// If `x` is not whole rows, or not those that the dropout was drawn for.
    pub fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (a, b) = (&*self.pair.a, &*self.pair.b);
        let rows = x.len() / a.inputs();
        if rows * a.inputs() != x.len() {
            candle_core::bail!("low-rank: {} values are no rows of {}", x.len(), a.inputs());
        }
        if let Some(mask) = &self.mask
            && mask.rows() != rows
        {
            candle_core::bail!("low-rank: {rows} rows, dropout was drawn for {}", mask.rows());
        }
        let mut y = b.multiply(&a.multiply(&self.dropped(x)));
        y.iter_mut().for_each(|y| *y *= self.scaling);
        Ok(y)
    }

    /// Returns the gradients for the gradient `g: [t, outputs]` of the result.
    ///
    /// With g times s and z = dropout(x): dB = gᵀ · A(z), dA = (g · B)ᵀ · z,
    /// dx = dropout((g · B) · A). Sums over rows are in ascending order.
    ///
    /// # Panics
    ///
    /// If `x` and `g` are not as many whole rows, those that the dropout was drawn for.
    pub fn gradients(&self, x: &[f32], g: &[f32], for_x: bool) -> LowRankGradients {
        let Pair { a, b } = &self.pair;
        let g: Vec<f32> = g.iter().map(|g| g * self.scaling).collect();
        let g_low = b.multiply_transposed(&g);
        let matrices = self.trained.map(|[id_a, id_b]| {
            let z = self.dropped(x);
            let low = a.multiply(&z);
            let grad_a = dense::weight_gradient(&g_low, &z, a.inputs());
            // The long side of B lies along the lanes.
            let grad_b = dense::weight_gradient(&low, &g, b.outputs());
            [(id_a, grad_a), (id_b, transposed(&grad_b, b.outputs()))]
        });
        let x = for_x.then(|| {
            let mut grad = a.multiply_transposed(&g_low);
            if let Some(mask) = &self.mask {
                mask.apply(&mut grad, a.inputs());
            }
            grad
        });
        LowRankGradients { matrices, x }
    }

    fn dropped<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        let Some(mask) = &self.mask else { return Cow::Borrowed(x) };
        let mut x = x.to_vec();
        mask.apply(&mut x, self.pair.a.inputs());
        Cow::Owned(x)
    }
}

/// The product as an op of candle; of three arguments, the matrices take gradients.
pub(super) struct LowRankOp(pub(super) LowRankProduct);

impl LowRankOp {
    fn forward(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Pair { a, b } = &self.0.pair;
        let (rows, width) = layout.shape().dims2()?;
        if width != a.inputs() {
            candle_core::bail!("low-rank: {width} inputs, A has {}", a.inputs());
        }
        let (begin, end) = layout
            .contiguous_offsets()
            .ok_or_else(|| Error::RequiresContiguous { op: "low-rank" })?;
        let y = self.0.forward(&storage.as_slice::<f32>()?[begin..end])?;
        Ok((CpuStorage::F32(y), (rows, b.outputs()).into()))
    }

    fn gradients(&self, x: &Tensor, grad: &Tensor) -> Result<LowRankGradients> {
        Ok(self.0.gradients(&values(x)?, &values(grad)?, x.track_op()))
    }
}

fn like(values: Vec<f32>, tensor: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, tensor.shape(), &Device::Cpu)
}

impl CustomOp1 for LowRankOp {
    fn name(&self) -> &'static str {
        "low-rank"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.forward(storage, layout)
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.gradients(x, grad)?.x.map(|grad| like(grad, x)).transpose()
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

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let LowRankGradients { matrices, x: of_x } = self.gradients(x, grad)?;
        let of_x = of_x.map(|grad| like(grad, x)).transpose()?;
        let Some([(_, of_a), (_, of_b)]) = matrices else { return Ok((of_x, None, None)) };
        Ok((of_x, Some(like(of_a, a)?), Some(like(of_b, b)?)))
    }
}
