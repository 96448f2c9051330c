//! `medharness merge` and `unmerge`: an adapter into its base, and off again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    CommandError, Context, Format,
    network::folder,
    note::note,
    weights_folder::{WeightsFolder, failed, read_config, shards},
};
use crate::{
    llama::{Checkpoint, checkpoint::adapter_weights_file, read_adapter},
    models::{
        Change, Direction, MergeBase, MergedPart, Merging, base_difference, bytes_in, hub::Parts,
    },
    quant::{TensorFile, TensorSpec},
};

/// Values merged at a time.
const PIECE: usize = 4 << 20;

/// Arguments of `medharness merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The base: a checkpoint folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub base: String,
    /// The adapter: its folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: String,
    /// Folder to write; must not exist, be empty, or hold an interrupted run of this command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which weights to merge into
    #[arg(long, value_enum, default_value_t = Into::Fp16)]
    pub merge_base: Into,
    /// Form of the result on stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Which weights of the base are merged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Into {
    /// The float weights that are stored, in their own format
    Fp16,
    /// What LLM.int8() makes of the linear layers, which an adapter trained in 8 bit saw; in half
    /// precision
    Dequantized,
}

/// Arguments of `medharness unmerge`.
#[derive(Debug, clap::Args)]
pub struct UnmergeArgs {
    /// The merged model: a checkpoint folder
    #[arg(long, value_name = "DIR")]
    pub model: String,
    /// The adapter that was merged: its folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: String,
    /// Folder to write; must not exist, be empty, or hold an interrupted run of this command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Form of the result on stdout
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Summary {
    merged_modules: usize,
    replaced_tensors: usize,
    kept_tensors: usize,
    /// Largest change of a merged weight; of what was found whole, nothing is known.
    largest_change: f32,
    files_written: usize,
    files_found_whole: usize,
    bytes: u64,
    notes: Vec<String>,
}

/// Merges the adapter and prints a summary.
///
/// # Errors
///
/// Exit code 2 for an input that cannot be read or does not fit, a merged weight that is not
/// finite, or an output folder that holds something else; 3 if writing fails.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let base = folder(&args.base, Parts::All, context.progress)?;
    let into = match args.merge_base {
        Into::Fp16 => MergeBase::Floats,
        Into::Dequantized => MergeBase::Dequantized,
    };
    let job = Job { command: "merge", base, into, direction: Direction::Merge, out: &args.out };
    job.run(&args.adapter, args.format, context)
}

/// Takes the adapter off and prints a summary.
///
/// # Errors
///
/// As [`run`].
pub(super) fn unmerge(args: &UnmergeArgs, context: &mut Context<'_>) -> Result<(), CommandError> {
    let base = folder(&args.model, Parts::All, context.progress)?;
    let (into, direction) = (MergeBase::Floats, Direction::Unmerge);
    let job = Job { command: "unmerge", base, into, direction, out: &args.out };
    job.run(&args.adapter, args.format, context)
}

struct Job<'a> {
    command: &'static str,
    base: PathBuf,
    into: MergeBase,
    direction: Direction,
    out: &'a Path,
}

