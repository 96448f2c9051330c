//! `medharness quantize`: a checkpoint with int8 weights, as transformers and bitsandbytes read it.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use super::{CommandError, Context, Format};
use crate::{
    llama::{Checkpoint, WeightSource, expected_tensors},
    quant::{TensorFile, TensorSpec, quantization_config, quantize_rows, write_whole},
};

/// Write a checkpoint with int8 weights
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Checkpoint folder to read
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Folder to write; must not exist, be empty, or hold an interrupted run of this command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Form of the result on stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Names the input of a run until it is finished.
const JOURNAL: &str = "quantize.journal.json";

/// Bytes from which a new file is begun.
const SHARD_BYTES: u64 = 4 << 30;

/// Values read at a time.
const PIECE: usize = 4 << 20;

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    quantized_modules: usize,
    kept_tensors: usize,
    files_written: usize,
    files_found_whole: usize,
    bytes_before: u64,
    bytes_after: u64,
    notes: Vec<String>,
}

/// Quantises the checkpoint and prints a summary.
///
/// # Errors
///
/// Exit code 2 for an input that cannot be read or an output folder that holds something else, 3 if
/// writing fails.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if args.model.join("adapter_config.json").exists() {
        let text = format!(
            "{} holds an adapter: what is quantised is a whole model",
            args.model.display()
        );
        return Err(CommandError::input(text)
            .with_hint("`medharness merge` makes one of the adapter and its base"));
    }
    let mut checkpoint = Checkpoint::open(&args.model).map_err(CommandError::input)?;
    let config = quantized_config(&args.model)?;
    begin(args, &checkpoint)?;
    let shards = plan(&checkpoint)?;
    let total: u64 = shards.iter().flatten().map(|part| part.values).sum();
    let bar = if context.progress { ProgressBar::new(total) } else { ProgressBar::hidden() };
    let style = "{wide_bar} {percent} % {per_sec} values, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
    let mut summary = Summary {
        quantized_modules: shards.iter().flatten().filter(|part| part.is_int8()).count(),
        kept_tensors: shards.iter().flatten().filter(|part| !part.is_int8()).count(),
        files_written: 0,
        files_found_whole: 0,
        bytes_before: shards.iter().flatten().map(|part| part.bytes_before).sum(),
        bytes_after: 0,
        notes: checkpoint.notes().to_vec(),
    };
    let mut index = serde_json::Map::new();
    for (number, parts) in shards.iter().enumerate() {
        let name = shard_name(number, shards.len());
        let specs: Vec<TensorSpec> = parts.iter().flat_map(|part| part.specs.clone()).collect();
        summary.bytes_after += specs.iter().map(TensorSpec::bytes).sum::<u64>();
        index.extend(specs.iter().map(|spec| (spec.name.clone(), Value::from(name.as_str()))));
        let path = args.out.join(&name);
        if fs::metadata(&path).is_ok_and(|file| file.len() == TensorFile::length(&specs)) {
            summary.files_found_whole += 1;
            bar.inc(parts.iter().map(|part| part.values).sum());
            continue;
        }
        let mut file = TensorFile::create(&path, &specs).map_err(|e| failed(&path, e))?;
        for part in parts {
            part.write(&mut checkpoint, &mut file, &path)?;
            bar.inc(part.values);
        }
        file.finish().map_err(|e| failed(&path, e))?;
        summary.files_written += 1;
    }
    bar.finish_and_clear();
    if shards.len() > 1 {
        index.sort_keys();
        let index =
            json!({ "metadata": { "total_size": summary.bytes_after }, "weight_map": index });
        write_json(&args.out.join("model.safetensors.index.json"), &index)?;
    }
    copy_other_files(args)?;
    write_json(&args.out.join("config.json"), &config)?;
    let journal = args.out.join(JOURNAL);
    fs::remove_file(&journal).map_err(|e| failed(&journal, e))?;
    print(&summary, args, context)
}

