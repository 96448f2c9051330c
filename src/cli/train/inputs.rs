//! Everything a training reads before it begins, checked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Args, CommandError, note};
use crate::{
    cli::fetch::fetched,
    corpus::{Overlap, OverlapSearch, OverlapSettings, Row, read_rows},
    exam::{Exam, LoadOptions},
    kernels::{self, matrix::WeightType},
    llama::{Checkpoint, Hold, Llama, tokenizer::Tokenizer},
    lora::{Attach, LoraConfig},
    models::hub::{HubSpec, Parts},
    quant::{Arithmetic, OUTLIER_THRESHOLD},
    store::identify_file,
    train::{BaseFormat, Dataset, Estimate, ExamOverlap, Lineage, Recipe, estimate, trainable},
};

/// Files that make a folder of weights a model.
const MODEL_FILES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
];

/// Everything a training reads.
pub(super) struct Inputs {
    pub(super) folder: PathBuf,
    pub(super) rows: Vec<Row>,
    pub(super) tokenizer: Tokenizer,
    pub(super) dataset: Dataset,
    pub(super) lineage: Lineage,
    pub(super) estimate: Estimate,
    pub(super) trained: u64,
    checkpoint: Checkpoint,
    adapter: Option<LoraConfig>,
}

impl Inputs {
    /// Reads model, tokenizer and rows, and looks for exam questions in the rows.
    pub(super) fn read(args: &Args, recipe: &Recipe, progress: bool) -> Result<Self, CommandError> {
        let (folder, name) = match HubSpec::is_meant(&args.model) {
            true => {
                let found = fetched(&args.model, Parts::All, progress)?;
                (found.dir, found.repository)
            }
            false => (PathBuf::from(&args.model), args.model.clone()),
        };
        let checkpoint = Checkpoint::open(&folder).map_err(CommandError::input)?;
        let tokenizer = Tokenizer::from_dir(&folder).map_err(CommandError::input)?;
        for remark in checkpoint.notes().iter().chain(tokenizer.notes()) {
            note(format_args!("note: {remark}"));
        }
        let config = checkpoint.config();
        if recipe.text.max_length > config.context {
            let (asked, limit) = (recipe.text.max_length, config.context);
            let text = format!("text.max_length is {asked}, the model's context {limit}");
            return Err(CommandError::input(text).with_hint("lower it in the recipe"));
        }
        let rows = read_rows(&args.data).map_err(CommandError::input)?;
        let data = identify_file(&args.data).map_err(CommandError::input)?;
        let encoding = recipe.text.encoding(&tokenizer).map_err(CommandError::input)?;
        let dataset = Dataset::prepare(&rows, &recipe.data, &encoding, &tokenizer);
        let dataset = dataset.map_err(CommandError::input)?;
        let overlap = overlaps(args, &rows)?;
        let adapter = adapter_config(recipe, &name)?;
        let trained = trainable(config, adapter.as_ref())
            .ok_or_else(|| CommandError::input("no module of the model matches lora.targets"))?;
        let mut lengths = dataset.lengths();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        let tokens = lengths.iter().take(recipe.batch.micro).sum();
        let mut estimate = estimate(config, recipe, trained, tokens);
        let items = dataset.train.iter().chain(&dataset.validation);
        let held: usize = items.map(|item| item.example.ids.len()).sum();
        // An id and a label a token; a row's text, and the file's while it is read.
        estimate.rows = 12 * held as u64 + 2 * data.bytes;
        let mut base = Vec::new();
        let extra = MODEL_FILES.map(|name| folder.join(name));
        for path in checkpoint.files().chain(extra.iter().map(PathBuf::as_path)) {
            if path.is_file() {
                base.push(identify_file(path).map_err(CommandError::input)?);
            }
        }
        let lineage = Lineage {
            format_version: 1,
            recipe: recipe.clone(),
            base,
            base_folder: std::path::absolute(&folder)
                .unwrap_or(folder.clone())
                .display()
                .to_string(),
            data,
            rows: rows.len(),
            overlap,
            kernel_set: kernels::float::Kernels::get().name.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self {
            folder,
            rows,
            tokenizer,
            dataset,
            lineage,
            estimate,
            trained: trained.elements,
            checkpoint,
            adapter,
        })
    }

