//! A sample of each source for people to judge, and what their verdicts amount to.
//!
//! The sheet is a CSV file. Which rows are drawn depends on the seed, the source's name and the
//! row's number within it, on nothing else. Raters fill in `verdict` (and a second one
//! `second_verdict`) with `ok` or `error`; where they differ, `settled_verdict` takes what they agree
//! on and then counts. What is empty was not judged and is counted.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    io,
};

use serde::{Deserialize, Serialize};

use super::run::source_of;
use crate::{
    corpus::{Row, RowPlace},
    stats::{Confidence, Seed, Share, StatsError, cohen_kappa},
};

/// Rows that give ±5 points at 95 % whatever the rate: 1.96² · 0.25 / 0.05², rounded up.
pub const ROWS_A_SOURCE: usize = 385;

/// One line of the sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    source: String,
    /// Rows of the source, for the weighted total.
    source_rows: usize,
    file: String,
    row: usize,
    #[serde(default)]
    id: String,
    seed: u64,
    instruction: String,
    input: String,
    output: String,
    #[serde(default)]
    verdict: String,
    #[serde(default)]
    second_verdict: String,
    #[serde(default)]
    settled_verdict: String,
    #[serde(default)]
    note: String,
}

/// A drawn row; the heap keeps the smallest keys.
#[derive(PartialEq, Eq)]
struct Drawn {
    key: u64,
    number: usize,
    line: Line,
}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.key, self.number).cmp(&(other.key, other.number))
    }
}

/// A sample under construction: the rows with the smallest random keys, the same number of each
/// source. Memory holds no other row.
pub struct Sheet {
    rows_a_source: usize,
    seed: Seed,
    sources: BTreeMap<String, (usize, BinaryHeap<Drawn>)>,
}

/// Why a sheet cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SheetError {
    /// The file is no such sheet.
    #[error("the sheet cannot be read")]
    Csv(#[from] csv::Error),
    /// A verdict that is neither.
    #[error("line {line}: `{verdict}` is neither `ok` nor `error`")]
    Verdict {
        /// Line of the file where the row begins, from 1.
        line: u64,
        /// What stands there.
        verdict: String,
    },
    /// The number of a source's rows differs between lines.
    #[error("line {line}: `{source_name}` has {got} rows here and {expected} before")]
    SourceRows {
        /// Line of the file where the row begins, from 1.
        line: u64,
        /// The source.
        source_name: String,
        /// Here.
        got: usize,
        /// Before.
        expected: usize,
    },
    /// Nobody has judged anything.
    #[error("no row of the sheet has a verdict")]
    NoVerdict,
    /// A figure cannot be computed.
    #[error("no rate can be computed")]
    Stats(#[from] StatsError),
}

impl Sheet {
    /// Starts a sample of `rows_a_source` rows of each source.
    pub fn new(rows_a_source: usize, seed: Seed) -> Self {
        Self { rows_a_source, seed, sources: BTreeMap::new() }
    }

    /// Offers row `number` (from 1) of `file`.
    pub fn add(&mut self, file: &str, number: usize, row: &Row) {
        let source = source_of(file, row);
        let (rows, drawn) = self.sources.entry(source.clone()).or_default();
        *rows += 1;
        let key = self.seed.derive(&format!("{source}\n{rows}"), 1).0;
        let is_drawn = drawn.len() < self.rows_a_source
            || drawn.peek().is_some_and(|last| (key, *rows) < (last.key, last.number));
        if !is_drawn {
            return;
        }
        let line = Line {
            source,
            source_rows: 0,
            file: file.to_owned(),
            row: number,
            id: row.id.clone().unwrap_or_default(),
            seed: self.seed.0,
            instruction: row.instruction.clone(),
            input: row.input.clone(),
            output: row.output.clone(),
            verdict: String::new(),
            second_verdict: String::new(),
            settled_verdict: String::new(),
            note: String::new(),
        };
        drawn.push(Drawn { key, number: *rows, line });
        if drawn.len() > self.rows_a_source {
            drawn.pop();
        }
    }

    /// Writes the sheet: sources by name, rows in their order. Returns the number of rows.
    ///
    /// # Errors
    ///
    /// If `out` cannot be written.
    pub fn write(self, out: impl io::Write) -> Result<usize, csv::Error> {
        let mut csv = csv::Writer::from_writer(out);
        let mut written = 0;
        for (rows, drawn) in self.sources.into_values() {
            let mut drawn = drawn.into_vec();
            drawn.sort_unstable_by_key(|drawn| drawn.number);
            for Drawn { line, .. } in drawn {
                csv.serialize(Line { source_rows: rows, ..line })?;
                written += 1;
            }
        }
        csv.flush()?;
        Ok(written)
    }
}

/// What the raters found in one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedSource {
    /// The source.
    pub source: String,
    /// Its rows.
    pub rows: usize,
    /// Of these on the sheet.
    pub drawn: usize,
    /// Of these judged: settled, or else by the first rater.
    pub judged: usize,
    /// Of these in error.
    pub errors: usize,
    /// `errors / judged`; `None` if nothing was judged.
    pub rate: Option<f64>,
    /// Its 95 % Wilson interval.
    pub wilson: Option<[f64; 2]>,
    /// The rows drawn.
    pub sample: Vec<RowPlace>,
}

