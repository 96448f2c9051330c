//! Everything a training reads before it begins, checked: base model, tokenizer, rows, overlap.
//!
//! Nothing is written here. What a training's weights depend on ends up in its [`Lineage`]; whether
//! there is memory for it is left to the caller, who gets the [`Estimate`].

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    BaseFormat, Cost, Counts, Dataset, Estimate, ExamOverlap, Layout, Lineage, Outcome, Recipe,
    TrainError, estimate, loss_curve, report, trainable,
};
use crate::{
    corpus::{Overlap, OverlapLevel, OverlapSearch, OverlapSettings, Row, read_rows},
    exam::{Exam, LoadOptions},
    kernels::{self, matrix::WeightType},
    llama::{Checkpoint, Config, Hold, Llama, expected_tensors, tokenizer::Tokenizer},
    lora::{Attach, LoraConfig, Targets},
    quant::Arithmetic,
    store::{StoreError, identify_file, write_whole},
};

/// Files that, beside the weights, make a folder a model.
pub const MODEL_FILES: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// What to train on what.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Every setting.
    pub recipe: &'a Recipe,
    /// Folder of the base model.
    pub base: &'a Path,
    /// What an adapter's settings call it.
    pub base_name: &'a str,
    /// The file of rows.
    pub data: &'a Path,
    /// Exams whose questions must not stand in the rows.
    pub exams: &'a [PathBuf],
    /// Whether they may after all; it is recorded.
    pub allow_overlap: bool,
}

/// Everything a training needs, read and checked.
#[derive(Debug)]
pub struct Prepared {
    /// Folder of the base model.
    pub folder: PathBuf,
    /// The rows of the file.
    pub rows: Vec<Row>,
    /// The base model's tokenizer.
    pub tokenizer: Tokenizer,
    /// The rows as tokens, split.
    pub dataset: Dataset,
    /// What the weights will depend on.
    pub lineage: Lineage,
    /// Memory that will be needed.
    pub estimate: Estimate,
    /// Elements that are trained.
    pub trained: u64,
    /// What a reader should know of the model's files.
    pub notes: Vec<String>,
    /// How rows are joined to micro-batches.
    pub layout: Layout,
    widest: WeightType,
    /// Magnitude from which an activation is an outlier.
    threshold: f32,
    adapter: Option<LoraConfig>,
}

impl Prepared {
    /// Reads model, tokenizer and rows, and looks for exam questions in the rows.
    ///
    /// # Errors
    ///
    /// [`TrainError`] names what cannot be read or does not fit; [`TrainError::Overlap`] if exam
    /// questions stand in the rows and that was not allowed.
    pub fn read(request: &Request<'_>) -> Result<Self, TrainError> {
        let Request { recipe, base: folder, data, .. } = *request;
        let checkpoint = Checkpoint::open(folder)?;
        let tokenizer =
            Tokenizer::from_dir(folder).map_err(|error| TrainError::Tokenizer(Box::new(error)))?;
        if recipe.lora.is_none() && checkpoint.is_int8() {
            return Err(TrainError::Int8Base { path: folder.to_owned() });
        }
        let notes = [checkpoint.notes(), tokenizer.notes()].concat();
        let config = checkpoint.config();
        if recipe.text.max_length > config.context {
            let (asked, limit) = (recipe.text.max_length, config.context);
            return Err(TrainError::Context { asked, limit });
        }
        let rows = read_rows(data)?;
        let data = identify_file(data)?;
        let encoding = recipe.text.encoding(&tokenizer)?;
        let dataset = Dataset::prepare(&rows, &recipe.data, &encoding, &tokenizer)?;
        dataset.require_vocabulary(config.vocab_size)?;
        let overlap = overlaps(request, &rows)?;
        let adapter = adapter_config(recipe, request.base_name, config)?;
        let trained = trainable(config, adapter.as_ref()).ok_or(TrainError::NoTarget)?;
        let layout = Layout::of(recipe, config);
        let tokens =
            layout.most_tokens(dataset.lengths(), recipe.batch.micro, recipe.text.train_on_inputs);
        let validation = dataset.most_validation_tokens(layout);
        let stored = checkpoint.widest_type();
        let mut estimate = estimate(config, recipe, trained, stored, tokens, validation);
        let items = dataset.train.iter().chain(&dataset.validation);
        let held: usize = items.map(|item| item.example.ids.len()).sum();
        // An id and a label a token; the file's bytes while it is read, and the rows' texts, which take
        // more than the file where that is compressed (Parquet).
        let text = |row: &Row| row.instruction.len() + row.input.len() + row.output.len();
        let texts = rows.iter().map(text).sum::<usize>() as u64;
        estimate.rows = 12 * held as u64 + data.bytes + texts.max(data.bytes);
        let mut base = Vec::new();
        let extra = MODEL_FILES.map(|name| folder.join(name));
        for path in checkpoint.files().chain(extra.iter().map(PathBuf::as_path)) {
            if path.is_file() {
                base.push(identify_file(path)?);
            }
        }
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let lineage = Lineage {
            format_version: 1,
            recipe: recipe.clone(),
            base,
            base_folder: absolute.display().to_string(),
            data,
            rows: rows.len(),
            overlap,
            kernel_set: kernels::float::Kernels::get().name.to_owned(),
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self {
            folder: folder.to_owned(),
            rows,
            tokenizer,
            dataset,
            lineage,
            estimate,
            trained: trained.elements,
            notes,
            layout,
            widest: stored,
            threshold: checkpoint.outlier_threshold(),
            adapter,
        })
    }

