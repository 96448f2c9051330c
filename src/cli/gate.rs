//! `medharness gate`: fail a build if a run is worse than its baseline.

use std::path::{Path, PathBuf};

use super::{CommandError, Context, Format, compare, junit, note::note, page::Page};
use crate::{
    claims::runs::{Gate, GateError, GateSettings, Outcomes, Tolerance, gate},
    stats::Seed,
    store::write_whole,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The baseline: a run directory, or a file made with --write-baseline
    #[arg(long, value_name = "PATH", required_unless_present = "write_baseline")]
    pub baseline: Option<PathBuf>,
    /// The run to judge: a run directory, or a file of outcomes
    #[arg(long, value_name = "RUN")]
    pub run: PathBuf,
    /// Loss of accuracy that is accepted, as a share: 0 to below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, allow_negative_numbers = true)]
    pub margin: f64,
    /// How often a change by chance alone may fail
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, allow_negative_numbers = true)]
    pub alpha: f64,
    /// Fail if any question is answered otherwise, in either direction
    #[arg(long)]
    pub exact: bool,
    /// Compare runs made by different versions of this program
    #[arg(long)]
    pub any_version: bool,
    /// Seed of the bootstrap interval; no verdict depends on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Also write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Also write the result as Markdown, for a comment on a change
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write the outcomes of --run to FILE as a baseline; judges only if --baseline is given too
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 for a regression, 2 if there is nothing to compare.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let result = decide(args);
    // The reports are written whatever came out, and before the exit code is decided.
    let described = result.as_ref().map(Option::as_ref);
    match described {
        Ok(None) => {}
        Ok(Some(gate)) => {
            write(args.junit.as_deref(), &junit::of_gate(gate))?;
            write(args.markdown.as_deref(), &page(gate, true))?;
            let text = match args.format {
                Format::Json => {
                    serde_json::to_string_pretty(gate).map_err(CommandError::internal)? + "\n"
                }
                Format::Text => page(gate, false),
                Format::Markdown => page(gate, true),
            };
            context.out.write_all(text.as_bytes())?;
        }
        Err(error) => {
            write(args.junit.as_deref(), &junit::of_error(&error.to_string()))?;
            write(args.markdown.as_deref(), &refusal(error))?;
        }
    }
    match result? {
        Some(gate) if !gate.passes => {
            Err(CommandError::check(format!("regression in {} part(s)", gate.failures.len())))
        }
        _ => Ok(()),
    }
}

/// The decision; `None` if only a baseline was to be written.
fn decide(args: &Args) -> Result<Option<Gate>, CommandError> {
    let settings = GateSettings {
        margin: Tolerance::new(args.margin).map_err(CommandError::input)?,
        alpha: args.alpha,
        exact: args.exact,
        any_version: args.any_version,
        seed: Seed(args.seed),
    };
    settings.check().map_err(CommandError::input)?;
    let run = Outcomes::open(&args.run).map_err(CommandError::input)?;
    if let Some(path) = &args.write_baseline {
        run.write(path).map_err(CommandError::input)?;
        note(format_args!("wrote {} outcomes to `{}`", run.items.len(), path.display()));
    }
    let Some(baseline) = &args.baseline else { return Ok(None) };
    let baseline = Outcomes::open(baseline).map_err(CommandError::input)?;
    gate(&baseline, &run, &settings).map(Some).map_err(|error| match error {
        GateError::Stats(_) => CommandError::internal(error),
        error => CommandError::input(error),
    })
}

fn write(path: Option<&Path>, text: &str) -> Result<(), CommandError> {
    path.map_or(Ok(()), |path| write_whole(path, text.as_bytes()).map_err(CommandError::input))
}

fn page(gate: &Gate, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, if gate.passes { "Gate: pass" } else { "Gate: REGRESSION" });
    page.list(&gate.failures);
    if markdown && !gate.failures.is_empty() {
        page.line("");
    }
    page.line(&gate.power);
    compare::sides(&mut page, &gate.comparison);
    compare::tables(&mut page, &gate.comparison);
    compare::flips(&mut page, &gate.comparison, MOST_FLIPS);
    page.finish()
}

/// Flips listed of each kind; a comment has a limit, and JSON has them all.
const MOST_FLIPS: usize = 50;

/// The Markdown of a gate that could not decide.
fn refusal(error: &CommandError) -> String {
    let mut page = Page::new(true);
    page.heading(1, "Gate: no verdict");
    for line in error.to_string().lines() {
        page.line(line);
    }
    page.finish()
}
