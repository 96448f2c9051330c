//! One opened file of weights and the tensors that stand in it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use half::{bf16, f16};

use crate::llama::CheckpointError;

/// Number format of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Dtype {
    F32,
    F16,
    Bf16,
    /// Codes of an int8 matrix; no floats.
    I8,
    /// The layout of an int8 matrix; no floats.
    U8,
    /// One that is not read, as the file names it.
    Other(String),
}

impl Dtype {
    pub(super) fn is_float(&self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
    }

    /// Returns the bytes of one element; 0 for a format that is not read.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 | Self::U8 => 1,
            Self::Other(_) => 0,
        }
    }
}

/// Where a tensor stands in its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its shape.
    pub shape: Vec<usize>,
    pub(super) dtype: Dtype,
    /// First byte, from the file's beginning.
    pub(super) offset: u64,
}

impl Stored {
    /// Returns the number format's name, as safetensors writes it.
    pub fn dtype_name(&self) -> &str {
        match &self.dtype {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
            Dtype::I8 => "I8",
            Dtype::U8 => "U8",
            Dtype::Other(name) => name,
        }
    }
}

/// An opened file of weights; the same handle serves headers and values.
#[derive(Debug)]
pub(super) struct WeightFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl WeightFile {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let read = |source| CheckpointError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        let len = file.metadata().map_err(read)?.len();
        Ok(Self { path: path.to_owned(), file, len })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn handle(&self) -> &File {
        &self.file
    }

    pub(super) fn read_error(&self, source: io::Error) -> CheckpointError {
        CheckpointError::Read { path: self.path.clone(), source }
    }

    pub(super) fn format_error(&self, why: impl Into<String>) -> CheckpointError {
        CheckpointError::Format { path: self.path.clone(), why: why.into() }
    }

    /// Reads bytes at a place.
    pub(super) fn bytes(&self, offset: u64, len: usize) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![0; len];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| self.read_error(error))?;
        Ok(bytes)
    }

    /// Appends `len` elements of a tensor from element `first` on, widened to f32.
    pub(super) fn read(
        &self,
        name: &str,
        stored: &Stored,
        first: usize,
        len: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        let width = stored.dtype.bytes();
        let bytes = self.bytes(stored.offset + (first * width) as u64, len * width)?;
        match &stored.dtype {
            Dtype::F32 => {
                out.extend(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            Dtype::F16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
            }
            Dtype::Bf16 => {
                out.extend(bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()));
            }
            Dtype::I8 | Dtype::U8 | Dtype::Other(_) => {
                let (name, dtype) = (name.to_owned(), stored.dtype_name().to_owned());
                return Err(CheckpointError::Dtype { name, dtype });
            }
        }
        Ok(())
    }

    /// Appends `len` codes of an int8 tensor from element `first` on.
    pub(super) fn codes(
        &self,
        stored: &Stored,
        first: usize,
        len: usize,
        out: &mut Vec<i8>,
    ) -> Result<(), CheckpointError> {
        let bytes = self.bytes(stored.offset + first as u64, len)?;
        out.extend(bytes.iter().map(|byte| byte.cast_signed()));
        Ok(())
    }
}
