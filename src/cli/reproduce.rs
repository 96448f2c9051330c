//! `medharness reproduce`: the printed table beside what can be measured, with its audit.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{CommandError, Context, eval::stop_on_interrupt, note::note};
use crate::{
    claims::Table,
    exam::Exam,
    protocol::Protocol,
    stats::Seed,
    study::{self, Mapping, Plan, Reproduction, RowProgress, StudyError, Weights},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which study
    #[arg(long, value_enum, default_value = "paper")]
    pub study: Study,
    /// Rows of the table with their models; see --write-models-template
    #[arg(long, value_name = "FILE")]
    pub models: Option<PathBuf>,
    /// The exam to ask them
    #[arg(long, value_name = "PATH")]
    pub exam: Option<PathBuf>,
    /// A protocol to ask under, by id or file; may be given several times
    #[arg(long, value_name = "ID", default_values = ["paper-2023-04", "strict-v1"])]
    pub protocol: Vec<String>,
    /// Where run directories go
    #[arg(long, value_name = "DIR", default_value = "runs/paper")]
    pub runs: PathBuf,
    /// Seed of every run
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Where the report goes: index.html, report.md, table.csv, report.json
    #[arg(long, value_name = "DIR", default_value = "reports/paper")]
    pub out: PathBuf,
    /// Write a models file to fill in, with the names the authors published, and stop
    #[arg(long, value_name = "FILE")]
    pub write_models_template: Option<PathBuf>,
}

/// A study that can be reproduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Study {
    /// The accuracy table of arXiv 2304.08247
    Paper,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 for bad input, 3 if a model fails, 130 if it was interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let Study::Paper = args.study;
    let table = Table::paper();
    if let Some(path) = &args.write_models_template {
        return write_template(path, &table, context);
    }
    let protocols = args
        .protocol
        .iter()
        .map(|id| Protocol::find(id))
        .collect::<Result<Vec<_>, _>>()
        .map_err(CommandError::input)?;
    if let Some(twice) = repeated(&protocols) {
        return Err(CommandError::input(format!("protocol `{twice}` is given twice")));
    }
    let mapping = match &args.models {
        Some(path) => Mapping::read(path, &table).map_err(failed)?,
        None => Mapping::default(),
    };
    let runs = run_models(args, &mapping, &protocols, context)?;
    let study = Reproduction::of_paper(protocols, &runs);
    let page = study::write(&study, &args.out).map_err(failed)?;
    let runs_page = study::write_runs(&study, runs, &args.out).map_err(failed)?;
    context.out.write_all(study::text(&study, &page).as_bytes())?;
    match runs_page {
        Some(page) => Ok(writeln!(context.out, "runs      {}", page.display())?),
        None => Ok(()),
    }
}

fn repeated(protocols: &[Protocol]) -> Option<&str> {
    let before = |place: usize| &protocols[..place];
    let (_, protocol) = protocols
        .iter()
        .enumerate()
        .find(|(place, protocol)| before(*place).iter().any(|other| other.id == protocol.id))?;
    Some(&protocol.id)
}

fn run_models(
    args: &Args,
    mapping: &Mapping,
    protocols: &[Protocol],
    context: &Context<'_>,
) -> Result<study::Runs, CommandError> {
    if mapping.rows.is_empty() {
        return Ok(study::Runs::new());
    }
    let Some(exam) = &args.exam else {
        return Err(failed(StudyError::NoExam { rows: mapping.rows.len() })
            .with_hint("name one with --exam PATH"));
    };
    let path = exam.display();
    let exam = Exam::load(exam).map_err(CommandError::input)?;
    if !exam.findings.is_empty() {
        let findings = exam.findings.len();
        note(format_args!("{findings} finding(s) in the exam; see `medharness exam check {path}`"));
    }
    let plan = Plan { mapping, exam: &exam, protocols, folder: &args.runs, seed: Seed(args.seed) };
    let stopped = stop_on_interrupt()?;
    let bar = bar(context.progress);
    let runs = study::run_rows(&plan, &mut |progress| {
        show(&bar, progress);
        match stopped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    runs.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was answered is kept")
            .with_hint("the same command continues the study")
    })
}

fn write_template(
    path: &Path,
    table: &Table,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| CommandError::input(StudyError::File { what, path, source })
    };
    let text = study::template(table, &Weights::paper());
    let mut file = fs::File::create_new(path).map_err(failed("create"))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed("write"))?;
    Ok(writeln!(context.out, "{}: name a model for each row you have", path.display())?)
}

fn bar(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} ETA {eta}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: &RowProgress<'_>) {
    let RowProgress { row, protocol, run, notes } = progress;
    if run.answered == run.resumed {
        for remark in *notes {
            note(format_args!("note: {row}: {remark}"));
        }
        bar.set_prefix(format!("{row} · {protocol}"));
        bar.set_length(run.asked as u64);
        bar.reset_eta();
    }
    bar.set_position(run.answered as u64);
}

fn failed(error: StudyError) -> CommandError {
    match error {
        StudyError::Eval { .. } => CommandError::internal(error)
            .with_hint("what was answered is kept; the same command continues"),
        StudyError::Report(_) => CommandError::internal(error),
        error => CommandError::input(error),
    }
}
