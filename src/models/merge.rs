//! Merging an adapter into its base checkpoint, or taking it off again, some rows at a time.
//!
//! What comes out is a checkpoint like any other: every tensor of the base, those the adapter holds
//! in full in their place, and s·B·A added to the weights of its modules in f32, rounded once to
//! the format they are written in, as PEFT does. Every value written is finite, or nothing is.
//! Where files go is left to the caller.
//!
//! Source: PEFT 0.21.2, `merge_and_unload`, `unmerge` (`golden/make/lora_networks.py`).

use half::{bf16, f16};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    llama::{Checkpoint, CheckpointError, EMBEDDING, Fit, HEAD, WeightSource, expected_tensors},
    lora::{Adapter, EMBEDDING_MODULE, HEAD_MODULE, LoraError, Merger},
    quant::{QuantError, quantize_rows},
};

/// Which weights of the base are merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeBase {
    /// The floats that are stored.
    Floats,
    /// What LLM.int8() makes of them, which is what an adapter trained in 8 bit saw.
    Dequantized,
}

/// Adding the adapter or taking it off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// W + s·B·A.
    Merge,
    /// W - s·B·A, off by the roundings of both ways.
    Unmerge,
}

/// Why an adapter cannot be merged.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The base cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The adapter does not fit, or breaks the weights.
    #[error(transparent)]
    Adapter(#[from] LoraError),
    /// A weight cannot be quantised.
    #[error("tensor `{name}`")]
    Quant {
        /// The tensor.
        name: String,
        /// Why.
        source: QuantError,
    },
    /// The base's floats are gone.
    #[error("the base is stored as int8: there are no float weights to merge into")]
    Int8Base,
    /// Taking off needs what merging has overwritten.
    #[error("{0} cannot be taken off again: what it stood in place of is not stored")]
    Overwritten(&'static str),
}

/// What becomes of a tensor of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Kept,
    /// The adapter's own stands in its place.
    Replaced,
    /// The adapter is merged into it.
    Merged,
}

/// A tensor to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedPart {
    /// Its name in a checkpoint.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// The format to write it in, as safetensors names it.
    pub dtype: &'static str,
    /// What becomes of it.
    pub change: Change,
}

/// A base and an adapter that fit each other.
#[derive(Debug)]
pub struct Merging {
    checkpoint: Checkpoint,
    adapter: Adapter,
    base: MergeBase,
    direction: Direction,
    /// The output matrix was the embedding and is written by itself.
    untied: bool,
    tokens: usize,
}

impl Merging {
    /// Checks that the two fit and can be merged so.
    ///
    /// # Errors
    ///
    /// [`MergeError`].
    pub fn new(
        checkpoint: Checkpoint,
        adapter: Adapter,
        base: MergeBase,
        direction: Direction,
    ) -> Result<Self, MergeError> {
        let config = checkpoint.config();
        Fit::of(config).check(&adapter)?;
        if checkpoint.is_int8() && base == MergeBase::Floats {
            return Err(MergeError::Int8Base);
        }
        if direction == Direction::Unmerge {
            if adapter.config.use_dora {
                return Err(MergeError::Overwritten("DoRA"));
            }
            // A saved copy of the base's own embedding is no change of it.
            let branches = [(EMBEDDING_MODULE, EMBEDDING), (HEAD_MODULE, HEAD)];
            let copied = |name: &String| {
                branches
                    .iter()
                    .any(|(module, tensor)| name == tensor && adapter.modules.contains_key(*module))
            };
            if !adapter.whole.keys().all(copied) {
                return Err(MergeError::Overwritten("a tensor held in full"));
            }
        }
        let tokens = adapter.whole.get(EMBEDDING).map_or(config.vocab_size, |w| w.shape[0]);
        let own_head = adapter.whole.contains_key(HEAD)
            || [EMBEDDING_MODULE, HEAD_MODULE].iter().any(|m| adapter.modules.contains_key(*m))
            || (adapter.whole.contains_key(EMBEDDING) && tokens == config.vocab_size);
        let untied = config.tied && own_head;
        Ok(Self { checkpoint, adapter, base, direction, untied, tokens })
    }

