//! `medharness exam`: look at an exam before anything is asked, and convert it.

mod check;
mod convert;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{CommandError, Context};
use crate::exam::{self, Exam, ExamError, ExcludedItems, LoadOptions};

/// Check exam files and convert them to one format
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Count, compare and look for defects; exit code 1 if the exam must not be asked as it is
    Check(check::Args),
    /// Write the exam in the project's own JSON lines, defects included
    Convert(convert::Args),
}

/// Where an exam is and how to read it.
#[derive(Debug, clap::Args)]
struct Input {
    /// File or folder of the exam
    path: PathBuf,
    /// Read it as this format instead of finding out
    #[arg(long = "as", value_name = "FORMAT", value_parser = format_parser())]
    layout: Option<exam::Format>,
    /// Do not exclude the image items of the authors' notebook from MedAlpaca's files
    #[arg(long)]
    no_notebook_list: bool,
}

impl Input {
    /// Reads the exam with all its findings.
    fn read(&self, exclude: Option<(PathBuf, ExcludedItems)>) -> Result<Exam, CommandError> {
        let options =
            LoadOptions { format: self.layout, notebook_list: !self.no_notebook_list, exclude };
        Exam::read(&self.path, &options).map_err(unreadable)
    }
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the exam cannot be read, 1 if `check` finds an error.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    match &args.command {
        Command::Check(args) => check::run(args, context),
        Command::Convert(args) => convert::run(args),
    }
}

fn format_parser() -> impl TypedValueParser<Value = exam::Format> {
    let names = exam::Format::ALL.map(exam::Format::name);
    PossibleValuesParser::new(names)
        .map(|name| exam::Format::parse(&name).expect("clap has checked the name"))
}

/// An exam that cannot be read is the caller's to repair.
fn unreadable(error: ExamError) -> CommandError {
    let hint = match &error {
        ExamError::Encoding { .. } => Some("convert the file to UTF-8, e.g. with iconv"),
        ExamError::UnknownFormat { .. } => {
            Some("name the format with `--as`; the README lists them")
        }
        _ => None,
    };
    let error = CommandError::input(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
