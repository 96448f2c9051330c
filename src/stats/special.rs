//! Distribution functions: normal, binomial, Student's t, all from erfc and the incomplete beta.
//!
//! Relative error below 1e-12 over the range the golden values cover (checked against scipy),
//! also far out in the tails. Integer arguments are counts up to [`super::MAX_TRIALS`].

use std::f64::consts::{PI, SQRT_2, TAU};

use super::{Share, StatsError};

/// Returns P(Z <= z) of the standard normal distribution.
///
/// # Examples
///
/// ```
/// assert!((medharness::stats::normal_cdf(1.959963984540054) - 0.975).abs() < 1e-15);
/// ```
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// Returns the two-sided p value of a standard normal statistic.
pub(super) fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() / SQRT_2)
}

/// Returns z with P(Z <= z) = `p`.
///
/// # Errors
///
/// [`StatsError::NotBetweenZeroAndOne`] unless 0 < `p` < 1.
pub fn normal_quantile(p: f64) -> Result<f64, StatsError> {
    if !(p > 0.0 && p < 1.0) {
        return Err(StatsError::NotBetweenZeroAndOne { what: "probability", got: p });
    }
    // Solved in the lower tail, where the probability keeps its relative precision.
    let tail = p.min(1.0 - p);
    let z = bisect(-39.0, 0.0, |z| normal_cdf(z) >= tail);
    Ok(if p > 0.5 { -z } else { z })
}

/// Returns P(|T| >= `t`) of Student's t with `degrees` degrees of freedom, two-sided.
pub(super) fn student_two_sided(t: f64, degrees: f64) -> f64 {
    let (square, total) = (t * t, degrees + t * t);
    incomplete_beta(degrees / 2.0, 0.5, degrees / total, square / total)
}

/// Returns P(T <= t) of Student's t with `degrees` degrees of freedom, at least 1.
///
/// # Errors
///
/// [`StatsError::NotFinite`] if `t` is NaN or infinite; [`StatsError::NoTrials`] if `degrees` is 0.
pub fn student_cdf(t: f64, degrees: usize) -> Result<f64, StatsError> {
    if !t.is_finite() {
        return Err(StatsError::NotFinite { what: "statistic", index: 0, got: t });
    }
    if degrees == 0 {
        return Err(StatsError::NoTrials);
    }
    let tail = 0.5 * student_two_sided(t, degrees as f64);
    Ok(if t > 0.0 { 1.0 - tail } else { tail })
}

/// Returns t with P(|T| >= t) = `tail`, 0 < `tail` < 1.
pub(super) fn student_two_sided_quantile(tail: f64, degrees: f64) -> f64 {
    let mut high = 2.0;
    while student_two_sided(high, degrees) > tail && high < 1e300 {
        high *= 2.0;
    }
    bisect(0.0, high, |t| student_two_sided(t, degrees) <= tail)
}

/// Returns P(X = `successes`) for X ~ Binomial(`trials`, `p`).
///
/// # Errors
///
/// As [`binomial_at_least`], and if there are more successes than trials.
pub fn binomial_pmf(successes: usize, trials: usize, p: f64) -> Result<f64, StatsError> {
    let share = Share::new(successes, trials)?;
    let (k, n) = (share.successes() as f64, share.trials() as f64);
    Ok(match checked(p)? {
        p if p <= 0.0 => f64::from(u8::from(successes == 0)),
        p if p >= 1.0 => f64::from(u8::from(successes == trials)),
        p => pmf(k, n, p, 1.0 - p),
    })
}

/// Returns P(X >= `successes`) for X ~ Binomial(`trials`, `p`): the survival function, `>=`.
///
/// 1 for no successes, 0 for more successes than trials.
///
/// # Errors
///
/// If there are no trials or more than [`super::MAX_TRIALS`], or `p` is not in [0, 1].
///
/// # Examples
///
/// ```
/// use medharness::stats::binomial_at_least;
///
/// assert!((binomial_at_least(2, 2, 0.5)? - 0.25).abs() < 1e-15);
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn binomial_at_least(successes: usize, trials: usize, p: f64) -> Result<f64, StatsError> {
    Share::new(0, trials)?;
    let p = checked(p)?;
    if successes == 0 {
        return Ok(1.0);
    }
    if successes > trials || p <= 0.0 {
        return Ok(0.0);
    }
    Ok(upper_tail(successes, trials, p))
}

