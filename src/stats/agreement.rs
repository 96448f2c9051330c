//! Agreement of two readings of the same replies.

use std::collections::BTreeMap;

use super::StatsError;

/// Agreement beyond chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kappa {
    /// Share of items on which both agree.
    pub observed: f64,
    /// Share expected if both labelled independently at their own rates.
    pub expected: f64,
    /// (observed - expected) / (1 - expected); `None` where both always give one and the same
    /// label, so that nothing is left to agree on.
    pub value: Option<f64>,
}

/// Returns Cohen's kappa of two labellings of the same items.
///
/// Source: J. Cohen, Educ. Psychol. Meas. 20:37 (1960); unweighted.
///
/// # Errors
///
/// [`StatsError`] if the lengths differ or there are no items.
///
/// # Examples
///
/// ```
/// use medharness::stats::cohen_kappa;
///
/// let kappa = cohen_kappa(&["A", "B", "B", "C"], &["A", "B", "C", "C"])?;
/// assert_eq!(kappa.observed, 0.75);
/// assert_eq!(kappa.value, Some(0.6363636363636364));
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn cohen_kappa<T: Ord>(first: &[T], second: &[T]) -> Result<Kappa, StatsError> {
    let (left, right) = (first.len(), second.len());
    if left != right {
        return Err(StatsError::Lengths { what: "labels", left, right });
    }
    if left == 0 {
        return Err(StatsError::NoTrials);
    }
    let mut uses = BTreeMap::<&T, (u64, u64)>::new();
    for (a, b) in first.iter().zip(second) {
        uses.entry(a).or_default().0 += 1;
        uses.entry(b).or_default().1 += 1;
    }
    let n = left as f64;
    let same = first.iter().zip(second).filter(|(a, b)| a == b).count() as f64;
    // Counts up to 2^26 multiply without rounding; the sum decides whether chance is certain.
    let chance: f64 = uses.values().map(|(a, b)| *a as f64 * *b as f64).sum();
    let (observed, expected) = (same / n, chance / (n * n));
    let value = (chance < n * n).then(|| (same * n - chance) / (n * n - chance));
    Ok(Kappa { observed, expected, value })
}