    /// Builds the network with what is to be trained.
    pub(super) fn network(&self, recipe: &Recipe) -> Result<Llama, CommandError> {
        // Opened anew: reading moves through the files.
        let mut checkpoint = Checkpoint::open(&self.folder).map_err(CommandError::input)?;
        let Some(config) = &self.adapter else {
            return checkpoint.load(Hold::Trainable).map_err(CommandError::input);
        };
        let hold = match recipe.weights.base {
            BaseFormat::F32 => Hold::Frozen(WeightType::F32),
            BaseFormat::Bf16 => Hold::Frozen(WeightType::Bf16),
            BaseFormat::F16 => Hold::Frozen(WeightType::F16),
            BaseFormat::Int8 => Hold::Int8 {
                floats: self.checkpoint.widest_type(),
                arithmetic: Arithmetic::CpuEval,
                threshold: OUTLIER_THRESHOLD,
            },
        };
        let mut network = checkpoint.load(hold).map_err(CommandError::input)?;
        let seed = recipe.lora.as_ref().map_or(0, |lora| lora.seed);
        let adapter = network.fresh_adapter(config, seed).map_err(CommandError::input)?;
        network.attach(&adapter, Attach::Trainable).map_err(CommandError::internal)?;
        Ok(network)
    }

    /// Puts beside trained weights what makes their folder a model.
    pub(super) fn write_model_files(&self, out: &Path) -> Result<(), CommandError> {
        for name in MODEL_FILES {
            let from = self.folder.join(name);
            if !from.is_file() {
                continue;
            }
            let mut bytes = fs::read(&from)?;
            if name == "config.json" {
                let mut json: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(&bytes).map_err(CommandError::internal)?;
                for key in ["torch_dtype", "dtype"] {
                    json.entry(key).and_modify(|dtype| *dtype = "float32".into());
                }
                bytes = serde_json::to_vec_pretty(&json).map_err(CommandError::internal)?;
            }
            crate::store::write_whole(&out.join(name), &bytes).map_err(CommandError::internal)?;
        }
        Ok(())
    }
}

/// Looks for each exam's questions in the rows; refuses where there are some, unless allowed.
fn overlaps(args: &Args, rows: &[Row]) -> Result<Vec<ExamOverlap>, CommandError> {
    let name = args.data.display().to_string();
    let mut found = Vec::new();
    for path in &args.exam {
        let exam = Exam::read(path, &LoadOptions::default()).map_err(CommandError::input)?;
        let mut search = OverlapSearch::new(&exam, OverlapSettings::default());
        for (number, row) in (1..).zip(rows) {
            search.add(&name, number, row);
        }
        let overlap: Overlap = search.finish();
        if !args.allow_overlap {
            overlap.require_none().map_err(|error| {
                CommandError::check(error)
                    .with_hint("take them out (`medharness corpus overlap`), or --allow-overlap")
            })?;
        }
        found.push(ExamOverlap {
            exam: overlap.exam.clone(),
            exam_sha256: overlap.exam_sha256.clone(),
            questions: overlap.items.len(),
            overlapping: overlap.at_least(crate::corpus::OverlapLevel::Overlapping).count(),
            overlapping_rows: overlap.overlapping_rows.len(),
        });
    }
    Ok(found)
}

/// The adapter's settings, as PEFT writes them.
fn adapter_config(recipe: &Recipe, base: &str) -> Result<Option<LoraConfig>, CommandError> {
    let Some(lora) = &recipe.lora else { return Ok(None) };
    let json = serde_json::json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.targets,
    });
    LoraConfig::parse(&json.to_string()).map(Some).map_err(CommandError::input)
}
