//! `medharness synth`: random checkpoints of real shapes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{CommandError, Context, network::FloatDtype, progress};
use crate::{
    llama::synth::{self, SHAPES, SynthError},
    stats::Seed,
};

/// Arguments of `medharness synth`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shape: 15M, 110M, 1.1B, 7B or 13B parameters
    #[arg(long, value_name = "SHAPE", value_parser = SHAPES)]
    pub shape: String,
    /// Number format of the weights
    #[arg(long, value_enum, default_value = "bf16")]
    pub dtype: FloatDtype,
    /// Fixes every weight
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// A tokenizer to put beside the weights: a file, or a folder of one
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// The folder to write, new or empty
    pub dir: PathBuf,
}

/// Files that make up a tokenizer.
const TOKENIZER_FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"];

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the folder is not empty or the tokenizer is none, 3 if writing fails.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let tokenizer = args.tokenizer.as_deref().map(tokenizer_files).transpose()?;
    let bar = progress::bytes(context.progress);
    let mut watch = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    synth::write(&args.shape, args.dtype.into(), Seed(args.seed), &args.dir, &mut watch).map_err(
        |error| match error {
            SynthError::Write { .. } => CommandError::internal(error),
            error => CommandError::input(error),
        },
    )?;
    bar.finish_and_clear();
    for (from, name) in tokenizer.unwrap_or_default() {
        fs::copy(&from, args.dir.join(name))?;
    }
    writeln!(context.out, "{} in {}", args.shape, args.dir.display())?;
    Ok(())
}

/// Returns the files to copy and the names they get.
fn tokenizer_files(path: &Path) -> Result<Vec<(PathBuf, &'static str)>, CommandError> {
    let files: Vec<_> = if path.is_dir() {
        let beside = TOKENIZER_FILES.into_iter().map(|name| (path.join(name), name));
        beside.filter(|(path, _)| path.is_file()).collect()
    } else {
        let name = match path.extension().and_then(|extension| extension.to_str()) {
            Some("model") => "tokenizer.model",
            _ => "tokenizer.json",
        };
        vec![(path.to_owned(), name)]
    };
    if files.iter().all(|(path, _)| !path.is_file()) {
        return Err(CommandError::input(format!("`{}` holds no tokenizer", path.display())));
    }
    Ok(files)
}