/// Returns P(X <= `successes`) for X ~ Binomial(`trials`, `p`).
///
/// # Errors
///
/// As [`binomial_at_least`].
pub fn binomial_at_most(successes: usize, trials: usize, p: f64) -> Result<f64, StatsError> {
    Share::new(0, trials)?;
    let p = checked(p)?;
    if successes >= trials || p <= 0.0 {
        return Ok(1.0);
    }
    if p >= 1.0 {
        return Ok(0.0);
    }
    Ok(lower_tail(successes, trials, p))
}

fn checked(p: f64) -> Result<f64, StatsError> {
    if (0.0..=1.0).contains(&p) {
        Ok(p)
    } else {
        Err(StatsError::NotAProbability { index: 0, got: p })
    }
}

/// P(X >= k) for 1 <= k <= n and 0 < p <= 1.
pub(super) fn upper_tail(k: usize, n: usize, p: f64) -> f64 {
    incomplete_beta(k as f64, (n - k + 1) as f64, p, 1.0 - p)
}

/// P(X <= k) for k < n and 0 < p < 1.
pub(super) fn lower_tail(k: usize, n: usize, p: f64) -> f64 {
    incomplete_beta((n - k) as f64, (k + 1) as f64, 1.0 - p, p)
}

/// Regularised incomplete beta I_x(a, b), with y = 1 - x passed apart to keep its precision.
///
/// Continued fraction by the modified Lentz method; the factor in front is the binomial term in
/// Loader's saddle-point form, which does not lose digits at large counts.
/// Source: DLMF 8.17.22; C. Loader, "Fast and accurate computation of binomial probabilities" (2000).
fn incomplete_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if y <= 0.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - lower_beta(b, a, y, x);
    }
    lower_beta(a, b, x, y)
}

fn lower_beta(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let keep = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / keep(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    let mut m = 1.0;
    // Needs a few times sqrt(max(a, b)) terms.
    while m < 1e7 {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / keep(1.0 + even * d);
        c = keep(1.0 + even / c);
        fraction *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / keep(1.0 + odd * d);
        c = keep(1.0 + odd / c);
        let step = d * c;
        fraction *= step;
        if (step - 1.0).abs() < f64::EPSILON {
            break;
        }
        m += 1.0;
    }
    pmf(a, a + b, x, y) * b / (a + b) * fraction
}

/// Binomial term for real k and n, 0 <= k <= n, 0 < p < 1, q = 1 - p.
fn pmf(k: f64, n: f64, p: f64, q: f64) -> f64 {
    let ln = |p: f64, q: f64| if p < 0.5 { libm::log1p(-p) } else { libm::log(q) };
    if k <= 0.0 {
        return libm::exp(n * ln(p, q));
    }
    if k >= n {
        return libm::exp(n * ln(q, p));
    }
    let exponent = stirling_error(n)
        - stirling_error(k)
        - stirling_error(n - k)
        - deviance(k, n * p)
        - deviance(n - k, n * q);
    libm::exp(exponent) * (n / (TAU * k * (n - k))).sqrt()
}

/// ln x! minus Stirling's formula for it.
fn stirling_error(x: f64) -> f64 {
    if x < 16.0 {
        let half_ln_tau = 0.5 * libm::log(2.0 * PI);
        return libm::lgamma(x + 1.0) - (x + 0.5) * libm::log(x) + x - half_ln_tau;
    }
    let square = x * x;
    let tail = 1.0 / 1260.0
        - (1.0 / 1680.0 - (1.0 / 1188.0 - 691.0 / 360_360.0 / square) / square) / square;
    (1.0 / 12.0 - (1.0 / 360.0 - tail / square) / square) / x
}

/// x ln(x / m) + m - x without cancellation near x = m.
fn deviance(x: f64, m: f64) -> f64 {
    let difference = x - m;
    if difference.abs() >= 0.1 * (x + m) {
        return x * libm::log(x / m) + m - x;
    }
    let ratio = difference / (x + m);
    let mut sum = difference * ratio;
    let mut term = 2.0 * x * ratio;
    let mut odd = 3.0;
    loop {
        term *= ratio * ratio;
        let next = sum + term / odd;
        if (next - sum).abs() <= f64::EPSILON * 0.5 * next.abs() {
            return next;
        }
        sum = next;
        odd += 2.0;
    }
}

/// Smallest point of [low, high] from which `holds` is true, to the last bit.
pub(super) fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return high;
        }
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
}
