//! Random checkpoints of real shapes, for measurements that need the size and not the knowledge.
//!
//! Seeded and streamed: a value depends on seed, tensor name and position alone, and no more than
//! a piece of one tensor is in memory. Matrices are N(0, 0.02), drawn from 65,536 equally likely
//! quantiles; norms are 1.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{CheckpointError, Config, WeightSource, expected_tensors};
use crate::{
    kernels::matrix::WeightType,
    stats::{Generator, Seed},
};

/// Standard deviation of every matrix; `initializer_range` of the published configurations.
pub const SPREAD: f64 = 0.02;

/// Largest shard.
const SHARD_BYTES: u64 = 2 << 30;

/// Values generated at once.
const PIECE_VALUES: usize = 1 << 22;

/// The shapes there are.
pub const SHAPES: [&str; 5] = ["s", "m", "tinyllama", "llama-7b", "llama-13b"];

/// Why a checkpoint cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SynthError {
    /// No such shape.
    #[error("no shape `{shape}`; there are {}", SHAPES.join(", "))]
    Shape {
        /// What was asked for.
        shape: String,
    },
    /// The folder holds files already.
    #[error("`{0}` is not an empty folder")]
    NotEmpty(PathBuf),
    /// The values to write cannot be had.
    #[error("weights")]
    Values(#[source] Box<CheckpointError>),
    /// A file cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Returns the `config.json` of a shape.
///
/// Source: the published configurations of TinyLlama-1.1B and LLaMA 7B and 13B; `s` and `m` are
/// those of llama2.c's 15M and 110M models.
///
/// # Errors
///
/// [`SynthError::Shape`] if there is no such shape.
pub fn config(shape: &str, weight_type: WeightType) -> Result<Value, SynthError> {
    let (hidden, layers, heads, kv_heads, inner, tied) = match shape {
        "s" => (288, 6, 6, 6, 768, true),
        "m" => (768, 12, 12, 12, 2048, true),
        "tinyllama" => (2048, 22, 32, 4, 5632, false),
        "llama-7b" => (4096, 32, 32, 32, 11008, false),
        "llama-13b" => (5120, 40, 40, 40, 13824, false),
        _ => return Err(SynthError::Shape { shape: shape.to_owned() }),
    };
    let dtype = match weight_type {
        WeightType::F32 => "float32",
        WeightType::F16 => "float16",
        WeightType::Bf16 | WeightType::Bf16Rounded => "bfloat16",
    };
    Ok(json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": 32000,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": SPREAD,
        "torch_dtype": dtype,
    }))
}

/// The random values of a seed.
#[derive(Debug, Clone)]
pub struct RandomWeights {
    seed: Seed,
    quantiles: Vec<f32>,
}

impl RandomWeights {
    /// Returns the values of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self::with_spread(seed, SPREAD)
    }

    /// Returns the values of `seed`, with this standard deviation.
    pub fn with_spread(seed: Seed, spread: f64) -> Self {
        Self { seed, quantiles: quantiles(spread) }
    }

    /// Appends the values `first..first + len` of a tensor.
    fn values(&self, name: &str, first: usize, len: usize, out: &mut Vec<f32>) {
        /// Values that share a sequence of random numbers.
        const RUN: usize = 4096;
        if name.contains("norm") {
            out.resize(out.len() + len, 1.0);
            return;
        }
        let digest = Sha256::digest(format!("medharness-synth-v1\n{}\n{name}", self.seed.0));
        let (head, _) = digest.split_first_chunk().expect("a digest has 32 bytes");
        let seed = Seed(u64::from_be_bytes(*head));
        let start = out.len();
        out.resize(start + len, 0.0);
        let runs = first / RUN..(first + len).div_ceil(RUN);
        let mut pieces = Vec::new();
        let mut rest = &mut out[start..];
        for run in runs {
            let from = (run * RUN).max(first);
            let end = ((run + 1) * RUN).min(first + len);
            let (piece, behind) = rest.split_at_mut(end - from);
            pieces.push((run, from % RUN, piece));
            rest = behind;
        }
        pieces.into_par_iter().for_each(|(run, skip, piece)| {
            let mut random = Generator::numbered(seed, run as u64);
            let draws = std::iter::repeat_with(|| random.next_u64())
                .flat_map(|bits| (0..4).map(move |i| (bits >> (16 * i)) & 0xffff));
            for (value, draw) in piece.iter_mut().zip(draws.skip(skip)) {
                *value = self.quantiles[usize::try_from(draw).expect("16 bits")];
            }
        });
    }
}

impl WeightSource for RandomWeights {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        self.values(name, first * row_len, rows * row_len, out);
        Ok(())
    }
}

/// Returns the quantiles of N(0, spread) at the middles of 65,536 equal parts.
fn quantiles(spread: f64) -> Vec<f32> {
    let parts = 1 << 16;
    // Newton's method on the distribution function, from the neighbour before.
    let mut z = -4.5;
    (0..parts)
        .map(|i| {
            let want = (f64::from(i) + 0.5) / f64::from(parts);
            for _ in 0..8 {
                let below = 0.5 * libm::erfc(-z / std::f64::consts::SQRT_2);
                let density = libm::exp(-0.5 * z * z) / std::f64::consts::TAU.sqrt();
                z += ((want - below) / density).clamp(-0.5, 0.5);
            }
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            let value = (z * spread) as f32;
            value
        })
        .collect()
}

