//! The results as CSV: one line per run and part, numbers in full precision.

use super::{ReportError, RunReport};
use crate::store::{Part, Proportion};

/// The columns, in order. An empty cell means that there is no such number.
pub const COLUMNS: [&str; 34] = [
    "run",
    "model",
    "protocol",
    "protocol_sha256",
    "exam",
    "exam_sha256",
    "seed",
    "part",
    "total",
    "excluded",
    "not_run",
    "asked",
    "correct",
    "wrong",
    "unparsed",
    "errored",
    "accuracy",
    "accuracy_trials",
    "wilson_low",
    "wilson_high",
    "clopper_pearson_low",
    "clopper_pearson_high",
    "strict",
    "parsed_only",
    "parsed_only_trials",
    "bound_low",
    "bound_high",
    "letter",
    "uniform",
    "best_constant_letter",
    "best_constant",
    "longest_option",
    "retried",
    "run_id",
];

/// Returns the table.
///
/// # Errors
///
/// [`ReportError::Csv`] if the library fails.
pub fn csv(runs: &[RunReport<'_>]) -> Result<String, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS)?;
    for run in runs {
        for part in &run.records.summary.parts {
            writer.write_record(line(run, part))?;
        }
    }
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn line(run: &RunReport<'_>, part: &Part) -> Vec<String> {
    let manifest = &run.records.manifest;
    let (ledger, accuracies) = (&part.ledger, &part.accuracies);
    let number = |number: Option<f64>| number.map_or_else(String::new, |number| number.to_string());
    let value = |share: &Option<Proportion>| number(share.as_ref().map(|share| share.value));
    let headline = |pick: fn(&Proportion) -> f64| number(accuracies.headline.as_ref().map(pick));
    let trials = |share: &Option<Proportion>| {
        share.as_ref().map_or_else(String::new, |share| share.trials.to_string())
    };
    let baseline = part.baselines.as_ref();
    let mut cells = vec![
        run.records.label.clone(),
        manifest.model.name.clone(),
        manifest.protocol.id.clone(),
        manifest.protocol.sha256.clone(),
        manifest.exam.name.clone(),
        manifest.exam.sha256.clone(),
        manifest.seed.to_string(),
        part.name.clone(),
    ];
    cells.extend(
        [
            ledger.total,
            ledger.excluded,
            ledger.not_run,
            ledger.asked,
            ledger.correct,
            ledger.wrong,
            ledger.unparsed,
            ledger.errored,
        ]
        .map(|count| count.to_string()),
    );
    cells.extend([
        value(&accuracies.headline),
        trials(&accuracies.headline),
        headline(|share| share.wilson[0]),
        headline(|share| share.wilson[1]),
        headline(|share| share.clopper_pearson[0]),
        headline(|share| share.clopper_pearson[1]),
        value(&accuracies.strict),
        value(&accuracies.parsed_only),
        trials(&accuracies.parsed_only),
        number(accuracies.bounds.map(|bounds| bounds[0])),
        number(accuracies.bounds.map(|bounds| bounds[1])),
        value(&accuracies.letter),
        number(baseline.map(|baseline| baseline.uniform)),
        baseline.map_or_else(String::new, |baseline| baseline.best_constant.0.to_string()),
        number(baseline.map(|baseline| baseline.best_constant.1)),
        number(baseline.map(|baseline| baseline.longest_option)),
        part.attempts_histogram.iter().skip(1).sum::<usize>().to_string(),
        manifest.run_id.clone(),
    ]);
    cells
}
