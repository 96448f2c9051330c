//! Two accuracies on different questions, and means over questions that come in groups.

use std::collections::BTreeMap;

use super::{Confidence, Interval, Share, StatsError, special};

/// A two-sided z test of two independent shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TwoProportions {
    /// First minus second.
    pub difference: f64,
    /// The statistic; 0 where both shares are 0 or both are 1.
    pub z: f64,
    /// Its two-sided p.
    pub p: f64,
}

/// Tests two independent shares with the pooled variance.
///
/// Only for different questions, or where the answers to each question are unknown, as with
/// printed tables: on the same questions it wastes what pairing knows.
///
/// # Examples
///
/// ```
/// use medharness::stats::{Share, two_proportions};
///
/// // The paper's 13B on Step 1 against another group's figure for the same weights.
/// let test = two_proportions(Share::new(43, 91)?, Share::new(11, 90)?);
/// assert_eq!(format!("{:.1}", test.z), "5.2");
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn two_proportions(first: Share, second: Share) -> TwoProportions {
    let difference = first.value() - second.value();
    let (n, m) = (first.trials() as f64, second.trials() as f64);
    let pooled = (first.successes() + second.successes()) as f64 / (n + m);
    let variance = pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m);
    let z = if variance > 0.0 { difference / variance.sqrt() } else { 0.0 };
    TwoProportions { difference, z, p: special::normal_two_sided(z) }
}

/// A mean over grouped questions, tested against 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClusteredMean {
    /// Plain mean over all questions.
    pub mean: f64,
    /// Its standard error, groups taken as wholes.
    pub standard_error: f64,
    /// The same as if every question stood alone: sample deviation / sqrt(n).
    pub naive_standard_error: f64,
    /// Groups.
    pub clusters: usize,
    /// Two-sided p of "the mean is 0", Student's t with clusters - 1 degrees of freedom.
    pub p: f64,
    /// Interval from the same distribution.
    pub interval: Interval,
}

/// Returns the mean of `values` with a standard error that respects `clusters`.
///
/// With values of first minus second run it is the paired test for questions that share a
/// vignette or are translations of each other. The variance is the sandwich
/// G / (G - 1) * sum over groups of (sum of deviations)^2 / n^2; with one question a group it is
/// the plain standard error.
///
/// Source: arXiv 2411.00640, section 2.2, with the correction for G groups of statsmodels'
/// `cov_type="cluster"`.
///
/// # Errors
///
/// [`StatsError`] if lengths differ, a value is not finite, or there are fewer than 2 groups.
pub fn clustered_mean(
    values: &[f64],
    clusters: &[usize],
    confidence: Confidence,
) -> Result<ClusteredMean, StatsError> {
    let (left, right) = (values.len(), clusters.len());
    if left != right {
        return Err(StatsError::Lengths { what: "values and their clusters", left, right });
    }
    if let Some((index, got)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        return Err(StatsError::NotFinite { what: "value", index, got: *got });
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let mut sums = BTreeMap::<usize, f64>::new();
    for (value, cluster) in values.iter().zip(clusters) {
        *sums.entry(*cluster).or_default() += value - mean;
    }
    let groups = sums.len();
    if groups < 2 {
        return Err(StatsError::TooFewClusters { got: groups });
    }
    let degrees = (groups - 1) as f64;
    let squares: f64 = sums.values().map(|sum| sum * sum).sum();
    let standard_error = (groups as f64 / degrees * squares).sqrt() / n;
    let spread: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let p = if standard_error > 0.0 {
        special::student_two_sided(mean / standard_error, degrees)
    } else if mean.abs() > 0.0 {
        0.0
    } else {
        1.0
    };
    let half =
        standard_error * special::student_two_sided_quantile(1.0 - confidence.value(), degrees);
    Ok(ClusteredMean {
        mean,
        standard_error,
        naive_standard_error: (spread / (n * (n - 1.0))).sqrt(),
        clusters: groups,
        p,
        interval: Interval { low: mean - half, high: mean + half },
    })
}
