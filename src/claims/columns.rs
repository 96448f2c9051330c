//! Which number of questions explains a column of printed accuracies.
//!
//! For each candidate N the rows are counted whose digits some k of N can print. By chance a row
//! fits with the probability that a random text of its precision would; the tail of the sum of
//! these gives p. As the N that fits best is picked among many, p is also multiplied by the number
//! of candidates (Bonferroni): an upper bound for finding so good an N anywhere by chance.

use serde::Serialize;

use super::{Table, table::Baseline};
use crate::stats::{Confidence, PrintedShare};

/// How well one number of questions explains a column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fit {
    /// Number of questions.
    pub n: usize,
    /// Rows whose digits some count out of `n` prints.
    pub rows: usize,
    /// Mean chance of a row to fit by accident.
    pub chance_per_row: f64,
    /// Chance that so many rows or more fit by accident.
    pub p: f64,
    /// `p` times the number of candidates, at most 1.
    pub p_corrected: f64,
}

/// A column: what was tried and what was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnAudit {
    /// Its heading.
    pub name: String,
    /// Rows that print an accuracy.
    pub printed: usize,
    /// The number of questions given in the table, if one is.
    pub given: Option<Fit>,
    /// The candidate that explains most rows; of several the one least likely by chance. `None`
    /// where no row fits any candidate.
    pub found: Option<Fit>,
    /// Whether `found` explains more than chance would at 5 %, searching corrected for.
    pub found_beyond_chance: bool,
    /// The next best candidate, for comparison.
    pub runner_up: Option<Fit>,
    /// Numbers that somebody stated.
    pub stated: Vec<StatedFit>,
    /// Every candidate, in ascending order of N.
    pub candidates: Vec<Fit>,
    /// What a constant answer scores.
    pub baseline: Option<BaselineAudit>,
}

/// A stated number of questions with its fit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StatedFit {
    /// Who says so.
    #[serde(rename = "where")]
    pub place: String,
    /// How well it explains the column.
    #[serde(flatten)]
    pub fit: Fit,
}

/// The constant answer a column is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BaselineAudit {
    /// E.g. `always D`.
    pub label: String,
    /// How often it is right.
    pub successes: usize,
    /// On how many questions.
    pub trials: usize,
    /// The share.
    pub value: f64,
    /// Its 95 % Wilson interval.
    pub wilson: [f64; 2],
    /// Counted on which questions.
    #[serde(rename = "where")]
    pub place: String,
}

impl ColumnAudit {
    /// Audits the column at position `index` of `table`.
    pub(super) fn new(table: &Table, index: usize) -> Self {
        let column = &table.columns[index];
        let printed: Vec<&PrintedShare> =
            table.rows.iter().filter_map(|row| row.values[index].as_ref()).collect();
        let numbers = table.candidates.numbers();
        let tried = numbers.len();
        let candidates: Vec<Fit> = numbers.iter().map(|n| fit(&printed, *n, tried)).collect();
        let mut ranked: Vec<&Fit> = candidates.iter().filter(|fit| fit.rows > 0).collect();
        ranked.sort_by(|a, b| b.rows.cmp(&a.rows).then(a.p.total_cmp(&b.p)));
        let found = ranked.first().copied().cloned();
        let stated = column
            .stated
            .iter()
            .map(|stated| StatedFit {
                place: stated.place.clone(),
                fit: fit(&printed, stated.n, tried),
            })
            .collect();
        Self {
            name: column.name.clone(),
            printed: printed.len(),
            given: column.n.map(|n| fit(&printed, n, 1)),
            found_beyond_chance: found
                .as_ref()
                .is_some_and(|fit| fit.p_corrected < super::audit::ALPHA),
            runner_up: ranked.get(1).copied().cloned(),
            found,
            stated,
            baseline: column.baseline.as_ref().map(baseline),
            candidates,
        }
    }
}

fn baseline(baseline: &Baseline) -> BaselineAudit {
    BaselineAudit {
        label: baseline.label.clone(),
        successes: baseline.share.successes(),
        trials: baseline.share.trials(),
        value: baseline.share.value(),
        wilson: baseline.share.wilson(Confidence::P95).into(),
        place: baseline.place.clone(),
    }
}

fn fit(printed: &[&PrintedShare], n: usize, tried: usize) -> Fit {
    let rows = printed.iter().filter(|value| !value.counts(n).is_empty()).count();
    let chances: Vec<f64> = printed.iter().map(|value| value.chance_of_a_fit(n)).collect();
    let p = at_least(rows, &chances);
    let p_corrected = (p * tried as f64).min(1.0);
    let chance_per_row = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
    Fit { n, rows, chance_per_row, p, p_corrected }
}

/// P(at least `count` of independent events with these chances happen); exact, positive terms only.
fn at_least(count: usize, chances: &[f64]) -> f64 {
    // masses[k]: probability of k events so far.
    let mut masses = vec![1.0];
    for chance in chances {
        masses.push(0.0);
        for k in (0..masses.len()).rev() {
            let before = if k == 0 { 0.0 } else { masses[k - 1] };
            masses[k] = masses[k] * (1.0 - chance) + before * chance;
        }
    }
    // Smallest terms first.
    masses[count..].iter().rev().sum::<f64>().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::at_least;
    use crate::stats::binomial_at_least;

    #[test]
    fn equal_chances_give_the_binomial_tail() {
        for (count, chance) in [(0, 0.1), (1, 0.1), (9, 0.0919), (13, 0.0919), (13, 1.0)] {
            let ours = at_least(count, &[chance; 13]);
            let theirs = binomial_at_least(count, 13, chance).expect("valid");
            assert!((ours - theirs).abs() <= 1e-12 * theirs, "{count}: {ours} {theirs}");
        }
    }

    #[test]
    fn different_chances_are_summed_over_all_ways() {
        // One of two: 0.5 * 0.8 + 0.5 * 0.2, both: 0.5 * 0.2.
        assert!((at_least(1, &[0.5, 0.2]) - 0.6).abs() < 1e-15);
        assert!((at_least(2, &[0.5, 0.2]) - 0.1).abs() < 1e-15);
    }
}
