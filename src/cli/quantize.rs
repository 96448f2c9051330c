//! `medharness quantize`: a checkpoint with int8 weights, as transformers and bitsandbytes read it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use super::{
    CommandError, Context, Format,
    weights_folder::{WeightsFolder, failed, read_config, shards},
};
use crate::{
    llama::{Checkpoint, WeightSource, expected_tensors},
    models::bytes_in,
    quant::{TensorFile, TensorSpec, quantization_config, quantize_rows},
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
    let config_file = args.model.join("config.json");
    let inputs = checkpoint.files().chain([&*config_file]);
    let mut out = WeightsFolder::begin(&args.out, "quantize", inputs, &Value::Null)?;
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
    for (number, parts) in shards.iter().enumerate() {
        let specs: Vec<TensorSpec> = parts.iter().flat_map(|part| part.specs.clone()).collect();
        let path = out.shard(number, shards.len(), &specs);
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
    summary.bytes_after = out.bytes();
    out.finish(shards.len(), &args.model, &config)?;
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
                write(&self.specs[0], &bytes_in(&values, self.specs[0].dtype))?;
            }
        }
        Ok(())
    }
}

/// A tensor whose values cannot be quantised.
#[derive(Debug, thiserror::Error)]
#[error("tensor `{0}`")]
struct Unquantized(String, #[source] crate::quant::QuantError);

/// The tensors of each file to write, in the order of the forward pass.
fn plan(checkpoint: &Checkpoint) -> Result<Vec<Vec<Part>>, CommandError> {
    let formats: std::collections::BTreeMap<_, _> = checkpoint.tensors().collect();
    let mut parts = Vec::new();
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
        let values = shape.iter().map(|&n| n as u64).product();
        parts.push(Part { name, shape, specs, values, bytes_before });
    }
    Ok(shards(parts, |part| part.specs.iter().map(TensorSpec::bytes).sum()))
}

/// `config.json` with the entry that makes transformers load int8.
fn quantized_config(model: &Path) -> Result<Value, CommandError> {
    let mut fields = read_config(model)?;
    if fields.get("quantization_config").is_some_and(|value| !value.is_null()) {
        return Err(CommandError::input(format!("{} is quantised already", model.display()))
            .with_hint("every command reads it as it is"));
    }
    fields.insert("quantization_config".into(), quantization_config());
    Ok(Value::Object(fields))
}
