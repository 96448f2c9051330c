//! GRIM: which counts a printed accuracy can stand for.
//!
//! k of n, printed with d digits, can only be one of n + 1 texts. Where n is below 10^d most texts
//! are impossible, so a printed accuracy tells much about n.
//! Source: N. Brown, J. Heathers, "The GRIM test", Soc. Psychol. Personal. Sci. 8:363 (2017).

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

use super::StatsError;

/// Most digits behind the point that are taken; more say nothing further about a count.
const MAX_DECIMALS: usize = 9;

/// What a printed number is a share of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// 0 to 1, as in `0.473`.
    #[default]
    Fraction,
    /// 0 to 100, as in `47.3`.
    Percent,
}

/// An accuracy exactly as printed, digits kept.
///
/// # Examples
///
/// ```
/// use medharness::stats::{PrintedShare, Unit};
///
/// let printed = PrintedShare::parse("0.473", Unit::Fraction)?;
/// assert_eq!(printed.counts(91), 43..=43);
/// assert!(printed.counts(92).is_empty());
/// assert!(PrintedShare::parse("NaN", Unit::Fraction).is_err());
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrintedShare {
    text: String,
    unit: Unit,
    /// Digits behind the point as printed.
    decimals: usize,
    /// The printed digits as a whole number.
    digits: u128,
    /// What `digits` counts: 10^decimals for a fraction, 100 times that for percent.
    whole: u128,
}

impl PrintedShare {
    /// Reads plain decimal digits with at most one point: `0.473`, `.473`, `47.3`, `1`.
    ///
    /// # Errors
    ///
    /// [`StatsError::NotANumber`] for signs, exponents, `NaN`, `%`, blanks, more than nine digits
    /// behind the point; [`StatsError::AboveOne`] for more than 1 or 100 %.
    pub fn parse(text: &str, unit: Unit) -> Result<Self, StatsError> {
        let wrong = || StatsError::NotANumber {
            what: "plain decimal number such as 0.473",
            text: text.to_owned(),
        };
        let (before, behind) = text.split_once('.').unwrap_or((text, ""));
        let all = format!("{before}{behind}");
        let plain = !all.is_empty() && all.bytes().all(|byte| byte.is_ascii_digit());
        if !plain || all.len() > 20 || behind.len() > MAX_DECIMALS {
            return Err(wrong());
        }
        let digits = all.parse().map_err(|_| wrong())?;
        let (factor, most) = match unit {
            Unit::Fraction => (1, "1"),
            Unit::Percent => (100, "100 %"),
        };
        let whole = factor * behind.bytes().fold(1, |power: u128, _| power * 10);
        if digits > whole {
            return Err(StatsError::AboveOne { text: text.to_owned(), most });
        }
        Ok(Self { text: text.to_owned(), unit, decimals: behind.len(), digits, whole })
    }

    /// Returns the text as printed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the printed value between 0 and 1.
    pub fn value(&self) -> f64 {
        self.digits as f64 / self.whole as f64
    }

    /// Returns how far the true value may lie from the printed one, between 0 and 1.
    pub fn half_unit(&self) -> f64 {
        0.5 / self.whole as f64
    }

    /// Returns the counts k out of `n` that are printed as this text; empty if there is none.
    ///
    /// k fits if k / n rounds to the text either exactly with ties away from zero (as a person or
    /// a spreadsheet does) or as C and Python print the nearest double (ties to even). Cutting
    /// digits off is not accepted: it would let any count fit that is up to a unit too large.
    pub fn counts(&self, n: usize) -> RangeInclusive<usize> {
        let nothing = RangeInclusive::new(1, 0);
        let n = n as u128;
        if n == 0 {
            return nothing;
        }
        let (digits, whole) = (self.digits, self.whole);
        // (2 digits - 1) n <= 2 whole k <= (2 digits + 1) n
        let first = ((2 * digits).saturating_sub(1) * n).div_ceil(2 * whole);
        let mut last = (2 * digits + 1) * n / (2 * whole);
        let tie = 2 * whole * last == (2 * digits + 1) * n;
        if tie && !self.is_printed_for(last, n) {
            match last.checked_sub(1) {
                Some(below) => last = below,
                None => return nothing,
            }
        }
        if first > last || first > n { nothing } else { count(first)..=count(last.min(n)) }
    }

    /// Whether the double nearest to k / n is printed as the text's digits.
    fn is_printed_for(&self, k: u128, n: u128) -> bool {
        let factor = match self.unit {
            Unit::Fraction => 1.0,
            Unit::Percent => 100.0,
        };
        let shown = format!("{:.*}", self.decimals, factor * k as f64 / n as f64);
        let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
        digits.parse() == Ok(self.digits)
    }

    /// Returns the chance that a text of this precision fits some count out of `n`, were all texts
    /// from 0 to 1 equally likely: (n + 1) / (10^d + 1), at most 1.
    pub fn chance_of_a_fit(&self, n: usize) -> f64 {
        ((n as f64 + 1.0) / (self.whole as f64 + 1.0)).min(1.0)
    }
}

fn count(value: u128) -> usize {
    usize::try_from(value).expect("at most n, which is a usize")
}

impl fmt::Display for PrintedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
