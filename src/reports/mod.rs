//! Reports of runs: text, Markdown, CSV, JSON and one self-contained HTML page.
//!
//! Everything is rendered from the records of run directories; no model is run. Every number
//! stands beside the protocol that made it (`id@hash`), and no accuracy is printed from a ledger
//! that does not add up.

pub mod audit;
pub mod corpus;
mod csv;
mod error;
pub mod export;
mod fields;
mod fill;
pub mod format;
mod html;
mod island;
mod json;
mod markdown;
pub mod page;
mod pair;
pub mod plot;
mod readings;
mod records;
mod schema;
mod table;
mod tables;
mod text;

use serde_json::Value;

pub use csv::{COLUMNS, csv};
pub use error::ReportError;
pub use fields::{Field, check, json_schema};
pub use fill::{Filled, fields};
pub use html::html;
pub use json::json;
pub use markdown::markdown;
pub use pair::Pair;
pub use readings::{Readings, RuleTotals, code};
pub use records::{Fate, Row, RunRecords, short_label};
pub use schema::{Group, NOT_REPORTED, SCHEMA, SCHEMA_VERSION};
pub use table::{TextTable, escape};
pub use text::text;

use crate::stats;

/// Runs side by side, with everything that is worked out from them.
#[derive(Debug)]
pub struct Report<'a> {
    /// The runs, in the order given.
    pub runs: Vec<RunReport<'a>>,
    /// Every two of them that asked the same exam, both ways round.
    pub pairs: Vec<Pair>,
}

/// A run with what is worked out from it.
#[derive(Debug)]
pub struct RunReport<'a> {
    /// The run.
    pub records: &'a RunRecords,
    /// What every rule reads in its replies.
    pub readings: Readings,
    /// The printed value it is held against, with the verdict; set by a study.
    pub printed: Option<Value>,
}

/// Above this number of runs only comparisons with the first one are worked out.
const MAX_RUNS_PAIRED: usize = 12;

impl<'a> Report<'a> {
    /// Works out what every rule reads in every reply, and how the runs differ.
    ///
    /// # Errors
    ///
    /// [`ReportError::Ledger`] if the counts of a part do not add up.
    pub fn new(runs: &'a [RunRecords]) -> Result<Self, ReportError> {
        for run in runs {
            records::check_ledgers(run)?;
        }
        let report =
            |records| RunReport { records, readings: Readings::of(records), printed: None };
        Ok(Self { runs: runs.iter().map(report).collect(), pairs: pairs(runs) })
    }

    /// Returns the comparisons that a run takes part in as the second.
    pub fn pairs_of(&self, run: &RunReport<'_>) -> impl Iterator<Item = &Pair> {
        let place = self.runs.iter().position(|each| std::ptr::eq(each.records, run.records));
        self.pairs.iter().filter(move |pair| Some(pair.b) == place)
    }

    /// Returns each two runs once: the comparisons of a later run with an earlier one.
    pub fn pairs_once(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter().filter(|pair| pair.a < pair.b)
    }

    /// Returns what a reader should know before comparing numbers.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for run in &self.runs {
            let ledger = run.records.summary.parts.first().map(|part| &part.ledger);
            if run.records.manifest.ended_at.is_none() {
                warnings
                    .push(format!("{} has not ended: its numbers are partial", run.records.label));
            }
            if ledger.is_some_and(|ledger| ledger.errored > 0) {
                let errored = ledger.map_or(0, |ledger| ledger.errored);
                let words = format::count(errored, "question");
                warnings.push(format!("{}: {words} got no reply", run.records.label));
            }
        }
        let differ = |pick: fn(&RunRecords) -> &str| {
            self.runs.windows(2).any(|two| pick(two[0].records) != pick(two[1].records))
        };
        if differ(|run| &run.manifest.exam.sha256) {
            warnings
                .push("these runs asked different exams: their accuracies do not compare".into());
        }
        if differ(|run| &run.manifest.protocol.sha256) {
            warnings
                .push("these runs used different protocols: compare within one protocol".into());
        }
        warnings
    }
}

/// Compares runs both ways round, and adjusts each family of p values (each two runs once).
fn pairs(runs: &[RunRecords]) -> Vec<Pair> {
    let last = if runs.len() > MAX_RUNS_PAIRED { 1 } else { runs.len() };
    let places = (0..last).flat_map(|a| (a + 1..runs.len()).map(move |b| (a, b)));
    let mut pairs = Vec::new();
    for (a, b) in places {
        let both = [[a, b], [b, a]].map(|[x, y]| Pair::of([x, y], [&runs[x], &runs[y]]));
        if let [Some(forth), Some(back)] = both {
            pairs.push([forth, back]);
        }
    }
    let p_values: Vec<f64> = pairs.iter().map(|[forth, _]| forth.p).collect();
    if let Ok(adjusted) = stats::holm(&p_values) {
        for (both, p) in pairs.iter_mut().zip(adjusted) {
            both.iter_mut().for_each(|pair| pair.adjust(p));
        }
    }
    pairs.into_iter().flatten().collect()
}
