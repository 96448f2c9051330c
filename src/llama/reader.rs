//! Reads a network's tensors from a source: checked, converted, packed or made variables.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{
    CheckpointError,
    linear::{Base, Linear},
    weights::{Hold, WeightSource},
};
use crate::kernels::matrix::{Matrix, WeightType};

/// Values converted at once while weights are read; bounds the memory beside the weights.
const READ_VALUES: usize = 1 << 20;

/// Reads tensors by name and keeps the variables it makes.
pub(super) struct Reader<'a> {
    source: &'a mut dyn WeightSource,
    hold: Hold,
    variables: Vec<(String, Var)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a mut dyn WeightSource, hold: Hold) -> Self {
        Self { source, hold, variables: Vec::new() }
    }

    /// Returns the variables made, in the order of reading.
    pub(super) fn into_variables(self) -> Vec<(String, Var)> {
        self.variables
    }

    /// Reads a layer's weight, and its bias if it has one.
    pub(super) fn linear(
        &mut self,
        name: &str,
        shape: [usize; 2],
        bias: bool,
    ) -> Result<Linear, CheckpointError> {
        let base = self.base(&format!("{name}.weight"), shape)?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"), shape[0])).transpose()?;
        Ok(Linear::new(base, bias))
    }

    /// Reads a matrix; a frozen one in pieces.
    pub(super) fn base(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Base, CheckpointError> {
        let mut values = Vec::new();
        match self.hold {
            Hold::Frozen(weight_type) => {
                let piece = (READ_VALUES / inputs).clamp(1, outputs);
                let mut matrix = Matrix::zeros(weight_type, outputs, inputs);
                for first in (0..outputs).step_by(piece) {
                    values.clear();
                    let rows = piece.min(outputs - first);
                    self.source.read(name, inputs, first, rows, &mut values)?;
                    check_finite(name, &values, inputs, first, weight_type)?;
                    matrix.set_rows(first, &values);
                }
                Ok(Base::Frozen(Arc::new(matrix)))
            }
            Hold::Trainable => {
                self.source.read(name, inputs, 0, outputs, &mut values)?;
                check_finite(name, &values, inputs, 0, WeightType::F32)?;
                Ok(Base::Trainable(self.variable(name, values, &[outputs, inputs])))
            }
        }
    }

    /// Reads a norm's weight or a bias: f32, a variable if trained.
    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<Tensor, CheckpointError> {
        let mut values = Vec::new();
        self.source.read(name, len, 0, 1, &mut values)?;
        match self.hold {
            Hold::Trainable => {
                check_finite(name, &values, len, 0, WeightType::F32)?;
                Ok(self.variable(name, values, &[len]).as_tensor().clone())
            }
            Hold::Frozen(weight_type) => {
                check_finite(name, &values, len, 0, weight_type)?;
                // The reference converts norms and biases with the rest of the model.
                for value in &mut values {
                    *value = rounded(*value, weight_type);
                }
                Ok(tensor(values, &[len]))
            }
        }
    }

    fn variable(&mut self, name: &str, values: Vec<f32>, shape: &[usize]) -> Var {
        let variable = Var::from_tensor(&tensor(values, shape))
            .expect("copying a tensor on the CPU does not fail");
        self.variables.push((name.to_owned(), variable.clone()));
        variable
    }
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).expect("the source gives the length asked for")
}

fn rounded(value: f32, weight_type: WeightType) -> f32 {
    match weight_type {
        WeightType::F32 => value,
        WeightType::F16 => half::f16::from_f32(value).to_f32(),
        WeightType::Bf16 => half::bf16::from_f32(value).to_f32(),
    }
}

/// Refuses the first value that is no number in the format asked for.
fn check_finite(
    name: &str,
    values: &[f32],
    row_len: usize,
    first_row: usize,
    weight_type: WeightType,
) -> Result<(), CheckpointError> {
    match values.iter().position(|value| !rounded(*value, weight_type).is_finite()) {
        None => Ok(()),
        Some(at) => Err(CheckpointError::NotFinite {
            name: name.to_owned(),
            row: first_row + at / row_len,
            column: at % row_len,
            value: if values[at].is_finite() {
                format!("{}, too large for {weight_type:?}", values[at])
            } else {
                values[at].to_string()
            },
        }),
    }
}
