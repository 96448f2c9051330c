//! What a backward by hand is made of: sums of gradients, who receives them, and candle's own backward
//! where nothing was written by hand.

use candle_core::{
    CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, TensorId, backprop::GradStore,
};

use super::ops;

/// Receives the gradients of weights; what it does not train it forgets.
pub trait Receiver {
    /// Adds the gradient of a whole weight, in its order.
    fn whole(&mut self, weight: TensorId, grad: Vec<f32>);

    /// Adds the gradients of rows of a matrix of so many `values`; a row may be named several times.
    fn rows(&mut self, weight: TensorId, values: usize, rows: &[u32], grad: &[f32]);
}

/// A gradient to which several parts add, in their order, if it is wanted at all.
#[derive(Debug)]
pub(super) struct Sum {
    /// Whether anybody asks for it.
    pub(super) is_wanted: bool,
    sum: Vec<f32>,
}

impl Sum {
    pub(super) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, sum: Vec::new() }
    }

    pub(super) fn add(&mut self, part: Vec<f32>) {
        if self.sum.is_empty() {
            self.sum = part;
        } else {
            ops::add(&mut self.sum, &part);
        }
    }

    /// Returns the sum of what was added.
    pub(super) fn take(self) -> Vec<f32> {
        self.sum
    }
}

/// A scalar whose gradient in its argument is what we say.
struct Given(Tensor);

impl CustomOp1 for Given {
    fn name(&self) -> &'static str {
        "given-gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

/// Returns the gradients of everything `output` was made of, given its own.
pub(super) fn pull_back(output: &Tensor, grad: Tensor) -> Result<GradStore> {
    output.apply_op1(Given(grad))?.backward()
}

/// Takes out the gradient of a variable that must have one.
pub(super) fn take(store: &mut GradStore, variable: &Tensor) -> Result<Vec<f32>> {
    match store.remove(variable) {
        Some(grad) => grad.flatten_all()?.to_vec1(),
        None => candle_core::bail!("no gradient reached {:?}", variable.shape()),
    }
}
