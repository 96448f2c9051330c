//! What a printed table can mean: denominators, counts, intervals, and which rows differ from
//! answering always the same letter and from their base model.
//!
//! Tests are two-proportion z tests that treat the two shares as independent: the answers to each
//! question are not printed, so pairing is impossible. Where both were measured on the same
//! questions this is on the safe side. Holm's correction runs over all tests of one kind in the
//! table.

use serde::Serialize;

use super::{
    Table,
    columns::ColumnAudit,
    evidence::{Evidence, Inference},
    statement::{Claims, Judged},
};
use crate::stats::{Confidence, PrintedShare, Share, holm, two_proportions};

/// Version of the JSON form.
const SCHEMA: &str = "medharness-audit/1";

/// Size of every test.
pub(super) const ALPHA: f64 = 0.05;

/// An audited table. Its JSON form is stable within a version of `schema`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// `medharness-audit/1`.
    pub schema: &'static str,
    /// Which table.
    pub table: TableIdentity,
    /// How it was audited.
    pub settings: Settings,
    /// In the table's order.
    pub columns: Vec<ColumnAudit>,
    /// In the table's order.
    pub rows: Vec<RowAudit>,
    /// Why the numbers of questions are what they are; only for the paper's table.
    pub inference: Option<Inference>,
    /// Claims in words with their verdicts; only for the paper's table.
    pub claims: Vec<Judged>,
}

/// Which table was audited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableIdentity {
    /// Its name.
    pub name: String,
    /// sha256 over headings, models and printed texts.
    pub sha256: String,
}

/// How a table was audited.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// Level of every interval.
    pub confidence: f64,
    /// Size of every test.
    pub alpha: f64,
    /// When a count fits a printed text.
    pub rounding: &'static str,
    /// The test behind every comparison.
    pub test: &'static str,
    /// Number of candidates for N.
    pub candidates: usize,
    /// Smallest of them.
    pub from: usize,
    /// Largest of them.
    pub to: usize,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowAudit {
    /// The model.
    pub model: String,
    /// The row of its base model.
    pub base: Option<String>,
    /// One a column; `None` where nothing is printed.
    pub cells: Vec<Option<CellAudit>>,
}

/// One printed accuracy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellAudit {
    /// Its digits.
    pub printed: String,
    /// The count it is taken for; `None` where no number of questions is known or found.
    pub count: Option<Count>,
    /// The count's 95 % Wilson interval.
    pub wilson: Option<[f64; 2]>,
    /// Against the column's constant answer.
    pub against_baseline: Option<Comparison>,
    /// Against the row's base model.
    pub against_base: Option<Comparison>,
    /// Every candidate N with the counts that print these digits.
    pub fits: Vec<Alternative>,
}

/// A count with how it was got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Right answers.
    pub successes: usize,
    /// Questions.
    pub trials: usize,
    /// How it was got.
    pub kind: CountKind,
}

/// How a count follows from a printed accuracy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CountKind {
    /// The only count out of `trials` that prints these digits.
    Implied,
    /// The middle one of several that do.
    OneOfSeveral,
    /// None does; this is the nearest, for intervals and tests only.
    Nearest,
}

/// A number of questions with every count that prints the digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alternative {
    /// Questions.
    pub trials: usize,
    /// Right answers.
    pub successes: Vec<usize>,
}

/// A row against something else.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Row minus the other, as shares.
    pub difference: f64,
    /// The statistic.
    pub z: f64,
    /// Its two-sided p.
    pub p: f64,
    /// p after Holm's correction over all comparisons of this kind in the table.
    pub p_holm: f64,
    /// What that says.
    pub direction: Direction,
}

/// What a comparison says at [`Settings::alpha`] after correction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Significantly above.
    Above,
    /// Not distinguishable at this number of questions.
    NotDistinguishable,
    /// Significantly below.
    Below,
}

