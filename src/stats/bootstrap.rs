//! Seeded bootstrap of a mean over questions, or over whole groups of questions.
//!
//! Resample number r draws from [`Generator::numbered`]`(seed, r)`, so the result does not depend
//! on how the resamples are spread over threads. Sums run in the order drawn.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Confidence, Generator, Interval, Seed, StatsError};

/// Fewest resamples accepted; the ends of a 95 % interval then rest on 250 each.
pub const MIN_RESAMPLES: usize = 10_000;

/// A mean with its percentile interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Mean of the data as they are.
    pub estimate: f64,
    /// Percentile interval (linear interpolation between order statistics, as numpy's default).
    pub interval: Interval,
    /// Resamples drawn.
    pub resamples: usize,
    /// Where they started.
    pub seed: Seed,
}

/// Bootstraps the mean of `differences` (first minus second run, question by question).
///
/// # Errors
///
/// [`StatsError`] if there are no values, one is not finite, or there are fewer than
/// [`MIN_RESAMPLES`] resamples.
///
/// # Examples
///
/// ```
/// use medharness::stats::{Confidence, Seed, paired_bootstrap};
///
/// let differences = [1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 1.0];
/// let result = paired_bootstrap(&differences, 10_000, Seed(1), Confidence::P95)?;
/// assert_eq!(result.estimate, 0.25);
/// assert!(result.interval.contains(0.25));
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn paired_bootstrap(
    differences: &[f64],
    resamples: usize,
    seed: Seed,
    confidence: Confidence,
) -> Result<Bootstrap, StatsError> {
    check(differences, resamples)?;
    let estimate = differences.iter().sum::<f64>() / differences.len() as f64;
    Ok(resample(estimate, resamples, seed, confidence, |generator| {
        let draws = differences.len();
        let sum: f64 = (0..draws).map(|_| differences[generator.index(draws)]).sum();
        sum / draws as f64
    }))
}

/// The same with whole groups drawn: as many groups as there are, each with all its questions.
///
/// `clusters[i]` names the group of question i; groups are ordered by name. The mean of a resample
/// is over the questions it happens to hold.
///
/// # Errors
///
/// As [`paired_bootstrap`], and if the lengths differ or there are fewer than 2 groups.
pub fn paired_bootstrap_clustered(
    differences: &[f64],
    clusters: &[usize],
    resamples: usize,
    seed: Seed,
    confidence: Confidence,
) -> Result<Bootstrap, StatsError> {
    check(differences, resamples)?;
    let (left, right) = (differences.len(), clusters.len());
    if left != right {
        return Err(StatsError::Lengths { what: "differences and their clusters", left, right });
    }
    let mut groups = BTreeMap::<usize, (f64, usize)>::new();
    for (difference, cluster) in differences.iter().zip(clusters) {
        let (sum, size) = groups.entry(*cluster).or_default();
        *sum += difference;
        *size += 1;
    }
    let groups: Vec<(f64, usize)> = groups.into_values().collect();
    if groups.len() < 2 {
        return Err(StatsError::TooFewClusters { got: groups.len() });
    }
    let estimate = differences.iter().sum::<f64>() / left as f64;
    Ok(resample(estimate, resamples, seed, confidence, |generator| {
        let mut sum = 0.0;
        let mut size = 0;
        for _ in 0..groups.len() {
            let (group_sum, group_size) = groups[generator.index(groups.len())];
            sum += group_sum;
            size += group_size;
        }
        sum / size as f64
    }))
}

fn check(differences: &[f64], resamples: usize) -> Result<(), StatsError> {
    if differences.is_empty() {
        return Err(StatsError::NoTrials);
    }
    if let Some((index, got)) = differences.iter().enumerate().find(|(_, d)| !d.is_finite()) {
        return Err(StatsError::NotFinite { what: "difference", index, got: *got });
    }
    if resamples < MIN_RESAMPLES {
        return Err(StatsError::TooFewResamples { got: resamples });
    }
    Ok(())
}

fn resample(
    estimate: f64,
    resamples: usize,
    seed: Seed,
    confidence: Confidence,
    mean: impl Fn(&mut Generator) -> f64 + Sync,
) -> Bootstrap {
    let count = u64::try_from(resamples).expect("a count fits 64 bits");
    let mut means: Vec<f64> = (0..count)
        .into_par_iter()
        .map(|index| mean(&mut Generator::numbered(seed, index)))
        .collect();
    means.par_sort_unstable_by(f64::total_cmp);
    let tail = confidence.tail();
    let interval = Interval { low: percentile(&means, tail), high: percentile(&means, 1.0 - tail) };
    Bootstrap { estimate, interval, resamples, seed }
}

/// Linear interpolation at position share * (n - 1) of the sorted values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}
