//! `medharness gate`: fail a build if a run is worse than its baseline.

use std::path::{Path, PathBuf};

use super::{
    CommandError, Context, Format, compare, junit,
    note::note,
    page::{Page, p_value, percent},
};
use crate::{
    claims::runs::{Fails, Gate, GateError, GateSettings, Outcomes, Tolerance, gate},
    stats::Seed,
    store::write_whole,
    study::{
        StudyError,
        mini::{Record, RunGate, StudyGate, gate as gate_study},
    },
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The baseline: a run directory, or a file made with --write-baseline; of a miniature study,
    /// its record
    #[arg(long, value_name = "PATH", required_unless_present = "write_baseline")]
    pub baseline: Option<PathBuf>,
    /// The run to judge: a run directory, or a file of outcomes; of a miniature study, the folder of
    /// its runs, or its record
    #[arg(long, value_name = "RUN")]
    pub run: PathBuf,
    /// Loss of accuracy that is accepted, as a share: 0 to below 1
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, allow_negative_numbers = true)]
    pub margin: f64,
    /// How often a change by chance alone may fail
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, allow_negative_numbers = true)]
    pub alpha: f64,
    /// Fail on a gain too, and on replies that are read where they were not: for a run that must
    /// repeat its baseline. Always so for a miniature study
    #[arg(long)]
    pub both_ways: bool,
    /// Fail if any question is answered otherwise, in either direction
    #[arg(long)]
    pub exact: bool,
    /// Accept that runs of a miniature study's baseline were not made; they are listed
    #[arg(long)]
    pub partial: bool,
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
        Ok(Some(decision)) => {
            write(args.junit.as_deref(), &decision.junit())?;
            write(args.markdown.as_deref(), &decision.page(true))?;
            let text = match args.format {
                Format::Json => decision.json()?,
                Format::Text => decision.page(false),
                Format::Markdown => decision.page(true),
            };
            context.out.write_all(text.as_bytes())?;
        }
        Err(error) => {
            write(args.junit.as_deref(), &junit::of_error(&error.to_string()))?;
            write(args.markdown.as_deref(), &refusal(error))?;
        }
    }
    match result? {
        Some(decision) => decision.verdict(),
        None => Ok(()),
    }
}

/// What was decided.
enum Decision {
    Run(Box<Gate>),
    Study(StudyGate),
}

impl Decision {
    fn junit(&self) -> String {
        match self {
            Self::Run(gate) => junit::of_gate(gate),
            Self::Study(study) => junit::of_study(study),
        }
    }

    fn page(&self, markdown: bool) -> String {
        match self {
            Self::Run(gate) => page(gate, markdown),
            Self::Study(study) => study_page(study, markdown),
        }
    }

    fn json(&self) -> Result<String, CommandError> {
        let json = match self {
            Self::Run(gate) => serde_json::to_string_pretty(gate),
            Self::Study(study) => serde_json::to_string_pretty(study),
        };
        Ok(json.map_err(CommandError::internal)? + "\n")
    }

    fn verdict(&self) -> Result<(), CommandError> {
        match self {
            Self::Run(gate) if !gate.passes => {
                Err(CommandError::check(format!("regression in {} part(s)", gate.failures.len())))
            }
            Self::Study(study) if !study.passes => {
                let failed = study.runs.iter().filter(|run| !run.gate.passes).count();
                let (runs, missing) = (study.runs.len(), study.missing.len());
                let text = format!("{failed} of {runs} runs do not repeat the baseline");
                Err(match (study.partial, missing) {
                    (true, _) | (_, 0) => CommandError::check(text),
                    _ => CommandError::check(format!("{text}, {missing} were not made"))
                        .with_hint("--partial accepts runs that were not made"),
                })
            }
            _ => Ok(()),
        }
    }
}