fn print(summary: &Summary, args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let Summary { quantized_modules, kept_tensors, bytes_before, bytes_after, .. } = summary;
    match args.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(summary).map_err(CommandError::internal)?;
            writeln!(context.out, "{text}")?;
        }
        Format::Text | Format::Markdown => {
            let dash = if args.format == Format::Markdown { "- " } else { "" };
            writeln!(context.out, "{dash}int8 modules: {quantized_modules}")?;
            writeln!(context.out, "{dash}tensors kept as they are: {kept_tensors}")?;
            writeln!(context.out, "{dash}bytes: {bytes_before} -> {bytes_after}")?;
            let (written, whole) = (summary.files_written, summary.files_found_whole);
            writeln!(context.out, "{dash}files: {written} written, {whole} found whole")?;
            for note in &summary.notes {
                writeln!(context.out, "{dash}note: {note}")?;
            }
        }
    }
    Ok(())
}

/// A tensor of the input and what becomes of it.
struct Part {
    name: String,
    shape: Vec<usize>,
    specs: Vec<TensorSpec>,
    values: u64,
    bytes_before: u64,
}

impl Part {
    fn is_int8(&self) -> bool {
        self.specs.len() == 3
    }

    fn write(
        &self,
        checkpoint: &mut Checkpoint,
        file: &mut TensorFile,
        path: &Path,
    ) -> Result<(), CommandError> {
        let (rows, width) = match *self.shape {
            [rows, width] => (rows, width),
            _ => (1, self.shape.iter().product()),
        };
        let step = (PIECE / width.max(1)).max(1);
        let mut values = Vec::new();
        for first in (0..rows).step_by(step) {
            let count = step.min(rows - first);
            values.clear();
            checkpoint
                .read(&self.name, width, first, count, &mut values)
                .map_err(CommandError::input)?;
            let skip = |spec: &TensorSpec| spec.bytes() / rows as u64 * first as u64;
            let mut write = |spec: &TensorSpec, bytes: &[u8]| {
                file.write(&spec.name, skip(spec), bytes).map_err(|e| failed(path, e))
            };
            if let [weight, scale, _format] = &*self.specs {
                let (codes, scales) = quantize_rows(&values, count, width)
                    .map_err(|error| CommandError::input(Unquantized(self.name.clone(), error)))?;
                let codes: Vec<u8> = codes.iter().map(|code| code.cast_unsigned()).collect();
                let scales: Vec<u8> = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
                write(weight, &codes)?;
                write(scale, &scales)?;
            } else {
                write(&self.specs[0], &stored(&values, self.specs[0].dtype))?;
            }
        }
        Ok(())
    }
}

