//! `medharness reproduce`: the paper's study, in miniature or with the user's own weights.

mod mini;
mod paper;

use std::path::PathBuf;

use super::{
    CommandError, Context,
    eval::{self, stop_on_interrupt},
    note::note,
    train,
};
use crate::{eval::EvalError, store::StoreError, study::StudyError};
pub(super) use mini::Bars;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which study
    #[arg(long, value_enum, default_value = "mini")]
    pub study: Study,
    /// Where trainings and run directories go. Default: `runs/mini` or `runs/paper`
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
    /// Where the report goes. Default: `report` below the runs of the miniature, or `reports/paper`
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Seed of every run; of the miniature, the first one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Make every row of the miniature with this many seeds
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "The miniature",
        value_parser = clap::value_parser!(u8).range(1..=20))]
    pub seeds: u8,
    /// Make only this row, or the rows of this size; may be given several times
    #[arg(long, value_name = "ROW", help_heading = "The miniature")]
    pub only: Vec<String>,
    /// Make so many rows at the same time, each in a process of its own; changes nothing but time and
    /// memory. Default: as many as there are processors; with --definition, 1
    #[arg(long, value_name = "N", help_heading = "The miniature",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Be one of those processes: make the one row of --only and say on standard output what is done,
    /// until standard input ends
    #[arg(long, hide = true, requires = "only", requires = "runs")]
    pub worker: bool,
    /// Another miniature: a study.toml with its files beside it
    #[arg(long, value_name = "FILE", help_heading = "The miniature")]
    pub definition: Option<PathBuf>,
    /// Train and ask nothing: write the report of this record, e.g. `golden/baselines/mini.json`
    #[arg(long, value_name = "FILE", help_heading = "The miniature",
        conflicts_with_all = ["only", "definition", "runs", "seeds", "jobs"])]
    pub from: Option<PathBuf>,
    /// Rows of the table with their models; see --write-models-template
    #[arg(long, value_name = "FILE", help_heading = "The paper's table")]
    pub models: Option<PathBuf>,
    /// The exam to ask them
    #[arg(long, value_name = "PATH", help_heading = "The paper's table")]
    pub exam: Option<PathBuf>,
    /// A protocol to ask under, by id or file; may be given several times. Default: paper-2023-04
    /// and strict-v1
    #[arg(long, value_name = "ID", help_heading = "The paper's table")]
    pub protocol: Vec<String>,
    /// Write a models file to fill in, with the names the authors published, and stop
    #[arg(long, value_name = "FILE", help_heading = "The paper's table")]
    pub write_models_template: Option<PathBuf>,
}

/// A study that can be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Study {
    /// The paper's rows with tiny models, trained and asked here
    Mini,
    /// The accuracy table of arXiv 2304.08247
    Paper,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 if exam questions stand in the training rows or a training does not hold (a loss that is
/// not finite, an adapter without effect), 2 for bad input, 3 if a model fails or a file cannot be
/// written, 130 if it was interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    args.check()?;
    match args.study {
        Study::Mini => mini::run(args, context),
        Study::Paper => paper::run(args, context),
    }
}

impl Args {
    /// Refuses what the chosen study has no use for: it would be left out in silence.
    fn check(&self) -> Result<(), CommandError> {
        let paper = [
            ("--models", self.models.is_some()),
            ("--exam", self.exam.is_some()),
            ("--protocol", !self.protocol.is_empty()),
            ("--write-models-template", self.write_models_template.is_some()),
        ];
        let mini = [
            ("--seeds", self.seeds != 1),
            ("--jobs", self.jobs.is_some()),
            ("--worker", self.worker),
            ("--only", !self.only.is_empty()),
            ("--definition", self.definition.is_some()),
            ("--from", self.from.is_some()),
        ];
        let (not_for, name, other) = match self.study {
            Study::Mini => (&paper[..], "mini", "paper"),
            Study::Paper => (&mini[..], "paper", "mini"),
        };
        match not_for.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => {
                Err(CommandError::input(format!("{flag} is not for --study {name}"))
                    .with_hint(format!("--study {other}")))
            }
            None => Ok(()),
        }
    }
}

/// Who can repair it: of a training or an evaluation, as its own command says.
pub(super) fn failed(error: StudyError) -> CommandError {
    let said = match &error {
        StudyError::Train { source, .. } => train::by_whom(source)(error),
        // The folder is the study's own: a full disk, say.
        StudyError::Eval { source: EvalError::Store(StoreError::Io { .. }), .. } => {
            CommandError::internal(error)
        }
        StudyError::Eval { source, .. } => eval::by_whom(source)(error),
        StudyError::Report(_) => return CommandError::internal(error),
        _ => return CommandError::input(error),
    };
    match said.is_internal() {
        true => said.with_hint("what was made is kept; the same command continues"),
        false => said,
    }
}
