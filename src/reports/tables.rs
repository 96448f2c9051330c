//! The tables that text and Markdown share: results, ledger, what each rule reads.

use super::{
    Report,
    format::{self, NONE},
    table::TextTable,
};
use crate::store::Ledger;

/// Returns the accuracies of every run, part by part.
pub(super) fn results(report: &Report<'_>) -> TextTable {
    let mut table = TextTable::new(
        &["run", "protocol", "part"],
        &[
            "correct",
            "asked",
            "accuracy",
            "95 % Wilson",
            "parsed only",
            "bounds",
            "letter",
            "chance",
            "constant",
        ],
    );
    for run in &report.runs {
        for part in &run.records.summary.parts {
            let accuracies = &part.accuracies;
            let baselines = part.baselines.as_ref();
            let or_none = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
            table.row([
                run.records.label.clone(),
                run.records.protocol_label(),
                part.name.clone(),
                part.ledger.correct.to_string(),
                part.ledger.asked.to_string(),
                format::share(accuracies.headline.as_ref()),
                or_none(accuracies.headline.as_ref().map(|share| format::interval(share.wilson))),
                format::share(accuracies.parsed_only.as_ref()),
                or_none(accuracies.bounds.map(format::interval)),
                format::share(accuracies.letter.as_ref()),
                or_none(baselines.map(|baselines| format::percent(baselines.uniform))),
                or_none(baselines.map(|baselines| {
                    let (letter, share) = baselines.best_constant;
                    format!("{letter} {}", format::percent(share))
                })),
            ]);
        }
    }
    table
}

/// Returns the ledger of every run, part by part.
pub(super) fn ledgers(report: &Report<'_>) -> TextTable {
    let mut table = TextTable::new(
        &["run", "protocol", "part"],
        &["total", "excluded", "not run", "asked", "correct", "wrong", "unparsed", "errored"],
    );
    for run in &report.runs {
        for part in &run.records.summary.parts {
            let words =
                [run.records.label.clone(), run.records.protocol_label(), part.name.clone()];
            table.row(words.into_iter().chain(counts(&part.ledger).map(|n| n.to_string())));
        }
    }
    table
}

/// Returns what each rule reads in the last reply to each question, a row for a run and rule.
pub(super) fn rules(report: &Report<'_>) -> TextTable {
    let mut table = TextTable::new(
        &["run", "rule"],
        &["replies", "read", "by default", "correct", "of these by default", "accuracy"],
    );
    for run in &report.runs {
        for total in run.readings.totals.iter().filter(|total| total.replies > 0) {
            let counts = [
                total.replies,
                total.parsed,
                total.defaulted,
                total.correct,
                total.correct_by_default,
            ];
            let share = total.correct as f64 / total.replies as f64;
            table.row(
                [run.records.label.clone(), total.rule.clone()]
                    .into_iter()
                    .chain(counts.map(|count| count.to_string()))
                    .chain([format::percent(share)]),
            );
        }
    }
    table
}

/// Counts in the order total, excluded, not run, asked, correct, wrong, unparsed, errored.
fn counts(ledger: &Ledger) -> [usize; 8] {
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
}
