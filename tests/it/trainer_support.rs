//! Small trainings as `golden/make/trainer_lib.py` has them.

use std::path::{Path, PathBuf};

use medharness::{
    corpus::{Row, Template, read_rows},
    llama::{CheckpointError, Config, Hold, Llama, WeightSource, tokenizer::Tokenizer},
    train::{Begin, Data, Dataset, End, Era, Text, Validation},
};
use serde_json::Value;

use crate::llama_support::splitmix64;

/// Returns the project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the tokenizer of the small network.
pub(crate) fn tiny_tokenizer() -> PathBuf {
    root().join("golden/tokenizers/tiny/tokenizer.model")
}

/// Returns the committed rows.
pub(crate) fn rows() -> Vec<Row> {
    read_rows(&root().join("golden/train/rows.json")).expect("golden rows")
}

/// Weights by hash of the tensor's name: matrices within ±0.1, the last norm 1, those of the blocks as
/// said.
pub(crate) struct Fresh {
    pub(crate) norm: f32,
}

impl WeightSource for Fresh {
    fn read(
        &mut self,
        name: &str,
        row_len: usize,
        first: usize,
        rows: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), CheckpointError> {
        let hash = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        let start = format!("trainer/{name}").bytes().fold(0xCBF2_9CE4_8422_2325, hash);
        for i in first * row_len..(first + rows) * row_len {
            let z = splitmix64(start.wrapping_add(i as u64)) >> 40;
            let value = (z as f32 / 16_777_216.0 - 0.5) * 0.2;
            out.push(match name {
                _ if name.contains("layernorm") => self.norm,
                _ if name.contains("norm") => 1.0,
                _ => value,
            });
        }
        Ok(())
    }
}

/// Returns the small network of a golden file.
pub(crate) fn small_network(golden: &Value, hold: Hold) -> Llama {
    let config = Config::parse(&golden["config"].to_string()).expect("golden configuration");
    Llama::new(config, &mut Fresh { norm: 1.0 }, hold).expect("the source gives every tensor")
}

/// Returns a golden file.
pub(crate) fn golden(name: &str) -> Value {
    let path = root().join("golden/train").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).expect("golden")).expect("JSON")
}

/// Returns settings of text and data of a golden case.
pub(crate) fn settings(case: &Value, order: Era) -> (Text, Data) {
    let text = Text {
        template: Template::Medalpaca,
        max_length: size(&case["max_length"]),
        bos: Begin::Declared(case["bos"] == true),
        end: End::Id(2),
        train_on_inputs: case["train_on_inputs"] == true,
        special_tokens: Some(true),
    };
    let validation = match case["validation"].as_u64() {
        Some(rows) => Validation::Rows(rows as usize),
        None => Validation::Share(case["validation"].as_f64().expect("a share")),
    };
    (text, Data { validation, seed: 42, order, group_by_length: case["group"] == true })
}

/// Returns the encoded rows of a golden case.
pub(crate) fn dataset(case: &Value, order: Era, rows: &[Row], tokenizer: &Path) -> Dataset {
    let tokenizer = Tokenizer::from_file(tokenizer).expect("a tokenizer");
    let (text, data) = settings(case, order);
    let encoding = text.encoding(&tokenizer).expect("tokens");
    Dataset::prepare(rows, &data, &encoding, &tokenizer).expect("encodes")
}

pub(crate) fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The script's digest: moved by any change of any element.
pub(crate) fn digest(values: impl Iterator<Item = i64>) -> u64 {
    let step = |total: i128, value: i64| (total * 1_000_003 + i128::from(value) + 101) % (1 << 61);
    u64::try_from(values.fold(0, step)).expect("below 2^61")
}

/// Writes the small network as a model's folder, with its tokenizer.
pub(crate) fn write_model(folder: &Path) {
    write_model_of(&golden("trainer.json")["config"], Fresh { norm: 1.0 }, folder);
}

/// Writes a network of this configuration as a model's folder, with the small network's tokenizer.
pub(crate) fn write_model_of(config: &Value, mut weights: Fresh, folder: &Path) {
    use safetensors::{
        Dtype,
        tensor::{TensorView, serialize},
    };
    let json = config.to_string();
    let config = Config::parse(&json).expect("golden configuration");
    let mut tensors = Vec::new();
    for (name, shape) in medharness::llama::expected_tensors(&config) {
        let row_len = *shape.last().expect("a shape");
        let rows = shape.iter().product::<usize>() / row_len;
        let mut values = Vec::new();
        weights.read(&name, row_len, 0, rows, &mut values).expect("gives all");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((name, shape, bytes));
    }
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("whole"))
    });
    let bytes = serialize(views, None).expect("serialises");
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("model.safetensors"), bytes).expect("written");
    std::fs::write(folder.join("config.json"), json).expect("written");
    std::fs::copy(tiny_tokenizer(), folder.join("tokenizer.model")).expect("copied");
}

/// A recipe for short trainings of the small network, as TOML.
pub(crate) fn recipe_text(lora: bool) -> String {
    let adapter = if lora {
        "[lora]\nrank = 4\nalpha = 16.0\ndropout = 0.1\ntargets = \"all-linear\"\nseed = 7\n"
    } else {
        ""
    };
    format!(
        "name = \"small\"\nabout = \"For tests.\"\n[weights]\nbase = \"f32\"\nrecompute = false\n{adapter}\
         [text]\ntemplate = \"alpaca-lora\"\nmax_length = 24\nbos = true\nend = \"tokenizer\"\n\
         train_on_inputs = true\n[data]\nvalidation = 3\nseed = 42\norder = \"current\"\n\
         group_by_length = false\n[batch]\nmicro = 2\naccumulation = 2\nnormalisation = \"tokens\"\n\
         remainder = \"own\"\npadding = \"none\"\n[optimizer]\nkind = \"adamw\"\nrate = 5e-3\n\
         beta1 = 0.9\nbeta2 = 0.999\neps = 1e-8\nweight_decay = 0.01\nmax_norm = 1.0\n[schedule]\n\
         shape = {{ kind = \"cosine\", cycles = 0.5 }}\nwarmup = 2.0\nepochs = 1.0\n[run]\n\
         eval_every = 4\nsave_every = 3\nkeep = 2\nkeep_best = true\npatience = 0\n\
         on_bad_step = \"stop\"\n[sources]\n"
    )
}
