//! `medharness export`: a run in the format of another harness.

use std::{fs, path::PathBuf};

use super::{CommandError, Context};
use crate::{
    reports::export::{self, ExportError},
    store::{Run, write_whole},
};

/// Arguments of `medharness export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directory
    pub run: PathBuf,
    /// Which harness
    #[arg(long, value_enum)]
    pub to: Target,
    /// Folder to write into; made if missing
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub out: PathBuf,
}

/// The other harness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// EleutherAI's lm-evaluation-harness
    LmEval,
    /// UK AISI's inspect_ai
    Inspect,
}

/// Writes the files and prints their paths.
///
/// # Errors
///
/// Bad input if the run cannot be read or is unfinished, or the folder cannot be written.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let run = Run::open(&args.run).map_err(CommandError::input)?;
    let files = match args.to {
        Target::LmEval => export::lm_eval(&run),
        Target::Inspect => export::inspect(&run),
    };
    let files = files.map_err(|error| match error {
        ExportError::Unfinished { .. } => {
            CommandError::input(error).with_hint("run the same `eval` command again to finish it")
        }
        error => CommandError::input(error),
    })?;
    fs::create_dir_all(&args.out).map_err(CommandError::input)?;
    for file in files {
        let path = args.out.join(&file.name);
        write_whole(&path, file.text.as_bytes()).map_err(CommandError::input)?;
        writeln!(context.out, "{}", path.display())?;
    }
    Ok(())
}