    /// Returns the base.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the adapter.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Returns every tensor to write, in the order of the forward pass.
    pub fn parts(&self) -> Vec<MergedPart> {
        let stored: std::collections::BTreeMap<_, _> = self.checkpoint.tensors().collect();
        let mut tensors = expected_tensors(self.checkpoint.config());
        if self.untied {
            tensors.push((HEAD.to_owned(), tensors[0].1.clone()));
        }
        let part = |(name, mut shape): (String, Vec<usize>)| {
            let embeds = name == EMBEDDING || name == HEAD;
            if embeds {
                shape[0] = self.tokens;
            }
            let source = if name == HEAD && self.untied { EMBEDDING } else { &name };
            let dtype = match (self.base, stored.get(source).map(|stored| stored.dtype_name())) {
                (MergeBase::Dequantized, _) | (_, Some("F16")) => "F16",
                (_, Some("BF16")) => "BF16",
                _ => "F32",
            };
            let module = name.strip_suffix(".weight").unwrap_or_default();
            let change = if self.adapter.modules.contains_key(module) {
                Change::Merged
            } else if self.adapter.whole.contains_key(&name) {
                Change::Replaced
            } else {
                Change::Kept
            };
            MergedPart { name, shape, dtype, change }
        };
        tensors.into_iter().map(part).collect()
    }

    /// Appends rows of a part as they are to be written, in f32 but exact in its format; returns the
    /// largest change of a value.
    ///
    /// A vector is one row.
    ///
    /// # Errors
    ///
    /// [`MergeError`]; [`LoraError::NotFinite`] for a value that is not finite in its format.
    pub fn read(
        &mut self,
        part: &MergedPart,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<f32, MergeError> {
        let width = part.shape.last().copied().unwrap_or_default();
        let from = out.len();
        let kept =
            self.adapter.whole.get(&part.name).filter(|_| self.direction == Direction::Merge);
        match kept {
            Some(whole) => out.extend_from_slice(&whole.values[first * width..][..rows * width]),
            None => self.read_base(part, width, first, rows, out)?,
        }
        let round = rounding(part.dtype);
        let before: Vec<f32> = out[from..].to_vec();
        let module = part.name.strip_suffix(".weight").unwrap_or_default();
        if let Some(low) = self.adapter.modules.get(module) {
            let merger = Merger::new(module, low);
            match self.direction {
                Direction::Merge => drop(merger.merge(first, &mut out[from..])),
                Direction::Unmerge => {
                    let delta = merger.delta(first, rows);
                    out[from..].iter_mut().zip(delta).for_each(|(w, delta)| *w -= round(delta));
                }
            }
        }
        let mut largest = 0.0_f32;
        for (value, before) in out[from..].iter_mut().zip(before) {
            *value = round(*value);
            if !value.is_finite() {
                return Err(LoraError::NotFinite(part.name.clone()).into());
            }
            largest = largest.max((*value - before).abs());
        }
        Ok(if part.change == Change::Merged { largest } else { 0.0 })
    }

    fn read_base(
        &mut self,
        part: &MergedPart,
        width: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), MergeError> {
        let source = if part.name == HEAD && self.untied { EMBEDDING } else { &part.name };
        let from = out.len();
        self.checkpoint.read(source, width, first, rows, out)?;
        let is_int8 = part.name.ends_with("_proj.weight");
        if self.base == MergeBase::Dequantized && is_int8 && !self.checkpoint.is_int8() {
            let quantized = quantize_rows(&out[from..], rows, width);
            let (codes, scales) = quantized
                .map_err(|source| MergeError::Quant { name: part.name.clone(), source })?;
            let codes = codes.chunks(width).zip(scales);
            // In the order of bitsandbytes' `int8_vectorwise_dequant`.
            let values = codes.flat_map(|(row, scale)| {
                row.iter().map(move |code| f32::from(*code) * scale * (1.0 / 127.0))
            });
            out.truncate(from);
            out.extend(values);
        }
        Ok(())
    }

    /// Changes the base's `config.json` to that of what is written.
    pub fn change_config(&self, fields: &mut Map<String, Value>) {
        if self.tokens != self.checkpoint.config().vocab_size {
            fields.insert("vocab_size".into(), self.tokens.into());
        }
        if self.untied {
            fields.insert("tie_word_embeddings".into(), false.into());
        }
        if self.base == MergeBase::Dequantized {
            fields.remove("quantization_config");
            for name in ["dtype", "torch_dtype"] {
                if fields.contains_key(name) {
                    fields.insert(name.into(), "float16".into());
                }
            }
        }
    }

    /// Returns what a reader should know of the result.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = [self.checkpoint.notes(), &*self.adapter.notes].concat();
        if self.untied {
            notes.push(
                "the output matrix was the embedding and is written by itself: the adapter \
                 changes one of the two"
                    .into(),
            );
        }
        notes
    }
}

/// Returns the bytes of values that are exact in their format.
pub fn bytes_in(values: &[f32], dtype: &str) -> Vec<u8> {
    match dtype {
        "F16" => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        "BF16" => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn rounding(dtype: &str) -> fn(f32) -> f32 {
    match dtype {
        "F16" => |x| f16::from_f32(x).to_f32(),
        "BF16" => |x| bf16::from_f32(x).to_f32(),
        _ => |x| x,
    }
}