/// What the raters found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Judged {
    /// By source, in the order of names.
    pub sources: Vec<JudgedSource>,
    /// Error rate of the whole: the sources' rates weighted by their rows. `None` if a source was
    /// not judged.
    pub weighted_rate: Option<f64>,
    /// Its 95 % interval: the sources' Wilson half-widths, weighted and added in quadrature.
    pub weighted_interval: Option<[f64; 2]>,
    /// Rows judged by both raters.
    pub judged_twice: usize,
    /// Cohen's kappa of the two; `None` if no row was judged twice or chance agreement is certain.
    pub kappa: Option<f64>,
    /// Rows on which they differ and nothing is settled: `source, file, row`.
    pub disagreements: Vec<String>,
    /// Rows with a settled verdict.
    pub settled: usize,
    /// Seed of the sample; `None` if rows differ in it.
    pub seed: Option<u64>,
}

impl Judged {
    /// Reads a sheet that raters have filled in.
    ///
    /// # Errors
    ///
    /// [`SheetError`] for another file, a word that is no verdict, or a sheet without verdicts.
    pub fn read(sheet: impl io::Read) -> Result<Self, SheetError> {
        let mut sources: BTreeMap<String, JudgedSource> = BTreeMap::new();
        let mut twice: [Vec<bool>; 2] = Default::default();
        let (mut disagreements, mut settled_rows) = (Vec::new(), 0);
        let mut seeds = BTreeSet::new();
        let mut csv = csv::Reader::from_reader(sheet);
        let head = csv.headers()?.clone();
        for record in csv.records() {
            let record = record?;
            let number = record.position().map_or(0, csv::Position::line);
            let line: Line = record.deserialize(Some(&head))?;
            let wrong = |verdict| SheetError::Verdict { line: number, verdict };
            let first = is_error(&line.verdict).map_err(wrong)?;
            let second = is_error(&line.second_verdict).map_err(wrong)?;
            let settled = is_error(&line.settled_verdict).map_err(wrong)?;
            let counted = settled.or(first);
            settled_rows += usize::from(settled.is_some());
            seeds.insert(line.seed);
            let source = sources.entry(line.source.clone()).or_insert_with(|| JudgedSource {
                source: line.source.clone(),
                rows: line.source_rows,
                drawn: 0,
                judged: 0,
                errors: 0,
                rate: None,
                wilson: None,
                sample: Vec::new(),
            });
            if source.rows != line.source_rows {
                let (source_name, got, expected) = (line.source, line.source_rows, source.rows);
                return Err(SheetError::SourceRows { line: number, source_name, got, expected });
            }
            source.drawn += 1;
            let id = Some(line.id).filter(|id| !id.is_empty());
            source.sample.push(RowPlace { file: line.file.clone(), row: line.row, id });
            source.judged += usize::from(counted.is_some());
            source.errors += usize::from(counted == Some(true));
            if let (Some(first), Some(second)) = (first, second) {
                twice[0].push(first);
                twice[1].push(second);
                if first != second && settled.is_none() {
                    disagreements.push(format!("{}, {}, {}", line.source, line.file, line.row));
                }
            }
        }
        let mut sources: Vec<JudgedSource> = sources.into_values().collect();
        if sources.iter().all(|source| source.judged == 0) {
            return Err(SheetError::NoVerdict);
        }
        for source in sources.iter_mut().filter(|source| source.judged > 0) {
            let share = Share::new(source.errors, source.judged)?;
            source.rate = Some(share.value());
            source.wilson = Some(share.wilson(Confidence::P95).into());
        }
        let weighted = weighted(&sources);
        let judged_twice = twice[0].len();
        let kappa = if judged_twice == 0 { None } else { cohen_kappa(&twice[0], &twice[1])?.value };
        Ok(Self {
            sources,
            weighted_rate: weighted.map(|(rate, _)| rate),
            weighted_interval: weighted.map(|(_, interval)| interval),
            judged_twice,
            kappa,
            disagreements,
            settled: settled_rows,
            seed: seeds.first().copied().filter(|_| seeds.len() == 1),
        })
    }
}

/// Whether a verdict says error; `None` for none.
fn is_error(verdict: &str) -> Result<Option<bool>, String> {
    match verdict.trim().to_lowercase().as_str() {
        "" => Ok(None),
        "ok" => Ok(Some(false)),
        "error" => Ok(Some(true)),
        _ => Err(verdict.to_owned()),
    }
}

fn weighted(sources: &[JudgedSource]) -> Option<(f64, [f64; 2])> {
    let rows: usize = sources.iter().map(|source| source.rows).sum();
    let (mut rate, mut below, mut above) = (0.0, 0.0, 0.0);
    for source in sources {
        let (own, [low, high]) = (source.rate?, source.wilson?);
        let weight = source.rows as f64 / rows.max(1) as f64;
        rate += weight * own;
        below += (weight * (own - low)).powi(2);
        above += (weight * (high - own)).powi(2);
    }
    Some((rate, [rate - below.sqrt(), rate + above.sqrt()]))
}
