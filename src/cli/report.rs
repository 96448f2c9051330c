//! `medharness report`: runs as text, Markdown, CSV, JSON, or one HTML page.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use thiserror::Error;

use super::{CommandError, Context};
use crate::{
    reports::{self, Report, ReportError, RunRecords},
    store::StoreError,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run directories, side by side in this order
    #[arg(value_name = "RUN", required_unless_present_any = ["check", "schema"])]
    pub runs: Vec<PathBuf>,
    /// Form of the report; JSON holds every field of the schema, or the reason why not
    #[arg(long, value_enum, default_value = "text")]
    pub format: ReportFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Check a report in JSON: no field is missing, and it is what the RUNs, if given, amount to
    #[arg(long, value_name = "FILE", conflicts_with_all = ["out", "schema"])]
    pub check: Option<PathBuf>,
    /// Print the JSON Schema of the report
    #[arg(long, conflicts_with_all = ["runs", "out"])]
    pub schema: bool,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportFormat {
    /// A screen of text
    Text,
    /// Markdown, with every field
    Markdown,
    /// One line per run and part, numbers in full precision
    Csv,
    /// Every field of the schema
    Json,
    /// One self-contained page
    Html,
}

/// Why a report in JSON does not pass.
#[derive(Debug, Error)]
enum CheckError {
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{path}` is not JSON")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("`{path}` is not what the runs amount to: `{field}` differs")]
    Differs { path: PathBuf, field: String },
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 if a check does not hold, 2 for runs that cannot be read.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if args.schema {
        let schema = serde_json::to_string_pretty(&reports::json_schema());
        let schema = schema.map_err(CommandError::internal)?;
        return Ok(writeln!(context.out, "{schema}")?);
    }
    if args.out.as_deref().is_some_and(|out| args.runs.iter().any(|run| out.starts_with(run))) {
        let text = "--out lies inside a run directory, which holds only what it recorded";
        return Err(CommandError::input(text));
    }
    let runs = RunRecords::read(&args.runs).map_err(failed)?;
    let report = Report::new(&runs).map_err(failed)?;
    if let Some(path) = &args.check {
        check(path, (!runs.is_empty()).then_some(&report))?;
        let runs = reports::format::count(runs.len(), "run");
        return Ok(writeln!(context.out, "{}: complete, {runs} worked out again", path.display())?);
    }
    let text = render(&report, args.format).map_err(failed)?;
    match &args.out {
        None => Ok(context.out.write_all(text.as_bytes())?),
        Some(path) => fs::write(path, text).map_err(|source| {
            CommandError::input(ReportError::Write { path: path.clone(), source })
        }),
    }
}

fn render(report: &Report<'_>, format: ReportFormat) -> Result<String, ReportError> {
    match format {
        ReportFormat::Text => Ok(reports::text(report)),
        ReportFormat::Markdown => Ok(reports::markdown(report)),
        ReportFormat::Csv => reports::csv(&report.runs),
        ReportFormat::Json => Ok(serde_json::to_string_pretty(&reports::json(report)?)? + "\n"),
        ReportFormat::Html => reports::html(report),
    }
}

fn check(path: &Path, report: Option<&Report<'_>>) -> Result<(), CommandError> {
    let read = |source| CheckError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(read).map_err(CommandError::input)?;
    let json = |source| CheckError::Json { path: path.to_owned(), source };
    let stored: Value = serde_json::from_str(&text).map_err(json).map_err(CommandError::input)?;
    reports::check(&stored).map_err(CommandError::check)?;
    let Some(report) = report else { return Ok(()) };
    let fresh = reports::json(report).map_err(failed)?;
    match difference(&stored, &fresh, String::new()) {
        None => Ok(()),
        Some(field) => {
            Err(CommandError::check(CheckError::Differs { path: path.to_owned(), field }))
        }
    }
}

/// The first place where two values differ.
fn difference(a: &Value, b: &Value, at: String) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) if x.keys().eq(y.keys()) => {
            x.iter().find_map(|(key, value)| difference(value, &y[key], format!("{at}.{key}")))
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            let pairs = x.iter().zip(y).enumerate();
            pairs.into_iter().find_map(|(i, (x, y))| difference(x, y, format!("{at}[{i}]")))
        }
        _ => (a != b).then(|| at.trim_start_matches('.').to_owned()),
    }
}

fn failed(error: ReportError) -> CommandError {
    let hint = "`medharness verify RUN` lists what differs";
    match error {
        ReportError::Store(StoreError::Incomplete { .. }) => {
            CommandError::input(error).with_hint("the command that began the run continues it")
        }
        ReportError::Store(_) => CommandError::input(error),
        ReportError::Summary { .. } | ReportError::Ledger { .. } => {
            CommandError::check(error).with_hint(hint)
        }
        ReportError::MissingFields { .. } | ReportError::Schema { .. } => {
            CommandError::check(error)
        }
        error => CommandError::internal(error),
    }
}
