//! What a checkpoint holds of the optimizer and the weights, as tensors by name.
//!
//! Read piece by piece into where it belongs: going on takes no more memory than going through.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use candle_core::Var;
use rayon::prelude::*;
use safetensors::{Dtype, tensor::Metadata};

use super::{
    Moments, Optimizer, TrainError,
    optimizer::edit,
    tensors::{Planned, Values},
};
use crate::{
    llama::{Llama, NetworkError},
    quant::{Blockwise, Moments8bit},
};

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

/// Returns the first tensor of weights and states that holds a value that is not finite.
pub(super) fn broken(
    optimizer: Option<&Optimizer>,
    variables: &[(String, Var)],
) -> Result<Option<String>, NetworkError> {
    for (name, variable) in variables {
        let mut is_broken = false;
        edit(variable, |values| is_broken = !finite(values))?;
        if is_broken {
            return Ok(Some(name.clone()));
        }
    }
    let Some(optimizer) = optimizer else { return Ok(None) };
    let of = |place: usize, first: &[f32], second: &[f32]| {
        let moment = if !finite(first) { "first" } else { "second" };
        let name = &variables[place].0;
        (!finite(first) || !finite(second)).then(|| format!("{moment}.{name}"))
    };
    let places = 0..variables.len();
    Ok(match optimizer {
        Optimizer::AdamW(_, moments) => places
            .zip(moments)
            .find_map(|(place, Moments { first, second })| of(place, first, second)),
        Optimizer::AdamW8bit(_, moments) => {
            places.zip(moments).find_map(|(place, moments)| match moments {
                Moments8bit::Single { first, second } => of(place, first, second),
                Moments8bit::Blockwise { first, second } => {
                    of(place, &first.absmax, &second.absmax)
                }
            })
        }
    })
}

fn finite(values: &[f32]) -> bool {
    values.par_chunks(PIECE).all(|piece| piece.iter().all(|value| value.is_finite()))
}

/// Values read from a file at a time.
const PIECE: usize = 1 << 16;

/// Where a tensor lies in a file.
#[derive(Debug)]
struct Place {
    dtype: Dtype,
    /// First byte.
    begin: u64,
    bytes: usize,
}

/// The tensors of a file, to be taken one by one; what is taken is read then, piece by piece.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    path: &'a Path,
    file: File,
    tensors: BTreeMap<String, Place>,
}

impl<'a> Stored<'a> {
    /// Reads the header of a file of [`super::tensors::write`].
    pub(super) fn open(path: &'a Path) -> Result<Self, TrainError> {
        let damaged = |problem: String| TrainError::Damaged { path: path.to_owned(), problem };
        let unread = |error: io::Error| damaged(format!("is not read: {error}"));
        let mut file = File::open(path).map_err(unread)?;
        let bytes = file.metadata().map_err(unread)?.len();
        let mut len = [0; 8];
        file.read_exact(&mut len).map_err(unread)?;
        let data = u64::from_le_bytes(len).checked_add(8).filter(|data| *data <= bytes);
        let data = data.ok_or_else(|| damaged("is no safetensors file".into()))?;
        let mut header = Vec::new();
        (&mut file).take(data - 8).read_to_end(&mut header).map_err(unread)?;
        let header: Metadata = serde_json::from_slice(&header)
            .map_err(|error| damaged(format!("is no safetensors file: {error}")))?;
        let mut tensors = BTreeMap::new();
        for (name, info) in header.tensors() {
            let (begin, end) = info.data_offsets;
            let place = Place {
                dtype: info.dtype,
                begin: data + begin as u64,
                bytes: end.saturating_sub(begin),
            };
            if data + end as u64 > bytes {
                return Err(damaged(format!("ends within `{name}`")));
            }
            tensors.insert(name, place);
        }
        Ok(Self { path, file, tensors })
    }

    fn damaged(&self, problem: String) -> TrainError {
        TrainError::Damaged { path: self.path.to_owned(), problem }
    }

