//! Backward from a tensor whose gradient is given.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, Var, backprop::GradStore};

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
pub(super) fn take(store: &mut GradStore, variable: &Var) -> Result<Tensor> {
    match store.remove(variable) {
        Some(grad) => Ok(grad),
        None => candle_core::bail!("no gradient reached an input of {:?}", variable.shape()),
    }
}
