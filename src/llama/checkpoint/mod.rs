//! Hugging Face checkpoint folders: which file holds which tensor, checked before anything is used.
//!
//! Guarantees: every tensor the configuration asks for is there once, with the right shape, in a
//! format that is read; nothing else is, but for known left-overs that are named in
//! [`Checkpoint::notes`]. Tensors are read from the opened files some rows at a time, so that
//! loading needs no memory beyond the weights in their target format and one piece of a tensor.

mod adapter;
mod file;
mod index;
mod int8;
mod pickle;
mod safetensors;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{
    CheckpointError, Config, ConfigError, Hold, Int8Rows, Llama,
    weights::{EMBEDDING, HEAD, WeightSource, expected_tensors},
};
use crate::{
    kernels::matrix::WeightType,
    quant::{OUTLIER_THRESHOLD, dequantize_rows},
};
pub use adapter::{adapter_weights_file, read_adapter};
pub use file::Stored;
use file::WeightFile;

/// File and place of each tensor.
type Tensors = BTreeMap<String, (usize, Stored)>;

/// A checkpoint folder whose headers are read and whose tensors are checked.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    config: Config,
    files: Vec<WeightFile>,
    tensors: Tensors,
    /// Of the matrices that are stored as int8.
    scales: int8::Scales,
    notes: Vec<String>,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and weights as safetensors or PyTorch shards.
    ///
    /// safetensors are preferred where both are there.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if a file is missing, damaged or hostile, or the tensors are not those
    /// of the configuration.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let config = Config::read(&folder.join("config.json"))?;
        let (files, tensors) = index::open_weights(folder)?;
        let scales = int8::scales(&config, &files, &tensors)?;
        let (folder, notes) = (folder.to_owned(), config.notes.clone());
        let mut checkpoint = Self { folder, notes, config, files, tensors, scales };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the network's sizes and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the weights' files, in the order of their index.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(WeightFile::path)
    }

    /// Returns what was found and left aside, for the reader.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the name and number format of each tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Stored)> {
        self.tensors.iter().map(|(name, (_, stored))| (&**name, stored))
    }

    /// Returns the widest float format that a matrix of the network is stored in: holding the
    /// weights in it loses nothing.
    pub fn widest_type(&self) -> WeightType {
        let expected = expected_tensors(&self.config);
        let mut types: BTreeSet<&str> = BTreeSet::new();
        let stored = expected.iter().filter_map(|(name, _)| Some(&self.tensors.get(name)?.1));
        types.extend(stored.filter(|s| s.dtype.is_float()).map(Stored::dtype_name));
        match types.into_iter().collect::<Vec<_>>()[..] {
            ["F16"] => WeightType::F16,
            ["BF16"] => WeightType::Bf16,
            _ => WeightType::F32,
        }
    }

    /// Returns whether the linear layers of the blocks are stored as int8.
    pub fn is_int8(&self) -> bool {
        !self.scales.is_empty()
    }

    /// Returns the magnitude from which an activation is an outlier, 0 for none: as the checkpoint
    /// says, else [`OUTLIER_THRESHOLD`].
    pub fn outlier_threshold(&self) -> f32 {
        self.config.quantization.as_ref().map_or(OUTLIER_THRESHOLD, |how| how.threshold)
    }

    /// Builds the network.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if a tensor cannot be read or holds a value that is no number.
    pub fn load(&mut self, hold: Hold) -> Result<Llama, CheckpointError> {
        Llama::new(self.config.clone(), self, hold)
    }

    /// Returns the file and place of a tensor.
    fn stored(&self, name: &str) -> Result<(&WeightFile, &Stored), CheckpointError> {
        let missing = || CheckpointError::MissingTensor(name.to_owned());
        let (file, stored) = self.tensors.get(name).ok_or_else(missing)?;
        Ok((&self.files[*file], stored))
    }

    /// Compares the tensors with those the configuration asks for.
    fn check(&mut self) -> Result<(), CheckpointError> {
        let expected: BTreeMap<_, _> = expected_tensors(&self.config).into_iter().collect();
        for (name, (_, stored)) in &self.tensors {
            let is_read = stored.dtype.is_float() || self.scales.contains_key(name);
            if !is_read && expected.contains_key(name) {
                let (name, dtype) = (name.clone(), stored.dtype_name().to_owned());
                return Err(CheckpointError::Dtype { name, dtype });
            }
        }
        for (name, shape) in &expected {
            let (_, stored) = self
                .tensors
                .get(name)
                .ok_or_else(|| CheckpointError::MissingTensor(name.clone()))?;
            if stored.shape != *shape {
                return Err(CheckpointError::Shape {
                    name: name.clone(),
                    expected: shape.clone(),
                    got: stored.shape.clone(),
                });
            }
        }
        let extra: Vec<String> =
            self.tensors.keys().filter(|name| !expected.contains_key(*name)).cloned().collect();
        let mut buffers = 0;
        for name in extra {
            if int8::describes(&name, &self.scales) {
                continue;
            } else if is_rotary_buffer(&name) {
                buffers += 1;
            } else if name == HEAD && self.config.tied {
                self.check_tied()?;
                self.notes.push(format!("`{HEAD}` repeats the embedding it is tied to"));
            } else {
                return Err(CheckpointError::ExtraTensor(name));
            }
        }
        if buffers > 0 {
            self.notes.push(format!(
                "{buffers} buffers `rotary_emb.inv_freq` are left aside: they follow from config.json"
            ));
        }
        Ok(())
    }

    /// Checks that an output matrix stored beside a tied embedding equals it.
    fn check_tied(&mut self) -> Result<(), CheckpointError> {
        const ROWS: usize = 256;
        let shape = [self.config.vocab_size, self.config.hidden_size];
        if self.tensors[HEAD].1.shape != shape {
            return Err(CheckpointError::Shape {
                name: HEAD.to_owned(),
                expected: shape.to_vec(),
                got: self.tensors[HEAD].1.shape.clone(),
            });
        }
        let (mut head, mut embedding) = (Vec::new(), Vec::new());
        for first in (0..shape[0]).step_by(ROWS) {
            let rows = ROWS.min(shape[0] - first);
            head.clear();
            embedding.clear();
            self.read(HEAD, shape[1], first, rows, &mut head)?;
            self.read(EMBEDDING, shape[1], first, rows, &mut embedding)?;
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            if bits(&head) != bits(&embedding) {
                return Err(CheckpointError::NotTied);
            }
        }
        Ok(())
    }
}

