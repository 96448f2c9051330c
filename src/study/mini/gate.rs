//! Whether a study repeats its baseline: every run of one against the same run of the other.
//!
//! A harness must repeat, not improve: a run fails if its right answers, or the replies out of which
//! an option is read, move by more than the margin in either direction and the exact paired test
//! calls that more than chance. Each run has three such families (the whole, the steps, what is
//! read), and alpha is divided by their number: a study that differs by chance alone fails at most
//! a share alpha of the time.

use serde::Serialize;

use super::{Record, RowRecord, RunRecord};
use crate::{
    claims::runs::{Fails, Gate, GateError, GateSettings, gate as gate_run},
    study::StudyError,
};

/// What a gate over a whole study decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StudyGate {
    /// Whether every run repeats, and none is missing that must not be.
    pub passes: bool,
    /// Share of each family's tests: alpha over their number.
    pub alpha: f64,
    /// Every run that both have.
    pub runs: Vec<RunGate>,
    /// Runs of the baseline that were not made, as `row, seed N, exam, protocol`.
    pub missing: Vec<String>,
    /// Runs that were made and that the baseline has not; nothing is held against them.
    pub added: Vec<String>,
    /// Whether missing runs were accepted.
    pub partial: bool,
}

/// One run against its baseline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunGate {
    /// The row.
    pub row: String,
    /// Its seed.
    pub seed: u64,
    /// The exam's name.
    pub exam: String,
    /// The protocol's id.
    pub protocol: String,
    /// What was decided.
    pub gate: Gate,
}

/// Holds every run of `run` against that of `baseline`.
///
/// `settings.alpha` is that of the whole study; `partial` accepts runs that were not made.
///
/// # Errors
///
/// [`StudyError::Gate`] if exam, protocol or version of a run differ, or no run is in both.
pub fn gate(
    baseline: &Record,
    run: &Record,
    settings: &GateSettings,
    partial: bool,
) -> Result<StudyGate, StudyError> {
    settings.check().map_err(StudyError::Gate)?;
    let mut pairs = Vec::new();
    let mut missing = Vec::new();
    for (row, seed, before) in runs(baseline) {
        let twin = runs(run).find(|(other, n, after)| {
            other.id == row.id
                && *n == seed
                && (&after.exam, &after.protocol) == (&before.exam, &before.protocol)
        });
        match twin {
            Some((_, _, after)) => pairs.push((row, seed, before, after)),
            None => missing.push(name_of(row, seed, before)),
        }
    }
    if pairs.is_empty() {
        let differences = vec!["no run of the baseline was made".to_owned()];
        return Err(StudyError::Gate(GateError::NotComparable { differences }));
    }
    let alpha = settings.alpha / (3 * pairs.len()) as f64;
    let each = GateSettings { alpha, fails: Fails::OnAnyMove, ..*settings };
    let mut gated = Vec::with_capacity(pairs.len());
    for (row, seed, before, after) in pairs {
        let outcomes = |record: &Record, run: &RunRecord| {
            record
                .outcomes(run)
                .map_err(|problem| StudyError::Definition { path: row.id.clone().into(), problem })
        };
        let (a, b) = (outcomes(baseline, before)?, outcomes(run, after)?);
        let gate = gate_run(&a, &b, &each).map_err(StudyError::Gate)?;
        let (row, exam) = (row.id.clone(), before.exam.clone());
        gated.push(RunGate { row, seed, exam, protocol: before.protocol.clone(), gate });
    }
    let is_known =
        |name: &String| runs(baseline).any(|(row, seed, known)| name_of(row, seed, known) == *name);
    let added =
        runs(run).map(|(row, seed, run)| name_of(row, seed, run)).filter(|name| !is_known(name));
    let added: Vec<String> = added.collect();
    let repeats = gated.iter().all(|run| run.gate.passes);
    let passes = repeats && (partial || missing.is_empty());
    Ok(StudyGate { passes, alpha, runs: gated, missing, added, partial })
}

/// Every run of a record with its row and seed.
fn runs(record: &Record) -> impl Iterator<Item = (&RowRecord, u64, &RunRecord)> {
    record.rows.iter().flat_map(|row| {
        let seeds = row.seeds.iter();
        seeds.flat_map(move |seed| seed.runs.iter().map(move |run| (row, seed.seed, run)))
    })
}

impl RunGate {
    /// Returns what the run is called in lists.
    pub fn name(&self) -> String {
        run_name(&self.row, self.seed, &self.exam, &self.protocol)
    }
}

fn name_of(row: &RowRecord, seed: u64, run: &RunRecord) -> String {
    run_name(&row.id, seed, &run.exam, &run.protocol)
}

fn run_name(row: &str, seed: u64, exam: &str, protocol: &str) -> String {
    format!("{row}, seed {seed}, {exam}, {protocol}")
}