/// A tensor whose values cannot be quantised.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{0}`")]
struct Unquantized(String, #[source] crate::quant::QuantError);

/// Values in the format they were read from: exact, since they came from it.
fn stored(values: &[f32], dtype: &str) -> Vec<u8> {
    match dtype {
        "F32" => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        "F16" => values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
    }
}

/// The tensors of each file to write, in the order of the forward pass.
fn plan(checkpoint: &Checkpoint) -> Result<Vec<Vec<Part>>, CommandError> {
    let formats: std::collections::BTreeMap<_, _> = checkpoint.tensors().collect();
    let (mut shards, mut bytes) = (vec![Vec::new()], 0);
    for (name, shape) in expected_tensors(checkpoint.config()) {
        let dtype = match formats.get(&*name).map(|stored| stored.dtype_name()) {
            Some("F32") => "F32",
            Some("F16") => "F16",
            Some("BF16") => "BF16",
            _ => return Err(CommandError::internal(format!("`{name}` was not checked"))),
        };
        let kept = TensorSpec { name: name.clone(), dtype, shape: shape.clone() };
        let bytes_before = kept.bytes();
        let specs = match (name.strip_suffix("_proj.weight"), &*shape) {
            (Some(_), &[outputs, inputs]) => {
                let module = name.trim_end_matches(".weight");
                TensorSpec::int8(module, outputs, inputs).to_vec()
            }
            _ => vec![kept],
        };
        let size: u64 = specs.iter().map(TensorSpec::bytes).sum();
        if bytes > 0 && bytes + size > SHARD_BYTES {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        let values = shape.iter().map(|&n| n as u64).product();
        let part = Part { name, shape, specs, values, bytes_before };
        shards.last_mut().expect("begins with one").push(part);
    }
    Ok(shards)
}

fn shard_name(number: usize, count: usize) -> String {
    match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

/// Creates the output folder, or finds an interrupted run on the same input in it.
fn begin(args: &Args, checkpoint: &Checkpoint) -> Result<(), CommandError> {
    fs::create_dir_all(&args.out).map_err(|e| failed(&args.out, e))?;
    let mut files = Vec::new();
    for path in checkpoint.files().chain([&*args.model.join("config.json")]) {
        let metadata = fs::metadata(path).map_err(|e| failed(path, e))?;
        let modified =
            metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns = modified.map(|time| time.as_nanos().to_string());
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        files.push(json!({ "name": name, "bytes": metadata.len(), "modified_ns": modified_ns }));
    }
    let identity = json!({ "tool": env!("CARGO_PKG_VERSION"), "files": files });
    let journal = args.out.join(JOURNAL);
    match fs::read(&journal) {
        Ok(bytes) if serde_json::from_slice::<Value>(&bytes).ok().as_ref() == Some(&identity) => {
            Ok(())
        }
        Ok(_) => Err(occupied(&args.out, "an interrupted run on another input")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut entries = fs::read_dir(&args.out).map_err(|e| failed(&args.out, e))?;
            if entries.any(|entry| {
                entry.is_ok_and(|e| !e.file_name().to_string_lossy().ends_with(".partial"))
            }) {
                return Err(occupied(&args.out, "files of something else"));
            }
            write_json(&journal, &identity)
        }
        Err(error) => Err(failed(&journal, error)),
    }
}

fn occupied(out: &Path, with: &str) -> CommandError {
    CommandError::input(format!("{} holds {with}", out.display()))
        .with_hint("name a folder that does not exist, or empty this one")
}

/// `config.json` with the entry that makes transformers load int8.
fn quantized_config(model: &Path) -> Result<Value, CommandError> {
    let path = model.join("config.json");
    let text = fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
    let mut config: Value = serde_json::from_str(&text).map_err(CommandError::input)?;
    let Some(fields) = config.as_object_mut() else {
        return Err(CommandError::input(format!("{} holds no object", path.display())));
    };
    if fields.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err(CommandError::input(format!("{} is quantised already", model.display()))
            .with_hint("every command reads it as it is"));
    }
    fields.insert("quantization_config".into(), quantization_config());
    Ok(config)
}

/// Tokenizer, generation settings and the like: every plain file that holds no weights.
fn copy_other_files(args: &Args) -> Result<(), CommandError> {
    let entries = fs::read_dir(&args.model).map_err(|e| failed(&args.model, e))?;
    for entry in entries {
        let path = entry.map_err(|e| failed(&args.model, e))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
        let kept = [".json", ".model", ".txt", ".jinja"].iter().any(|end| name.ends_with(end));
        let weights = name == "config.json" || name.ends_with(".index.json");
        if kept && !weights && path.is_file() {
            let bytes = fs::read(&path).map_err(|e| failed(&path, e))?;
            let copy = args.out.join(&name);
            write_whole(&copy, &bytes).map_err(|e| failed(&copy, e))?;
        }
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), CommandError> {
    let mut text = serde_json::to_string_pretty(value).map_err(CommandError::internal)?;
    text.push('\n');
    write_whole(path, text.as_bytes()).map_err(|e| failed(path, e))
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String, #[source] std::io::Error);

fn failed(path: &Path, error: std::io::Error) -> CommandError {
    CommandError::internal(Failed(path.display().to_string(), error))
}
