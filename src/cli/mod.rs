//! The command line: arguments, exit codes, hints. One file per command.
//!
//! stdout carries the result, stderr progress and messages. Exit codes: 0 done, 1 a check did not
//! hold, 2 usage or bad input, 3 failed inside.

mod completions;
mod error;
mod exam;
mod output;
mod tokenize;

use std::{io::Write, process::ExitCode};

use clap::{CommandFactory, Parser, Subcommand};

pub use error::CommandError;
pub use output::Format;

/// Train, evaluate and compare medical language models so that every printed number can be
/// re-derived, explained and gated.
#[derive(Debug, Parser)]
#[command(name = "medharness", version, max_term_width = 100, help_expected = true)]
pub struct Cli {
    /// Show no progress on stderr
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, in the order of the help text.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check exam files and convert them to one format
    Exam(exam::Args),
    /// Show the token pieces and ids of a text
    Tokenize(tokenize::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
}

/// What every command gets besides its own arguments.
pub struct Context<'a> {
    /// Where the result goes; stdout in the program.
    pub out: &'a mut dyn Write,
    /// Whether a progress bar may be drawn on stderr.
    pub progress: bool,
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the exit code to end with.
    pub fn run(self, context: &mut Context<'_>) -> Result<(), CommandError> {
        match self.command {
            Command::Exam(args) => exam::run(&args, context),
            Command::Tokenize(args) => tokenize::run(&args, context),
            Command::Completions(args) => completions::run(&args, context),
        }
    }
}

/// Returns the definition of the whole command line, for help snapshots and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Runs the program on the process's arguments and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to stdout, usage errors to stderr.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let progress = !cli.no_progress && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let mut out = std::io::stdout().lock();
    let result = cli.run(&mut Context { out: &mut out, progress });
    match result.and_then(|()| out.flush().map_err(CommandError::from)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(std::io::stderr().lock(), "{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
