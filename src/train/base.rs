//! Base models from nothing: a tokenizer learnt, random weights, and a curriculum to train them on.
//!
//! For models of some hundred thousand weights alone: the random weights are drawn for them. Keys
//! begin equal to queries in every block, so that from the start a token attends to its like. On
//! lists of three things (154 things, width 96, three layers) the letter of a thing was so found in
//! 99 % after 350 updates; with keys of their own in 74 % after 400, the last step of it just begun.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Dataset, TrainError};
use crate::{
    corpus::miniature::{Document, Stage},
    kernels::matrix::WeightType,
    llama::{
        Checkpoint, CheckpointError, WeightSource,
        synth::{self, RandomWeights},
        tokenizer::{Tokenizer, learn, learnt_config},
    },
    stats::{Generator, Seed},
    store::{StoreError, write_whole},
};

/// Longest sequence of a base model, in tokens: the longest row of training data has about 180.
const CONTEXT: usize = 512;

/// The base models of the miniature study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BaseSize {
    /// 1.2M weights.
    Small,
    /// 1.8M weights.
    Large,
}

impl BaseSize {
    /// Both, the small one first.
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    /// Returns its name, which is its folder's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    /// Returns the `config.json` of a model with `vocabulary` tokens.
    pub fn config(self, vocabulary: usize) -> Value {
        let (hidden, layers, heads, inner) = match self {
            Self::Small => (96, 6, 4, 256),
            Self::Large => (128, 6, 4, 320),
        };
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "hidden_act": "silu",
            "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "vocab_size": vocabulary,
            "tie_word_embeddings": true,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "initializer_range": self.spread(),
            "torch_dtype": "float16",
        })
    }

    /// Standard deviation of the random weights: near `1 / sqrt(width)`. At 0.02, the usual one of
    /// wide models, the lists were not learnt within 400 updates.
    fn spread(self) -> f64 {
        match self {
            Self::Small => 0.1,
            Self::Large => 0.09,
        }
    }
}

/// Random values, keys equal to queries.
struct Alike(RandomWeights);

impl WeightSource for Alike {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        self.0.read(&name.replace("k_proj", "q_proj"), row_len, first, rows, out)
    }
}

/// Writes a model that has learnt nothing but its tokenizer to a new or empty folder.
///
/// # Errors
///
/// [`TrainError::Synth`] or [`TrainError::Store`] if the folder cannot be written.
pub fn write_random<T: AsRef<str>>(
    size: BaseSize,
    texts: impl IntoIterator<Item = T>,
    vocabulary: usize,
    seed: Seed,
    folder: &Path,
) -> Result<(), TrainError> {
    let tokenizer = learn(texts, vocabulary);
    let tokens = tokenizer["model"]["vocab"].as_object().map_or(0, serde_json::Map::len);
    let mut weights = Alike(RandomWeights::with_spread(seed.derive(size.name(), 0), size.spread()));
    let config = size.config(tokens);
    synth::write_checkpoint(&config, WeightType::F32, &mut weights, folder, &mut |_, _| {})?;
    for (name, json) in
        [("tokenizer.json", tokenizer), ("tokenizer_config.json", learnt_config(CONTEXT))]
    {
        write_whole(&folder.join(name), format!("{json:#}\n").as_bytes())?;
    }
    Ok(())
}

/// Returns the documents of a curriculum in the order in which they are read: stage after stage,
/// each as often as it says, shuffled anew each time; of several kinds [`Stage::TURN`] of each in
/// turn.
pub fn reading_order(stages: &[Stage], seed: Seed) -> Vec<&Document> {
    let mut order = Vec::new();
    for (number, stage) in (0..).zip(stages) {
        let mut generator = Generator::numbered(seed, number);
        for _ in 0..stage.passes {
            let mut kinds: Vec<Vec<&Document>> =
                stage.kinds.iter().map(|kind| kind.iter().collect()).collect();
            kinds.iter_mut().for_each(|kind| generator.shuffle(kind));
            let turns =
                kinds.iter().map(|kind| kind.len().div_ceil(Stage::TURN)).max().unwrap_or(0);
            for turn in 0..turns {
                for kind in &kinds {
                    order.extend(kind.chunks(Stage::TURN).nth(turn).unwrap_or_default());
                }
            }
        }
    }
    order
}

/// Returns the rows of a curriculum in the order in which they are read.
///
/// # Errors
///
/// As [`Dataset::of_documents`].
pub fn curriculum(
    stages: &[Stage],
    seed: Seed,
    tokenizer: &Tokenizer,
) -> Result<Dataset, TrainError> {
    Dataset::of_documents(&reading_order(stages, seed), tokenizer)
}

/// Writes the trained model in `trained` as it is committed: weights in f16, and nothing that the
/// program does not read.
///
/// `begun` is the folder of [`write_random`], from which configuration and tokenizer are taken;
/// `out` must be new or empty.
///
/// # Errors
///
/// If a folder cannot be read or written.
pub fn write_base(begun: &Path, trained: &Path, out: &Path) -> Result<(), TrainError> {
    let read = |name: &str| {
        let path = begun.join(name);
        let failed = |source| StoreError::Io { action: "read", path: path.clone(), source };
        fs::read(&path).map_err(failed)
    };
    let config = read("config.json")?;
    write_whole(&trained.join("config.json"), &config)?;
    let config: Value = serde_json::from_slice(&config).map_err(|error| TrainError::Damaged {
        path: begun.join("config.json"),
        problem: format!("is no configuration: {error}"),
    })?;
    let mut weights = Checkpoint::open(trained)?;
    synth::write_checkpoint(&config, WeightType::F16, &mut weights, out, &mut |_, _| {})?;
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        write_whole(&out.join(name), &read(name)?)?;
    }
    Ok(())
}
