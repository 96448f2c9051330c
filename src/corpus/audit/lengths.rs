//! Distributions of lengths: quantiles, mean, and a histogram in powers of two.

use serde::Serialize;

/// How a length is distributed. Quantiles are values that occur (nearest rank).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    /// Number of values, at least 1.
    pub n: usize,
    /// Smallest.
    pub min: usize,
    /// 5 % are at or below it.
    pub p5: usize,
    /// A quarter is at or below it.
    pub p25: usize,
    /// Half are at or below it.
    pub median: usize,
    /// Three quarters are at or below it.
    pub p75: usize,
    /// 95 % are at or below it.
    pub p95: usize,
    /// Largest.
    pub max: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Values by size: 0, 1, 2 to 3, 4 to 7, 8 to 15, …
    pub histogram: Vec<usize>,
}

impl Distribution {
    /// Returns the distribution of `values`; `None` without any.
    pub fn of(mut values: Vec<usize>) -> Option<Self> {
        values.sort_unstable();
        let (min, max) = (*values.first()?, *values.last()?);
        let n = values.len();
        let at = |percent: usize| values[(n * percent).div_ceil(100).max(1) - 1];
        let mut histogram = vec![0; bin(max) + 1];
        values.iter().for_each(|value| histogram[bin(*value)] += 1);
        let mean = values.iter().map(|value| *value as f64).sum::<f64>() / n as f64;
        let [p5, p25, median, p75, p95] = [5, 25, 50, 75, 95].map(at);
        Some(Self { n, min, p5, p25, median, p75, p95, max, mean, histogram })
    }

    /// Returns whether `value` lies beyond three quartile ranges outside the quartiles.
    pub fn is_outlier(&self, value: usize) -> bool {
        let range = 3 * (self.p75 - self.p25);
        value > self.p75 + range || value + range < self.p25
    }
}

/// The bin of a value: 0, 1, 2 to 3, 4 to 7, …
fn bin(value: usize) -> usize {
    value.checked_ilog2().map_or(0, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_ranks() {
        let spread = Distribution::of((1..=100).collect()).unwrap();
        assert_eq!((spread.p5, spread.p25, spread.median, spread.p95), (5, 25, 50, 95));
        assert_eq!(spread.histogram, [0, 1, 2, 4, 8, 16, 32, 37]);
        assert!(spread.is_outlier(226) && !spread.is_outlier(225));
        assert_eq!(Distribution::of(vec![]), None);
        let one = Distribution::of(vec![0]).unwrap();
        assert_eq!((one.min, one.median, one.max, one.histogram), (0, 0, 0, vec![1]));
    }
}