/// The decision; `None` if only a baseline was to be written.
fn decide(args: &Args) -> Result<Option<Decision>, CommandError> {
    let settings = GateSettings {
        margin: Tolerance::new(args.margin).map_err(CommandError::input)?,
        alpha: args.alpha,
        fails: if args.both_ways { Fails::OnAnyMove } else { Fails::OnLoss },
        exact: args.exact,
        any_version: args.any_version,
        seed: Seed(args.seed),
    };
    settings.check().map_err(CommandError::input)?;
    if let Some(path) = Record::find(&args.run) {
        return decide_study(args, &path, &settings);
    }
    let run = Outcomes::open(&args.run).map_err(CommandError::input)?;
    if let Some(path) = &args.write_baseline {
        run.write(path).map_err(CommandError::input)?;
        note(format_args!("wrote {} outcomes to `{}`", run.items.len(), path.display()));
    }
    let Some(baseline) = &args.baseline else { return Ok(None) };
    let baseline = Outcomes::open(baseline).map_err(CommandError::input)?;
    let gate = gate(&baseline, &run, &settings).map_err(|error| match error {
        GateError::Stats(_) => CommandError::internal(error),
        error => CommandError::input(error),
    })?;
    Ok(Some(Decision::Run(Box::new(gate))))
}

fn decide_study(
    args: &Args,
    run: &Path,
    settings: &GateSettings,
) -> Result<Option<Decision>, CommandError> {
    let run = Record::open(run).map_err(CommandError::input)?;
    if let Some(path) = &args.write_baseline {
        if !run.left_out.is_empty() {
            let text =
                format!("the study has rows that were left out: {}", run.left_out.join(", "));
            return Err(CommandError::input(text)
                .with_hint("a baseline is of all rows: reproduce without --only"));
        }
        run.write(path).map_err(CommandError::input)?;
        note(format_args!("wrote {} rows to `{}`", run.rows.len(), path.display()));
    }
    let Some(path) = &args.baseline else { return Ok(None) };
    let Some(path) = Record::find(path) else {
        let text = format!("`{}` is no record of a study", path.display());
        return Err(CommandError::input(text).with_hint(
            "a study is held against a record; --run names one of its run directories",
        ));
    };
    let baseline = Record::open(&path).map_err(CommandError::input)?;
    let gate =
        gate_study(&baseline, &run, settings, args.partial).map_err(|error| match error {
            StudyError::Gate(GateError::Stats(_)) => CommandError::internal(error),
            error => CommandError::input(error),
        })?;
    Ok(Some(Decision::Study(gate)))
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

/// A study: every run in a line, then what failed with its flips.
fn study_page(study: &StudyGate, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    let failed: Vec<&RunGate> = study.runs.iter().filter(|run| !run.gate.passes).collect();
    page.heading(1, if study.passes { "Gate: pass" } else { "Gate: REGRESSION" });
    page.line(format_args!(
        "{} of {} runs repeat their baseline; {} of it were not made. A move in either direction fails beyond \
         the margin of {:.1} points where p is below {}.",
        study.runs.len() - failed.len(),
        study.runs.len(),
        study.missing.len(),
        study.runs.first().map_or(0.0, |run| 100.0 * run.gate.margin.value()),
        p_value(study.alpha),
    ));
    page.heading(2, "Runs: accuracy in %, B - A in points; A is the baseline");
    page.table(
        &["run", "n", "A", "B", "B - A", "lost", "gained", "other answer", "p", "verdict"],
        study.runs.iter().map(|run| {
            let whole = run.gate.comparison.whole();
            let share = |count: usize| percent(Some(count as f64 / whole.questions as f64));
            vec![
                run.name(),
                whole.questions.to_string(),
                share(whole.a_correct),
                share(whole.b_correct),
                format!("{:+.1}", 100.0 * whole.difference),
                whole.lost.to_string(),
                whole.gained.to_string(),
                whole.churn.to_string(),
                p_value(whole.p),
                if run.gate.passes { "repeats" } else { "MOVED" }.to_owned(),
            ]
        }),
    );
    // The run that could see least says what all of them could.
    let detectable = |run: &&RunGate| run.gate.comparison.whole().detectable.unwrap_or(1.0);
    if let Some(run) = study.runs.iter().max_by(|a, b| detectable(a).total_cmp(&detectable(b))) {
        page.line(format_args!("Least is seen in {}: {}.", run.name(), run.gate.power));
    }
    for run in failed {
        page.heading(2, &run.name());
        page.list(&run.gate.failures);
        compare::flips(&mut page, &run.gate.comparison, MOST_FLIPS);
    }
    if !study.missing.is_empty() {
        page.heading(2, "Not made");
        page.list(&study.missing);
    }
    if !study.added.is_empty() {
        page.heading(2, "Not in the baseline");
        page.list(&study.added);
    }
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