/// Int8 matrices are read as their codes, or as floats: dequantised.
impl WeightSource for Checkpoint {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        if self.scales.contains_key(name) {
            let mut int8 = Int8Rows::default();
            self.read_int8(name, row_len, first, rows, &mut int8)?;
            dequantize_rows(&int8.codes, &int8.scales, row_len, out);
            return Ok(());
        }
        let (file, stored) = self.stored(name)?;
        file.read(name, stored, first * row_len, rows * row_len, out)
    }

    fn read_int8(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Int8Rows,
    ) -> Result<(), CheckpointError> {
        let Some(scales) = self.scales.get(name) else {
            let mut values = Vec::new();
            self.read(name, row_len, first, rows, &mut values)?;
            return out.quantize(name, row_len, first, &values);
        };
        let (file, stored) = self.stored(name)?;
        out.scales.extend_from_slice(&scales[first..first + rows]);
        file.codes(stored, first * row_len, rows * row_len, &mut out.codes)
    }

    fn stays_float(&self, name: &str) -> bool {
        self.is_int8() && !self.scales.contains_key(name)
    }
}

/// Whether a tensor is a table of rotary frequencies, stored by `transformers` until 4.31.
fn is_rotary_buffer(name: &str) -> bool {
    name.strip_prefix("model.layers.")
        .and_then(|rest| rest.strip_suffix(".self_attn.rotary_emb.inv_freq"))
        .is_some_and(|layer| layer.parse::<usize>().is_ok())
}

/// Returns the tokens that end a text: of `generation_config.json`, else of `config.json`.
///
/// # Errors
///
/// If the file is there and malformed.
pub fn stop_tokens(folder: &Path, config: &Config) -> Result<Vec<u32>, CheckpointError> {
    let path = folder.join("generation_config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(config.eos.clone()),
        Err(source) => return Err(CheckpointError::Read { path, source }),
    };
    let map = serde_json::from_str(&text)
        .map_err(|error| CheckpointError::Json { path, why: error.to_string() })?;
    let ids = super::config::Fields(&map)
        .tokens("eos_token_id")
        .map_err(|error: ConfigError| CheckpointError::Config(error))?;
    Ok(if ids.is_empty() { config.eos.clone() } else { ids })
}
