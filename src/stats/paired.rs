//! Two runs on the same questions: what differs is decided by the questions that flipped.

use super::{Confidence, Interval, MAX_TRIALS, Margin, StatsError, normal_cdf, special};

/// How two runs came out on the same questions.
///
/// # Examples
///
/// ```
/// use medharness::stats::{Margin, PairedCounts};
///
/// let counts = PairedCounts::from_outcomes(
///     &[true, true, false, true, false],
///     &[true, false, false, false, true],
/// )?;
/// assert_eq!((counts.first_only(), counts.second_only()), (2, 1));
/// assert_eq!(counts.mcnemar(), 1.0);
/// // Five questions show no equivalence within five points.
/// assert!(counts.equivalence(Margin::new(0.05)?).p > 0.05);
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairedCounts {
    both: usize,
    first_only: usize,
    second_only: usize,
    neither: usize,
}

/// Two one-sided tests of a paired difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equivalence {
    /// p of "the first is worse by the margin or more"; small speaks for non-inferiority.
    pub p_not_worse: f64,
    /// p of "the first is better by the margin or more".
    pub p_not_better: f64,
    /// The larger of both: below alpha, the two are equivalent within the margin.
    pub p: f64,
}

impl PairedCounts {
    /// Returns the counts: right in both, in the first only, in the second only, in neither.
    ///
    /// # Errors
    ///
    /// [`StatsError::NoTrials`] if all are 0, [`StatsError::TooManyTrials`] above [`MAX_TRIALS`].
    pub fn new(
        both: usize,
        first_only: usize,
        second_only: usize,
        neither: usize,
    ) -> Result<Self, StatsError> {
        let total = [both, first_only, second_only, neither]
            .iter()
            .try_fold(0usize, |sum, count| sum.checked_add(*count))
            .filter(|total| *total <= MAX_TRIALS)
            .ok_or(StatsError::TooManyTrials)?;
        if total == 0 {
            return Err(StatsError::NoTrials);
        }
        Ok(Self { both, first_only, second_only, neither })
    }

    /// Counts right and wrong answers, question by question.
    ///
    /// # Errors
    ///
    /// [`StatsError::Lengths`] if the slices differ in length, and as [`Self::new`].
    pub fn from_outcomes(first: &[bool], second: &[bool]) -> Result<Self, StatsError> {
        if first.len() != second.len() {
            let (left, right) = (first.len(), second.len());
            return Err(StatsError::Lengths { what: "paired outcomes", left, right });
        }
        let count = |a: bool, b: bool| {
            first.iter().zip(second).filter(|(x, y)| **x == a && **y == b).count()
        };
        Self::new(count(true, true), count(true, false), count(false, true), count(false, false))
    }

    /// Returns how many questions both got right.
    pub fn both(self) -> usize {
        self.both
    }

    /// Returns how many only the first got right (McNemar's b).
    pub fn first_only(self) -> usize {
        self.first_only
    }

    /// Returns how many only the second got right (McNemar's c).
    pub fn second_only(self) -> usize {
        self.second_only
    }

    /// Returns how many neither got right.
    pub fn neither(self) -> usize {
        self.neither
    }

    /// Returns the number of questions, at least 1.
    pub fn total(self) -> usize {
        self.both + self.first_only + self.second_only + self.neither
    }

    /// Returns accuracy of the first minus accuracy of the second.
    pub fn difference(self) -> f64 {
        (self.first_only as f64 - self.second_only as f64) / self.total() as f64
    }

    /// Returns the share of questions that flipped.
    pub fn discordance(self) -> f64 {
        (self.first_only + self.second_only) as f64 / self.total() as f64
    }

    /// Returns the exact two-sided p of McNemar's test.
    pub fn mcnemar(self) -> f64 {
        exact(self.first_only, self.second_only)
    }

    /// Tests whether both accuracies are the same within `margin` (TOST).
    ///
    /// Each side is Tango's score test, whose variance is taken under the null hypothesis; so zero
    /// flips on few questions do not count as proof, which the Wald variance would make of them.
    /// Equivalence at level alpha is the same statement as: the (1 - 2 alpha) interval of
    /// [`Self::difference_interval`] lies inside (-margin, margin).
    ///
    /// Source: T. Tango, Statistics in Medicine 17:891 (1998).
    pub fn equivalence(self, margin: Margin) -> Equivalence {
        let p_not_worse = normal_cdf(-self.score(-margin.value()));
        let p_not_better = normal_cdf(self.score(margin.value()));
        Equivalence { p_not_worse, p_not_better, p: p_not_worse.max(p_not_better) }
    }

    /// Returns Tango's score interval of the difference of accuracies.
    ///
    /// Source: T. Tango, Statistics in Medicine 17:891 (1998).
    pub fn difference_interval(self, confidence: Confidence) -> Interval {
        let z = confidence.z();
        let (difference, n) = (self.difference(), self.total());
        // The score falls as the supposed difference rises.
        let low = special::bisect(-1.0, difference, |supposed| self.score(supposed) <= z);
        let high = special::bisect(difference, 1.0, |supposed| self.score(supposed) <= -z);
        Interval {
            low: if self.second_only == n { -1.0 } else { low },
            high: if self.first_only == n { 1.0 } else { high },
        }
    }

    /// Tango's statistic for "the difference is `supposed`", |supposed| < 1.
    fn score(self, supposed: f64) -> f64 {
        let (b, c, n) = (self.first_only as f64, self.second_only as f64, self.total() as f64);
        // Most likely share of second-only questions given that difference: the positive root of
        // 2n q^2 + linear q - c d (1 - d) = 0.
        let linear = supposed * (2.0 * n - b + c) - b - c;
        let constant = -c * supposed * (1.0 - supposed);
        let root = (linear * linear - 8.0 * n * constant).max(0.0).sqrt();
        let second = if linear > 0.0 {
            // The same root without cancellation.
            -2.0 * constant / (linear + root)
        } else {
            (root - linear) / (4.0 * n)
        };
        let variance = n * (2.0 * second + supposed * (1.0 - supposed));
        let distance = b - c - n * supposed;
        if variance > 0.0 {
            distance / variance.sqrt()
        } else if distance.abs() < 1e-9 {
            0.0
        } else {
            distance.signum() * f64::INFINITY
        }
    }
}

/// Returns the exact two-sided p of McNemar's test from the two discordant counts.
///
/// min(1, 2 P(X <= min(b, c))) for X ~ Binomial(b + c, 1/2); 1 where nothing flipped.
///
/// # Errors
///
/// [`StatsError::TooManyTrials`] if both together exceed [`MAX_TRIALS`].
///
/// # Examples
///
/// ```
/// use medharness::stats::mcnemar;
///
/// assert_eq!(mcnemar(0, 0), Ok(1.0));
/// assert!((mcnemar(6, 0)? - 2.0 / 64.0).abs() < 1e-15);
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn mcnemar(first_only: usize, second_only: usize) -> Result<f64, StatsError> {
    first_only
        .checked_add(second_only)
        .filter(|total| *total <= MAX_TRIALS)
        .ok_or(StatsError::TooManyTrials)?;
    Ok(exact(first_only, second_only))
}

fn exact(first_only: usize, second_only: usize) -> f64 {
    let total = first_only + second_only;
    let fewer = first_only.min(second_only);
    if 2 * fewer + 1 >= total {
        return 1.0;
    }
    (2.0 * special::lower_tail(fewer, total, 0.5)).min(1.0)
}