    /// Builds the network with what is to be trained.
    ///
    /// # Errors
    ///
    /// [`TrainError`] if the weights cannot be read or the adapter does not fit them.
    pub fn network(&self) -> Result<Llama, TrainError> {
        // Opened anew: reading moves through the files.
        let mut checkpoint = Checkpoint::open(&self.folder)?;
        let Some(config) = &self.adapter else { return Ok(checkpoint.load(Hold::Trainable)?) };
        let recipe = &self.lineage.recipe;
        let int8 =
            |floats, arithmetic| Hold::Int8 { floats, arithmetic, threshold: self.threshold };
        let hold = match recipe.weights.base {
            BaseFormat::F32 => Hold::Frozen(WeightType::F32),
            BaseFormat::Bf16 => Hold::Frozen(WeightType::Bf16),
            BaseFormat::Bf16Rounded => Hold::Frozen(WeightType::Bf16Rounded),
            BaseFormat::F16 => Hold::Frozen(WeightType::F16),
            BaseFormat::Int8 => int8(self.widest, Arithmetic::CpuEval),
            BaseFormat::Int8Rounded => int8(WeightType::Bf16Rounded, Arithmetic::CpuEval),
            BaseFormat::Int8Dequantized => int8(self.widest, Arithmetic::CpuTrain),
        };
        let mut network = checkpoint.load(hold)?;
        let seed = recipe.lora.as_ref().map_or(0, |lora| lora.seed);
        let adapter = network.fresh_adapter(config, seed)?;
        network.attach(&adapter, Attach::Trainable)?;
        Ok(network)
    }

    /// Writes what belongs beside trained weights: the files that make the folder a model where all
    /// weights were trained, which is then opened as one, `loss.svg` and `train_report.md`. A report
    /// that is there stays where this process trained nothing.
    ///
    /// # Errors
    ///
    /// [`TrainError::Store`] if a file cannot be read or written; [`TrainError::Base`] or
    /// [`TrainError::Tokenizer`] if the folder is no model.
    pub fn write_beside(
        &self,
        out: &Path,
        outcome: &Outcome,
        mem_peak: Option<u64>,
    ) -> Result<(), TrainError> {
        if self.lineage.recipe.lora.is_none() {
            self.write_model_files(out)?;
            Checkpoint::open(out)?;
            Tokenizer::from_dir(out).map_err(|error| TrainError::Tokenizer(Box::new(error)))?;
        }
        let report_path = out.join("train_report.md");
        if outcome.updates_here == 0 && report_path.exists() {
            return Ok(());
        }
        let mem_peak = outcome.progress.mem_peak.max(mem_peak);
        let cost = Cost {
            trained: self.trained,
            counts: Counts::of(&self.dataset.train),
            mem_estimate: self.estimate.total(),
            mem_peak,
        };
        write_whole(&out.join("loss.svg"), loss_curve(&outcome.events).as_bytes())?;
        let report = report(&self.lineage, outcome, cost)?;
        Ok(write_whole(&report_path, report.as_bytes())?)
    }

