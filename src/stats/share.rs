//! A share of successes, its intervals, and the checked numbers that statistics take.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{MAX_TRIALS, StatsError, normal_quantile, special};

/// `successes` of `trials`; at least one trial, never more successes than trials.
///
/// # Examples
///
/// ```
/// use medharness::stats::{Confidence, Share};
///
/// let accuracy = Share::new(43, 91)?;
/// let interval = accuracy.wilson(Confidence::P95);
/// assert_eq!(format!("{:.3} {interval:.3}", accuracy.value()), "0.473 [0.373, 0.574]");
/// assert!(Share::new(0, 0).is_err());
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Share {
    successes: usize,
    trials: usize,
}

impl Share {
    /// Returns the share.
    ///
    /// # Errors
    ///
    /// [`StatsError`] if there are no trials, more than [`MAX_TRIALS`], or fewer than successes.
    pub fn new(successes: usize, trials: usize) -> Result<Self, StatsError> {
        match trials {
            0 => Err(StatsError::NoTrials),
            _ if trials > MAX_TRIALS => Err(StatsError::TooManyTrials),
            _ if successes > trials => {
                Err(StatsError::MoreSuccessesThanTrials { successes, trials })
            }
            _ => Ok(Self { successes, trials }),
        }
    }

    /// Returns the numerator.
    pub fn successes(self) -> usize {
        self.successes
    }

    /// Returns the denominator, at least 1.
    pub fn trials(self) -> usize {
        self.trials
    }

    /// Returns successes / trials.
    pub fn value(self) -> f64 {
        self.successes as f64 / self.trials as f64
    }

    /// Returns the standard error sqrt(p (1 - p) / n).
    pub fn standard_error(self) -> f64 {
        (self.value() * (1.0 - self.value()) / self.trials as f64).sqrt()
    }

    /// Returns the Wilson score interval; exactly 0 below no success, exactly 1 above no failure.
    ///
    /// Source: E. B. Wilson, J. Am. Stat. Assoc. 22:209 (1927); no continuity correction.
    pub fn wilson(self, confidence: Confidence) -> Interval {
        let z = confidence.z();
        let (k, n) = (self.successes as f64, self.trials as f64);
        let total = n + z * z;
        let centre = (k + z * z / 2.0) / total;
        let half = z / total * (k * (n - k) / n + z * z / 4.0).sqrt();
        Interval {
            low: if self.successes == 0 { 0.0 } else { centre - half },
            high: if self.successes == self.trials { 1.0 } else { centre + half },
        }
    }

    /// Returns the Clopper-Pearson interval, which covers at least as often as it says.
    ///
    /// Source: C. Clopper, E. Pearson, Biometrika 26:404 (1934).
    pub fn clopper_pearson(self, confidence: Confidence) -> Interval {
        let tail = confidence.tail();
        let failures = self.trials - self.successes;
        Interval {
            low: lower_limit(self.successes, self.trials, tail),
            high: 1.0 - lower_limit(failures, self.trials, tail),
        }
    }
}

/// The p at which `successes` or more are seen with probability `tail`.
fn lower_limit(successes: usize, trials: usize, tail: f64) -> f64 {
    if successes == 0 {
        return 0.0;
    }
    let most = successes as f64 / trials as f64;
    special::bisect(0.0, most, |p| special::upper_tail(successes, trials, p) >= tail)
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.successes, self.trials)
    }
}

/// A range with both ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Returns whether `value` lies in the range, ends included.
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.low, interval.high]
    }
}

/// Prints `[low, high]` with the precision asked for, 3 digits by default.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "[{:.digits$}, {:.digits$}]", self.low, self.high)
    }
}

/// How often an interval covers: strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

impl Confidence {
    /// 95 %.
    pub const P95: Self = Self(0.95);

    /// Returns the level.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotBetweenZeroAndOne`] for anything else, NaN included.
    pub fn new(level: f64) -> Result<Self, StatsError> {
        between(level, "confidence").map(Self)
    }

    /// Returns the level, e.g. 0.95.
    pub fn value(self) -> f64 {
        self.0
    }

    /// Probability left out on each side.
    pub(super) fn tail(self) -> f64 {
        (1.0 - self.0) / 2.0
    }

    /// Normal quantile that leaves [`Self::tail`] above it.
    pub(super) fn z(self) -> f64 {
        -normal_quantile(self.tail()).expect("half of 1 - level lies between 0 and 1/2")
    }
}

/// A difference in accuracy that is taken for nothing: strictly between 0 and 1, not percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Margin(f64);

impl Margin {
    /// Returns the margin.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotBetweenZeroAndOne`] for anything else, NaN included.
    pub fn new(margin: f64) -> Result<Self, StatsError> {
        between(margin, "margin").map(Self)
    }

    /// Returns the margin, e.g. 0.05 for five points.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl FromStr for Margin {
    type Err = StatsError;

    fn from_str(text: &str) -> Result<Self, StatsError> {
        Self::new(number(text, "margin")?)
    }
}

impl FromStr for Confidence {
    type Err = StatsError;

    fn from_str(text: &str) -> Result<Self, StatsError> {
        Self::new(number(text, "confidence")?)
    }
}

fn number(text: &str, what: &'static str) -> Result<f64, StatsError> {
    text.parse().map_err(|_| StatsError::NotANumber { what, text: text.to_owned() })
}

/// Returns `got` if it lies strictly between 0 and 1.
pub(super) fn between(got: f64, what: &'static str) -> Result<f64, StatsError> {
    if got > 0.0 && got < 1.0 {
        Ok(got)
    } else {
        Err(StatsError::NotBetweenZeroAndOne { what, got })
    }
}
