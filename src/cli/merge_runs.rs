//! `medharness merge-runs`: put the shards of a run together.

use std::path::PathBuf;

use super::{CommandError, Context, Format, summary};
use crate::store::{Run, merge_runs};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory to write
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// The shards, in any order
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// Form of the result; JSON is `summary.json`
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if they are not all the shards of one run, each complete and there once.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let command_line = std::env::args().collect();
    let summary = merge_runs(&args.out, &args.runs, command_line).map_err(CommandError::input)?;
    let run = Run::open(&args.out).map_err(CommandError::input)?;
    summary::write(&run.manifest, &summary, args.format, context)
}