/// Writes a checkpoint of random weights to an empty or new folder.
///
/// `watch` is called with the bytes written so far and in total.
///
/// # Errors
///
/// [`SynthError`] if the shape is unknown or the folder cannot be written.
pub fn write(
    shape: &str,
    weight_type: WeightType,
    seed: Seed,
    folder: &Path,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<(), SynthError> {
    let json = config(shape, weight_type)?;
    let mut source = RandomWeights::new(seed);
    write_checkpoint(&json, weight_type, &mut source, folder, watch)
}

/// Writes the checkpoint of a configuration with values from `source` to an empty or new folder.
///
/// `watch` is called with the bytes written so far and in total.
///
/// # Errors
///
/// [`SynthError`] if the source lacks a tensor or the folder cannot be written.
///
/// # Panics
///
/// If the configuration is not one that this program reads.
pub fn write_checkpoint(
    json: &Value,
    weight_type: WeightType,
    source: &mut dyn WeightSource,
    folder: &Path,
    watch: &mut dyn FnMut(u64, u64),
) -> Result<(), SynthError> {
    let config = Config::parse(&json.to_string()).expect("the caller's configuration is sound");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SynthError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    if folder.read_dir().map_err(failed(folder))?.next().is_some() {
        return Err(SynthError::NotEmpty(folder.to_owned()));
    }
    let shards = shards(&config, weight_type);
    let total: u64 = shards.iter().flatten().map(|tensor| tensor.bytes).sum();
    let mut written = 0;
    let mut map = Map::new();
    for (i, tensors) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
        };
        map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
        let path = folder.join(name);
        let mut watch = |bytes| {
            written += bytes;
            watch(written, total);
        };
        write_shard(&path, tensors, weight_type, source, &mut watch)
            .map_err(|error| error.at(&path))?;
    }
    if shards.len() > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    // Last, so that a folder with it is complete.
    write_json(&folder.join("config.json"), json)
}

fn write_json(path: &Path, value: &Value) -> Result<(), SynthError> {
    std::fs::write(path, format!("{value:#}\n"))
        .map_err(|source| SynthError::Write { path: path.to_owned(), source })
}

/// A tensor to write.
struct Planned {
    name: String,
    shape: Vec<usize>,
    bytes: u64,
}

/// Divides the tensors into shards in the order of the forward pass.
fn shards(config: &Config, weight_type: WeightType) -> Vec<Vec<Planned>> {
    let mut shards: Vec<Vec<Planned>> = vec![Vec::new()];
    let mut size = 0;
    for (name, shape) in expected_tensors(config) {
        let bytes = (shape.iter().product::<usize>() * weight_type.bytes()) as u64;
        if size > 0 && size + bytes > SHARD_BYTES {
            shards.push(Vec::new());
            size = 0;
        }
        size += bytes;
        shards.last_mut().expect("begun with one").push(Planned { name, shape, bytes });
    }
    shards
}

fn write_shard(
    path: &Path,
    tensors: &[Planned],
    weight_type: WeightType,
    source: &mut dyn WeightSource,
    written: &mut dyn FnMut(u64),
) -> Result<(), ShardError> {
    let dtype = match weight_type {
        WeightType::F32 => "F32",
        WeightType::F16 => "F16",
        WeightType::Bf16 | WeightType::Bf16Rounded => "BF16",
    };
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut offset = 0;
    for Planned { name, shape, bytes } in tensors {
        let end = offset + bytes;
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] });
        header.insert(name.clone(), entry);
        offset = end;
    }
    let mut header = Value::Object(header).to_string();
    // The format asks for data that begin at a multiple of eight.
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let (mut values, mut bytes) = (Vec::new(), Vec::new());
    for tensor in tensors {
        let rows = tensor.shape[0];
        let row_len = tensor.shape[1..].iter().product::<usize>().max(1);
        let step = (PIECE_VALUES / row_len).max(1);
        for first in (0..rows).step_by(step) {
            values.clear();
            bytes.clear();
            source.read(&tensor.name, row_len, first, step.min(rows - first), &mut values)?;
            match weight_type {
                WeightType::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
                WeightType::F16 => {
                    bytes.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()));
                }
                WeightType::Bf16 | WeightType::Bf16Rounded => {
                    bytes.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
                }
            }
            file.write_all(&bytes)?;
            written(bytes.len() as u64);
        }
    }
    Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?)
}

/// Why a shard cannot be written: its values or its file.
enum ShardError {
    Values(CheckpointError),
    File(io::Error),
}

impl ShardError {
    fn at(self, path: &Path) -> SynthError {
        match self {
            Self::Values(source) => SynthError::Values(Box::new(source)),
            Self::File(source) => SynthError::Write { path: path.to_owned(), source },
        }
    }
}

impl From<CheckpointError> for ShardError {
    fn from(error: CheckpointError) -> Self {
        Self::Values(error)
    }
}

impl From<io::Error> for ShardError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}
