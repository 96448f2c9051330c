//! `medharness compare`: two runs, question by question.

use std::path::PathBuf;

use super::{
    CommandError, Context, Format,
    page::{Page, p_value, percent, range},
};
use crate::{
    claims::runs::{
        CompareError, Comparison, FlipKind, Outcomes, PartComparison, Settings, Verdict, compare,
    },
    stats::{Margin, Seed},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first run directory, or its file of outcomes
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The second
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Difference in accuracy taken for nothing, as a share (0.05 is five points)
    #[arg(long, value_name = "SHARE", default_value = "0.05", allow_negative_numbers = true)]
    pub margin: Margin,
    /// Size of each test
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, allow_negative_numbers = true)]
    pub alpha: f64,
    /// Seed of the bootstrap
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Compare runs of different questions on those that both asked
    #[arg(long)]
    pub common: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the runs cannot be read or asked different questions.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let a = Outcomes::open(&args.a).map_err(CommandError::input)?;
    let b = Outcomes::open(&args.b).map_err(CommandError::input)?;
    let settings = Settings {
        alpha: args.alpha,
        margin: Some(args.margin),
        seed: Seed(args.seed),
        common: args.common,
    };
    let comparison = compare(&a, &b, &settings).map_err(|error| match error {
        CompareError::Questions { .. } => CommandError::input(error)
            .with_hint("--common compares them on the questions that both asked"),
        error => CommandError::input(error),
    })?;
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&comparison).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&comparison, false),
        Format::Markdown => page(&comparison, true),
    };
    Ok(context.out.write_all(text.as_bytes())?)
}

fn page(comparison: &Comparison, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, &sentence(comparison));
    sides(&mut page, comparison);
    if !comparison.notes.is_empty() {
        page.heading(2, "Not the same in both");
        page.list(&comparison.notes);
    }
    tables(&mut page, comparison);
    flips(&mut page, comparison, usize::MAX);
    page.finish()
}

/// What may be said about the whole, in one sentence.
fn sentence(comparison: &Comparison) -> String {
    let whole = comparison.whole();
    let points = 100.0 * whole.difference;
    let n = whole.questions;
    let p = p_value(whole.p);
    let detectable = whole.detectable.map_or_else(
        || "no difference could have been seen".to_owned(),
        |d| format!("a difference of {:.1} points or more could have been seen", 100.0 * d),
    );
    match whole.verdict {
        Verdict::Better => format!("B is better than A by {points:.1} points (n = {n}, p = {p})"),
        Verdict::Worse => format!("B is worse than A by {:.1} points (n = {n}, p = {p})", -points),
        Verdict::Equivalent => format!(
            "A and B are the same within {:.1} points (n = {n}, {points:+.1} points)",
            100.0 * comparison.margin.unwrap_or_default()
        ),
        Verdict::NotDistinguishable => format!(
            "A and B are not distinguishable at n = {n} ({points:+.1} points, p = {p}); {detectable}"
        ),
    }
}

/// Who was compared.
pub(super) fn sides(page: &mut Page, comparison: &Comparison) {
    let side = |side: &crate::claims::runs::Side| {
        format!(
            "{} (run {}, exam {}, protocol {} {}, medharness {})",
            side.model,
            side.run_id,
            side.exam,
            side.protocol,
            side.protocol_sha256.get(..12).unwrap_or(&side.protocol_sha256),
            side.tool_version
        )
    };
    page.facts([("A", side(&comparison.a)), ("B", side(&comparison.b))]);
}

/// The tables of a comparison.
pub(super) fn tables(page: &mut Page, comparison: &Comparison) {
    page.heading(2, "Accuracy in %, B - A in points with its 95 % paired bootstrap interval");
    page.table(
        &["step", "n", "A", "B", "B - A", "interval", "p", "p (Holm)", "verdict"],
        comparison.parts.iter().map(row),
    );
    page.heading(2, "Questions that flipped, and what could have been seen");
    page.table(
        &["step", "lost", "gained", "other answer", "p (not the same)", "detectable (points)"],
        comparison.parts.iter().map(|part| {
            vec![
                part.name.clone(),
                part.lost.to_string(),
                part.gained.to_string(),
                part.churn.to_string(),
                part.p_not_equivalent.map_or_else(|| "-".to_owned(), p_value),
                percent(part.detectable),
            ]
        }),
    );
}

fn row(part: &PartComparison) -> Vec<String> {
    let share = |correct: usize| percent(Some(correct as f64 / part.questions as f64));
    vec![
        part.name.clone(),
        part.questions.to_string(),
        share(part.a_correct),
        share(part.b_correct),
        format!("{:+.1}", 100.0 * part.difference),
        range(part.bootstrap),
        p_value(part.p),
        p_value(part.p_adjusted),
        part.verdict.to_string(),
    ]
}

/// Every flip, losses first, at most `most`; what is not shown is counted.
pub(super) fn flips(page: &mut Page, comparison: &Comparison, most: usize) {
    let mut flips: Vec<_> = comparison.flips.iter().collect();
    flips.sort_by_key(|flip| flip.kind);
    for kind in [FlipKind::Lost, FlipKind::Gained, FlipKind::Churn] {
        let of_kind: Vec<_> = flips.iter().filter(|flip| flip.kind == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        page.heading(3, &format!("{kind}: {}", of_kind.len()));
        let shown = of_kind.iter().take(most);
        page.list(shown.map(|flip| format!("{}: {} -> {}", flip.id, flip.a, flip.b)));
        if of_kind.len() > most {
            page.line(format_args!("and {} more", of_kind.len() - most));
        }
    }
}