    /// Takes a tensor out of the list and hands its bytes to `each`, piece by piece.
    fn take(
        &mut self,
        name: &str,
        dtype: Dtype,
        bytes: usize,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), TrainError> {
        let place = self.tensors.remove(name);
        let Some(place) = place.filter(|place| place.dtype == dtype && place.bytes == bytes) else {
            return Err(self.damaged(format!("does not hold `{name}` in its size")));
        };
        let mut piece = vec![0; (4 * PIECE).min(bytes)];
        let mut read = |file: &mut File| {
            file.seek(SeekFrom::Start(place.begin))?;
            for begin in (0..bytes).step_by(4 * PIECE) {
                let piece = &mut piece[..(4 * PIECE).min(bytes - begin)];
                file.read_exact(piece)?;
                each(piece);
            }
            Ok(())
        };
        read(&mut self.file)
            .map_err(|error: io::Error| self.damaged(format!("is not read: {error}")))
    }

    fn floats(&mut self, name: &str, into: &mut [f32]) -> Result<(), TrainError> {
        let bytes = 4 * into.len();
        let mut left = into.iter_mut();
        self.take(name, Dtype::F32, bytes, |piece| {
            let (words, _) = piece.as_chunks();
            // The words first: a zip takes from its first part what its second has no match for.
            words.iter().zip(left.by_ref()).for_each(|(word, value)| {
                *value = f32::from_le_bytes(*word);
            });
        })
    }

    /// Returns whether the stored values of a tensor are these, bit for bit.
    fn holds(&mut self, name: &str, values: &[f32]) -> Result<bool, TrainError> {
        let (mut left, mut same) = (values.iter(), true);
        self.take(name, Dtype::F32, 4 * values.len(), |piece| {
            let (words, _) = piece.as_chunks();
            words.iter().zip(left.by_ref()).for_each(|(word, value)| {
                same &= u32::from_le_bytes(*word) == value.to_bits();
            });
        })?;
        Ok(same)
    }

    fn codes(&mut self, name: &str, into: &mut Blockwise) -> Result<(), TrainError> {
        self.floats(&format!("{name}.absmax"), &mut into.absmax)?;
        let mut codes = Vec::with_capacity(into.codes.len());
        let bytes = into.codes.len();
        self.take(name, Dtype::U8, bytes, |piece| codes.extend_from_slice(piece))?;
        into.codes = codes;
        Ok(())
    }

    /// Puts the stored values into the trained weights. What else the adapter holds must be as the
    /// network has it.
    pub(super) fn weights(mut self, network: &Llama) -> Result<(), TrainError> {
        for (name, whole) in network.adapter_constants() {
            if !self.holds(name, &whole.values)? {
                return Err(self.damaged(format!("holds another `{name}` than the base model")));
            }
        }
        for (name, variable) in network.variables() {
            let mut read = Ok(());
            edit(variable, |weights| read = self.floats(name, weights))?;
            read?;
        }
        self.nothing_left()
    }

    /// Returns whether the stored values are those of the trained weights, and of what else the
    /// adapter holds, bit for bit.
    pub(super) fn are_weights(mut self, network: &Llama) -> Result<bool, TrainError> {
        let mut same = true;
        for (name, whole) in network.adapter_constants() {
            same &= self.holds(name, &whole.values)?;
        }
        for (name, variable) in network.variables() {
            let mut read = Ok(false);
            edit(variable, |weights| read = self.holds(name, weights))?;
            same &= read?;
        }
        self.nothing_left().map(|()| same)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_of_several_pieces_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let values: Vec<f32> = (0..2 * PIECE + 3).map(|i| i as f32).collect();
        let planned = Planned {
            name: "a".into(),
            shape: vec![values.len()],
            dtype: "F32",
            values: Box::new(|| Ok(Values::F32(values.clone()))),
        };
        crate::train::tensors::write(&path, &[planned]).unwrap();
        let mut read = vec![0.0; values.len()];
        Stored::open(&path).unwrap().floats("a", &mut read).unwrap();
        assert!(read == values);
        assert!(Stored::open(&path).unwrap().holds("a", &values).unwrap());
        read[PIECE] = 0.5;
        assert!(!Stored::open(&path).unwrap().holds("a", &read).unwrap());
    }
}