    fn write_model_files(&self, out: &Path) -> Result<(), TrainError> {
        for name in MODEL_FILES {
            let from = self.folder.join(name);
            if !from.is_file() {
                continue;
            }
            let mut bytes = fs::read(&from).map_err(io("read", &from))?;
            if name == "config.json" {
                let damaged = |error: serde_json::Error| TrainError::Damaged {
                    path: from.clone(),
                    problem: format!("is no configuration: {error}"),
                };
                let mut json: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(&bytes).map_err(damaged)?;
                for key in ["torch_dtype", "dtype"] {
                    json.entry(key).and_modify(|dtype| *dtype = "float32".into());
                }
                bytes = serde_json::to_vec_pretty(&json).map_err(damaged)?;
            }
            write_whole(&out.join(name), &bytes)?;
        }
        Ok(())
    }
}

fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// Looks for each exam's questions in the rows; refuses where there are some, unless allowed.
fn overlaps(request: &Request<'_>, rows: &[Row]) -> Result<Vec<ExamOverlap>, TrainError> {
    let name = request.data.display().to_string();
    let mut found = Vec::new();
    for path in request.exams {
        let exam = Exam::read(path, &LoadOptions::default())?;
        let mut search = OverlapSearch::new(&exam, OverlapSettings::default());
        for (number, row) in (1..).zip(rows) {
            search.add(&name, number, row);
        }
        let overlap: Overlap = search.finish();
        if !request.allow_overlap {
            overlap.require_none()?;
        }
        found.push(ExamOverlap {
            exam: overlap.exam.clone(),
            exam_sha256: overlap.exam_sha256.clone(),
            questions: overlap.items.len(),
            overlapping: overlap.at_least(OverlapLevel::Overlapping).count(),
            overlapping_rows: overlap.overlapping_rows.len(),
        });
    }
    Ok(found)
}

/// The adapter's settings, as PEFT writes them.
fn adapter_config(
    recipe: &Recipe,
    base: &str,
    config: &Config,
) -> Result<Option<LoraConfig>, TrainError> {
    let Some(lora) = &recipe.lora else { return Ok(None) };
    let targets = match &lora.targets {
        Targets::Pattern(text) if text.eq_ignore_ascii_case("all-linear") => all_linear(config),
        targets => targets.clone(),
    };
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
        "target_modules": targets,
    });
    Ok(Some(LoraConfig::parse(&json.to_string())?))
}

/// The linear layers of the blocks as PEFT names them for `all-linear`: in full, or, where that is
/// 20 names or more, by their ends.
///
/// Source: PEFT 0.21.2, `_maybe_include_all_linear_layers` and `_find_minimal_target_modules`
/// (`MIN_TARGET_MODULES_FOR_OPTIMIZATION`), run on networks of two to four blocks.
fn all_linear(config: &Config) -> Targets {
    const SHORTENED_FROM: usize = 20;
    let tensors = expected_tensors(config);
    let names = tensors.iter().filter_map(|(name, _)| name.strip_suffix("_proj.weight"));
    let mut names: Vec<String> = names.map(|name| format!("{name}_proj")).collect();
    if names.len() >= SHORTENED_FROM {
        let end = |name: &String| name.rsplit('.').next().unwrap_or_default().to_owned();
        names = names.iter().map(end).collect();
    }
    names.sort_unstable();
    names.dedup();
    Targets::Names(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: PEFT 0.21.2 with two and three blocks.
    #[test]
    fn all_linear_is_written_as_the_names_that_peft_writes() {
        let config = |layers: usize| {
            let golden = include_str!("../../golden/train/trainer.json");
            let golden: serde_json::Value = serde_json::from_str(golden).expect("JSON");
            let mut config = golden["config"].clone();
            config["num_hidden_layers"] = layers.into();
            Config::parse(&config.to_string()).expect("a configuration")
        };
        let Targets::Names(names) = all_linear(&config(2)) else { panic!("no names") };
        assert_eq!((names.len(), &*names[0]), (14, "model.layers.0.mlp.down_proj"));
        let ends = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
        assert_eq!(all_linear(&config(3)), Targets::Names(ends.map(str::to_owned).into()));
    }
}