impl Audit {
    /// Audits `table`.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::claims::{Audit, Table};
    ///
    /// let audit = Audit::new(&Table::paper());
    /// let found: Vec<usize> =
    ///     audit.columns.iter().filter_map(|column| Some(column.found.as_ref()?.n)).collect();
    /// assert_eq!(found, [91, 109, 123]);
    /// ```
    pub fn new(table: &Table) -> Self {
        let columns: Vec<ColumnAudit> =
            (0..table.columns.len()).map(|index| ColumnAudit::new(table, index)).collect();
        let numbers = table.candidates.numbers();
        let counts: Vec<Vec<Option<Count>>> = table
            .rows
            .iter()
            .map(|row| {
                let given = |index: usize| row.n.as_ref().map(|n| n[index]);
                let count = |(index, value): (usize, &Option<PrintedShare>)| {
                    let column = &columns[index];
                    let n = given(index)
                        .or(column.given.as_ref().map(|fit| fit.n))
                        .or(column.found.as_ref().map(|fit| fit.n))?;
                    Some(Count::new(value.as_ref()?, n))
                };
                row.values.iter().enumerate().map(count).collect()
            })
            .collect();
        let mut rows: Vec<RowAudit> = table
            .rows
            .iter()
            .zip(&counts)
            .map(|(row, counts)| RowAudit {
                model: row.model.clone(),
                base: row.base.clone(),
                cells: row
                    .values
                    .iter()
                    .zip(counts)
                    .map(|(value, count)| Some(cell(value.as_ref()?, *count, &numbers)))
                    .collect(),
            })
            .collect();
        compare(table, &counts, &mut rows);
        let is_paper = table.sha256() == Table::paper().sha256();
        let inference = is_paper.then(|| Evidence::embedded().infer(&columns)).flatten();
        let mut audit = Self {
            schema: SCHEMA,
            table: TableIdentity { name: table.name.clone(), sha256: table.sha256() },
            settings: Settings {
                confidence: Confidence::P95.value(),
                alpha: ALPHA,
                rounding: "half away from zero, or the nearest double as C and Python print it; \
                           digits cut off are not accepted",
                test: "two-sided two-proportion z test, unpaired; Holm over all tests of a kind",
                candidates: numbers.len(),
                from: numbers.first().copied().unwrap_or_default(),
                to: numbers.last().copied().unwrap_or_default(),
            },
            columns,
            rows,
            inference,
            claims: vec![],
        };
        if is_paper {
            audit.claims = Claims::paper().judge(table, &audit);
        }
        audit
    }

    /// Returns the cell of `model` in the column at position `column`.
    pub fn cell(&self, model: &str, column: usize) -> Option<&CellAudit> {
        self.rows.iter().find(|row| row.model == model)?.cells.get(column)?.as_ref()
    }
}

impl Count {
    /// Returns what `printed` says about a count out of `n`, which is at least 1.
    pub(super) fn new(printed: &PrintedShare, n: usize) -> Self {
        let fitting = printed.counts(n);
        let (first, last) = (*fitting.start(), *fitting.end());
        let (successes, kind) = match () {
            () if fitting.is_empty() => (nearest(printed.value(), n), CountKind::Nearest),
            () if first == last => (first, CountKind::Implied),
            () => (first + (last - first) / 2, CountKind::OneOfSeveral),
        };
        Self { successes, trials: n, kind }
    }

    /// Returns the count as a share.
    pub fn share(self) -> Share {
        Share::new(self.successes, self.trials).expect("counts are made with 0 < k <= n")
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of n lies between 0 and n"
)]
fn nearest(value: f64, n: usize) -> usize {
    ((value * n as f64).round() as usize).min(n)
}

fn cell(printed: &PrintedShare, count: Option<Count>, numbers: &[usize]) -> CellAudit {
    let fits = numbers
        .iter()
        .map(|n| Alternative { trials: *n, successes: printed.counts(*n).collect() })
        .filter(|alternative| !alternative.successes.is_empty())
        .collect();
    CellAudit {
        printed: printed.text().to_owned(),
        count,
        wilson: count.map(|count| count.share().wilson(Confidence::P95).into()),
        against_baseline: None,
        against_base: None,
        fits,
    }
}

/// Fills in the comparisons of every cell.
fn compare(table: &Table, counts: &[Vec<Option<Count>>], rows: &mut [RowAudit]) {
    let position = |model: &str| table.rows.iter().position(|row| row.model == model);
    let mut baseline = Vec::new();
    let mut base = Vec::new();
    for (at, row) in table.rows.iter().enumerate() {
        let parent = row.base.as_deref().and_then(position);
        for (index, column) in table.columns.iter().enumerate() {
            let Some(own) = counts[at][index] else { continue };
            if let Some(constant) = &column.baseline {
                baseline.push(((at, index), own.share(), constant.share));
            }
            if let Some(other) = parent.and_then(|parent| counts[parent][index]) {
                base.push(((at, index), own.share(), other.share()));
            }
        }
    }
    for ((at, index), comparison) in corrected(&baseline) {
        if let Some(cell) = &mut rows[at].cells[index] {
            cell.against_baseline = Some(comparison);
        }
    }
    for ((at, index), comparison) in corrected(&base) {
        if let Some(cell) = &mut rows[at].cells[index] {
            cell.against_base = Some(comparison);
        }
    }
}

/// Tests each pair of shares, with Holm's correction over all of them; keys are passed through.
pub(super) fn corrected<K: Copy>(pairs: &[(K, Share, Share)]) -> Vec<(K, Comparison)> {
    let tests: Vec<_> = pairs.iter().map(|(_, own, other)| two_proportions(*own, *other)).collect();
    let p_values: Vec<f64> = tests.iter().map(|test| test.p).collect();
    let adjusted = holm(&p_values).expect("a z test's p lies in [0, 1]");
    pairs
        .iter()
        .zip(tests.iter().zip(adjusted))
        .map(|((key, ..), (test, p_holm))| {
            let direction = match p_holm < ALPHA {
                false => Direction::NotDistinguishable,
                true if test.difference > 0.0 => Direction::Above,
                true => Direction::Below,
            };
            let (difference, z, p) = (test.difference, test.z, test.p);
            (*key, Comparison { difference, z, p, p_holm, direction })
        })
        .collect()
}
