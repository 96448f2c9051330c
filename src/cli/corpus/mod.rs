//! `medharness corpus`: what a model is trained on.

mod audit;
mod build;
mod overlap;

use super::{CommandError, Context};
use crate::corpus::RowError;

/// Look at training rows before anything is learnt from them
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make training rows from raw sources: flashcards, Stack Exchange, WikiDoc and the others
    ///
    /// A recipe names sources, files and how many rows to take; without one it is the paper's mix.
    /// What gives no row is counted by reason. Missing sources are listed with where to get them, files
    /// without a record too, and the exit code is 1. The same files and seed give the same bytes.
    Build(build::Args),
    /// Look for what nobody wants to learn from: duplicates, damage, leaks, identifiers, cuts
    ///
    /// Reports per source; nothing is repaired or left out. People judge what a machine cannot:
    /// --sheet draws a seeded sample, --judged reads it back into an error rate with its interval.
    Audit(audit::Args),
    /// Find exam questions that stand in training rows; exit code 1 if there are any
    ///
    /// For every question: rows that hold the whole of it, runs of 13 and of 8 words in common, the
    /// longest run in common, and the most similar row. Case, punctuation and fields do not matter.
    /// Turns of phrase of the exam itself are no evidence; what a paraphrase teaches is not found.
    Overlap(overlap::Args),
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the rows cannot be read, 1 if a check does not hold.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Command::Build(args) => build::run(args, context),
        Command::Audit(args) => audit::run(args, context),
        Command::Overlap(args) => overlap::run(args, context),
    }
}

/// Rows that cannot be read are the caller's to repair.
fn unreadable(error: RowError) -> CommandError {
    CommandError::input(error)
}
