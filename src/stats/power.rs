//! What a comparison could have detected at all: the smallest difference worth looking for.

use super::{MAX_TRIALS, StatsError, normal_quantile, share::between};

/// Size and power of a test: both strictly between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    alpha: f64,
    power: f64,
}

impl Power {
    /// 5 % two-sided, 80 % power.
    pub const USUAL: Self = Self { alpha: 0.05, power: 0.8 };

    /// Returns the pair.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotBetweenZeroAndOne`] for anything outside, NaN included.
    pub fn new(alpha: f64, power: f64) -> Result<Self, StatsError> {
        Ok(Self { alpha: between(alpha, "alpha")?, power: between(power, "power")? })
    }

    /// z for alpha / 2 plus z for the power.
    fn z(self) -> f64 {
        let quantile = |p| normal_quantile(p).expect("alpha and power were checked when made");
        quantile(1.0 - self.alpha / 2.0) + quantile(self.power)
    }
}

/// Returns the smallest difference of two accuracies on the same `n` questions that is seen with
/// the given power; `None` if there is none that large at this discordance.
///
/// z * sqrt(discordance / n), the variance of a paired difference being at most the share of
/// questions that flip. A difference can never exceed that share.
///
/// Source: arXiv 2411.00640, section 5 (one answer a question).
///
/// # Errors
///
/// [`StatsError`] if `n` is 0 or `discordance` is not in (0, 1].
///
/// # Examples
///
/// ```
/// use medharness::stats::{Power, detectable_paired};
///
/// let points = detectable_paired(323, 0.2, Power::USUAL)?.expect("large enough");
/// assert_eq!(format!("{points:.3}"), "0.070");
/// assert_eq!(detectable_paired(10, 0.2, Power::USUAL)?, None);
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn detectable_paired(
    n: usize,
    discordance: f64,
    power: Power,
) -> Result<Option<f64>, StatsError> {
    if !(discordance > 0.0 && discordance <= 1.0) {
        return Err(StatsError::NotBetweenZeroAndOne { what: "discordance", got: discordance });
    }
    let difference = power.z() * (discordance / count(n)?).sqrt();
    Ok((difference <= discordance).then_some(difference))
}

/// Returns the smallest difference between accuracy `baseline` on `n` questions and another
/// accuracy on `m` different ones that is seen with the given power; `None` if above 1.
///
/// z * sqrt(p (1 - p) (1/n + 1/m)), with the baseline's variance for both.
///
/// # Errors
///
/// [`StatsError`] if `n` or `m` is 0 or `baseline` is not in (0, 1).
pub fn detectable_unpaired(
    n: usize,
    m: usize,
    baseline: f64,
    power: Power,
) -> Result<Option<f64>, StatsError> {
    let p = between(baseline, "baseline accuracy")?;
    let difference = power.z() * (p * (1.0 - p) * (1.0 / count(n)? + 1.0 / count(m)?)).sqrt();
    Ok((difference <= 1.0).then_some(difference))
}

fn count(n: usize) -> Result<f64, StatsError> {
    match n {
        0 => Err(StatsError::NoTrials),
        _ if n > MAX_TRIALS => Err(StatsError::TooManyTrials),
        _ => Ok(n as f64),
    }
}