impl Job<'_> {
    fn run(
        &self,
        adapter: &str,
        format: Format,
        context: &mut Context<'_>,
    ) -> Result<(), CommandError> {
        let adapter_folder = folder(adapter, Parts::Adapter, context.progress)?;
        let adapter = read_adapter(&adapter_folder).map_err(CommandError::input)?;
        let difference = base_difference(&adapter, &self.base);
        let checkpoint = Checkpoint::open(&self.base).map_err(CommandError::input)?;
        let mut merging = Merging::new(checkpoint, adapter, self.into, self.direction)
            .map_err(CommandError::input)?;
        let mut notes = merging.notes();
        if self.direction == Direction::Merge {
            notes.extend(difference);
        }
        for remark in &notes {
            note(format_args!("note: {remark}"));
        }
        let mut config = read_config(&self.base)?;
        merging.change_config(&mut config);
        let inputs = [
            self.base.join("config.json"),
            adapter_folder.join("adapter_config.json"),
            adapter_weights_file(&adapter_folder),
        ];
        let inputs = merging.checkpoint().files().chain(inputs.iter().map(|path| &**path));
        let options = json!({ "into": format!("{:?}", self.into) });
        let mut out = WeightsFolder::begin(self.out, self.command, inputs, &options)?;
        let parts = merging.parts();
        let count = |change| parts.iter().filter(|part| part.change == change).count();
        let mut summary = Summary {
            merged_modules: count(Change::Merged),
            replaced_tensors: count(Change::Replaced),
            kept_tensors: count(Change::Kept),
            largest_change: 0.0,
            files_written: 0,
            files_found_whole: 0,
            bytes: 0,
            notes,
        };
        let values = |part: &MergedPart| part.shape.iter().map(|&n| n as u64).product::<u64>();
        let bar = bar(context.progress, parts.iter().map(values).sum());
        let shards = shards(parts, |part| spec(part).bytes());
        for (number, parts) in shards.iter().enumerate() {
            let specs: Vec<TensorSpec> = parts.iter().map(spec).collect();
            let path = out.shard(number, shards.len(), &specs);
            if fs::metadata(&path).is_ok_and(|file| file.len() == TensorFile::length(&specs)) {
                summary.files_found_whole += 1;
                bar.inc(parts.iter().map(values).sum());
                continue;
            }
            let mut file = TensorFile::create(&path, &specs).map_err(|e| failed(&path, e))?;
            for part in parts {
                let change = write(&mut merging, part, &mut file, &path)?;
                summary.largest_change = summary.largest_change.max(change);
                bar.inc(values(part));
            }
            file.finish().map_err(|e| failed(&path, e))?;
            summary.files_written += 1;
        }
        bar.finish_and_clear();
        summary.bytes = out.bytes();
        out.finish(shards.len(), &self.base, &Value::Object(config))?;
        print(&summary, self.direction, format, context)
    }
}

fn spec(part: &MergedPart) -> TensorSpec {
    TensorSpec { name: part.name.clone(), dtype: part.dtype, shape: part.shape.clone() }
}

fn write(
    merging: &mut Merging,
    part: &MergedPart,
    file: &mut TensorFile,
    path: &Path,
) -> Result<f32, CommandError> {
    let (rows, width) = match *part.shape {
        [rows, width] => (rows, width),
        _ => (1, part.shape.iter().product()),
    };
    let step = (PIECE / width.max(1)).max(1);
    let (mut values, mut largest) = (Vec::new(), 0.0_f32);
    let row_bytes = spec(part).bytes() / rows as u64;
    for first in (0..rows).step_by(step) {
        values.clear();
        let count = step.min(rows - first);
        let change = merging.read(part, first, count, &mut values).map_err(CommandError::input)?;
        largest = largest.max(change);
        let bytes = bytes_in(&values, part.dtype);
        file.write(&part.name, row_bytes * first as u64, &bytes).map_err(|e| failed(path, e))?;
    }
    Ok(largest)
}

fn bar(shown: bool, values: u64) -> ProgressBar {
    let bar = if shown { ProgressBar::new(values) } else { ProgressBar::hidden() };
    let style = "{wide_bar} {percent} % {per_sec} values, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
    bar
}

fn print(
    summary: &Summary,
    direction: Direction,
    format: Format,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    if format == Format::Json {
        let text = serde_json::to_string_pretty(summary).map_err(CommandError::internal)?;
        writeln!(context.out, "{text}")?;
        return Ok(());
    }
    let dash = if format == Format::Markdown { "- " } else { "" };
    let Summary { merged_modules, replaced_tensors, kept_tensors, .. } = summary;
    let done = match direction {
        Direction::Merge => "merged",
        Direction::Unmerge => "taken off",
    };
    let change = summary.largest_change;
    writeln!(context.out, "{dash}{done}: {merged_modules} modules, largest change {change:.6}")?;
    writeln!(context.out, "{dash}tensors: {replaced_tensors} replaced, {kept_tensors} kept")?;
    let (written, whole, bytes) = (summary.files_written, summary.files_found_whole, summary.bytes);
    writeln!(context.out, "{dash}files: {written} written, {whole} found whole, {bytes} bytes")?;
    Ok(())
}
