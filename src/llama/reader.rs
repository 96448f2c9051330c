//! Reads a network's tensors from a source: checked, converted, packed or made variables.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::{
    CheckpointError,
    linear::{Base, Linear},
    weights::{Hold, Int8Rows, WeightSource, check_finite, rounded},
};
use crate::{
    kernels::matrix::{Matrix, WeightType},
    quant::{Int8Linear, Int8Weight},
};

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
        let weight = format!("{name}.weight");
        let bias_name = format!("{name}.bias");
        match self.hold {
            Hold::Int8 { floats, arithmetic, threshold } if !self.source.stays_float(&weight) => {
                let codes = self.int8(&weight, shape)?;
                let bias = bias.then(|| self.floats(&bias_name, shape[0], floats)).transpose()?;
                let mut layer = Int8Linear::new(Arc::new(codes), bias)
                    .map_err(|source| CheckpointError::Int8 { name: weight, source })?;
                layer.arithmetic = arithmetic;
                layer.threshold = threshold;
                layer.rounds_gradients = floats == WeightType::Bf16Rounded;
                Ok(Linear::new(Base::Int8(Arc::new(layer)), None))
            }
            _ => {
                let base = self.base(&weight, shape)?;
                let bias = bias.then(|| self.vector(&bias_name, shape[0])).transpose()?;
                Ok(Linear::new(base, bias))
            }
        }
    }

    /// Reads a matrix that is never int8; a frozen one in pieces.
    pub(super) fn base(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Base, CheckpointError> {
        let mut values = Vec::new();
        match self.hold {
            Hold::Frozen(weight_type) | Hold::Int8 { floats: weight_type, .. } => {
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

    /// Reads or makes the codes of a matrix, in pieces: never is it there in floats.
    fn int8(
        &mut self,
        name: &str,
        [outputs, inputs]: [usize; 2],
    ) -> Result<Int8Weight, CheckpointError> {
        let piece = (READ_VALUES / inputs).clamp(1, outputs);
        let mut read = Int8Rows::default();
        read.codes.reserve_exact(outputs * inputs);
        for first in (0..outputs).step_by(piece) {
            let rows = piece.min(outputs - first);
            self.source.read_int8(name, inputs, first, rows, &mut read)?;
        }
        Int8Weight::from_codes(&read.codes, read.scales, inputs)
            .map_err(|source| CheckpointError::Int8 { name: name.to_owned(), source })
    }

    /// Reads a norm's weight or a bias: f32, a variable if trained.
    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<Tensor, CheckpointError> {
        match self.hold {
            Hold::Trainable => {
                let values = self.floats(name, len, WeightType::F32)?;
                Ok(self.variable(name, values, &[len]).as_tensor().clone())
            }
            Hold::Frozen(weight_type) | Hold::Int8 { floats: weight_type, .. } => {
                Ok(tensor(self.floats(name, len, weight_type)?, &[len]))
            }
        }
    }

    /// Reads a vector, rounded to a format: the reference converts norms and biases with the rest.
    fn floats(
        &mut self,
        name: &str,
        len: usize,
        weight_type: WeightType,
    ) -> Result<Vec<f32>, CheckpointError> {
        let mut values = Vec::new();
        self.source.read(name, len, 0, 1, &mut values)?;
        check_finite(name, &values, len, 0, weight_type)?;
        for value in &mut values {
            *value = rounded(*value, weight_type);
        }
        Ok(values)
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
