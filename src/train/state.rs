//! What a checkpoint holds of the optimizer and the weights, as tensors by name.

use std::{collections::BTreeMap, path::Path};

use candle_core::Var;
use safetensors::{Dtype, SafeTensors};

use super::{
    Moments, Optimizer, TrainError,
    optimizer::edit,
    tensors::{Planned, Values},
};
use crate::quant::{Blockwise, Moments8bit};

/// Returns the trained weights as tensors to write.
pub(super) fn weights(variables: &[(String, Var)]) -> Vec<Planned<'_>> {
    let planned = |(name, variable): &'_ (String, Var)| {
        let variable = variable.clone();
        Planned {
            name: name.clone(),
            shape: variable.dims().to_vec(),
            dtype: "F32",
            values: Box::new(move || Ok(Values::F32(variable.flatten_all()?.to_vec1()?))),
        }
    };
    variables.iter().map(planned).collect()
}

/// Returns the optimizer's states as tensors to write; `first.NAME` and `second.NAME`, of 8-bit
/// states codes and `.absmax`.
pub(super) fn states<'a>(
    optimizer: &'a Optimizer,
    variables: &'a [(String, Var)],
) -> Vec<Planned<'a>> {
    fn floats<'a>(name: String, values: &'a [f32]) -> Planned<'a> {
        let shape = vec![values.len()];
        Planned { name, shape, dtype: "F32", values: Box::new(|| Ok(Values::F32(values.to_vec()))) }
    }
    fn codes<'a>(name: String, block: &'a Blockwise) -> [Planned<'a>; 2] {
        let absmax = floats(format!("{name}.absmax"), &block.absmax);
        let values = Box::new(|| Ok(Values::U8(block.codes.clone())));
        [Planned { name, shape: vec![block.codes.len()], dtype: "U8", values }, absmax]
    }
    let names = variables.iter().map(|(name, _)| name);
    let mut tensors = Vec::new();
    match optimizer {
        Optimizer::AdamW(_, moments) => {
            for (name, Moments { first, second }) in names.zip(moments) {
                tensors.push(floats(format!("first.{name}"), first));
                tensors.push(floats(format!("second.{name}"), second));
            }
        }
        Optimizer::AdamW8bit(_, moments) => {
            for (name, moments) in names.zip(moments) {
                match moments {
                    Moments8bit::Single { first, second } => {
                        tensors.push(floats(format!("first.{name}"), first));
                        tensors.push(floats(format!("second.{name}"), second));
                    }
                    Moments8bit::Blockwise { first, second } => {
                        tensors.extend(codes(format!("first.{name}"), first));
                        tensors.extend(codes(format!("second.{name}"), second));
                    }
                }
            }
        }
    }
    tensors
}

/// The tensors of a file, to be taken one by one.
pub(super) struct Stored<'a> {
    path: &'a Path,
    tensors: BTreeMap<String, Values>,
}

impl<'a> Stored<'a> {
    /// Reads a file of [`super::tensors::write`].
    pub(super) fn read(path: &'a Path) -> Result<Self, TrainError> {
        let damaged = |problem: String| TrainError::Damaged { path: path.to_owned(), problem };
        let bytes =
            std::fs::read(path).map_err(|error| damaged(format!("is not read: {error}")))?;
        let read = SafeTensors::deserialize(&bytes)
            .map_err(|error| damaged(format!("is no safetensors file: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in read.tensors() {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => {
                    let (words, _) = data.as_chunks();
                    Values::F32(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
                }
                Dtype::U8 => Values::U8(data.to_vec()),
                other => return Err(damaged(format!("holds `{name}` in {other:?}"))),
            };
            tensors.insert(name, values);
        }
        Ok(Self { path, tensors })
    }

    fn damaged(&self, problem: String) -> TrainError {
        TrainError::Damaged { path: self.path.to_owned(), problem }
    }

    fn floats(&mut self, name: &str, into: &mut Vec<f32>) -> Result<(), TrainError> {
        match self.tensors.remove(name) {
            Some(Values::F32(values)) if values.len() == into.len() => {
                *into = values;
                Ok(())
            }
            _ => Err(self.damaged(format!("does not hold `{name}` in its size"))),
        }
    }

    fn codes(&mut self, name: &str, into: &mut Blockwise) -> Result<(), TrainError> {
        self.floats(&format!("{name}.absmax"), &mut into.absmax)?;
        match self.tensors.remove(name) {
            Some(Values::U8(codes)) if codes.len() == into.codes.len() => {
                into.codes = codes;
                Ok(())
            }
            _ => Err(self.damaged(format!("does not hold `{name}` in its size"))),
        }
    }

    /// Puts the stored values into the trained weights.
    pub(super) fn weights(mut self, variables: &[(String, Var)]) -> Result<(), TrainError> {
        for (name, variable) in variables {
            let mut values = vec![0.0; variable.elem_count()];
            self.floats(name, &mut values)?;
            edit(variable, |weights| weights.copy_from_slice(&values))?;
        }
        self.nothing_left()
    }

    /// Returns whether the stored values are those of the trained weights, bit for bit.
    pub(super) fn are_weights(mut self, variables: &[(String, Var)]) -> Result<bool, TrainError> {
        for (name, variable) in variables {
            let mut stored = vec![0.0; variable.elem_count()];
            self.floats(name, &mut stored)?;
            let held: Vec<f32> = variable.flatten_all()?.to_vec1()?;
            if !stored.iter().zip(&held).all(|(a, b)| a.to_bits() == b.to_bits()) {
                return Ok(false);
            }
        }
        self.nothing_left().map(|()| true)
    }

    /// Puts the stored values into the optimizer's states.
    pub(super) fn states(
        mut self,
        optimizer: &mut Optimizer,
        variables: &[(String, Var)],
    ) -> Result<(), TrainError> {
        let names =
            variables.iter().map(|(name, _)| (format!("first.{name}"), format!("second.{name}")));
        match optimizer {
            Optimizer::AdamW(_, moments) => {
                for ((one, two), Moments { first, second }) in names.zip(moments) {
                    self.floats(&one, first)?;
                    self.floats(&two, second)?;
                }
            }
            Optimizer::AdamW8bit(_, moments) => {
                for ((one, two), moments) in names.zip(moments) {
                    match moments {
                        Moments8bit::Single { first, second } => {
                            self.floats(&one, first)?;
                            self.floats(&two, second)?;
                        }
                        Moments8bit::Blockwise { first, second } => {
                            self.codes(&one, first)?;
                            self.codes(&two, second)?;
                        }
                    }
                }
            }
        }
        self.nothing_left()
    }

    fn nothing_left(&self) -> Result<(), TrainError> {
        match self.tensors.keys().next() {
            Some(name) => Err(self.damaged(format!("holds `{name}`, which is not known here"))),
            None => Ok(()),
        }
    }
}
