//! Several tests at once.

use super::StatsError;

/// Returns Holm's adjusted p values, in the order given.
///
/// Rejecting those below alpha keeps the chance of any false rejection below alpha, whatever the
/// dependence between the tests. Empty in, empty out.
///
/// Source: S. Holm, Scand. J. Statist. 6:65 (1979).
///
/// # Errors
///
/// [`StatsError::NotAProbability`] for NaN or a value outside [0, 1].
///
/// # Examples
///
/// ```
/// use medharness::stats::holm;
///
/// assert_eq!(holm(&[0.01, 0.25, 0.02]), Ok(vec![0.03, 0.25, 0.04]));
/// ```
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, StatsError> {
    if let Some((index, got)) = p_values.iter().enumerate().find(|(_, p)| !(0.0..=1.0).contains(*p))
    {
        return Err(StatsError::NotAProbability { index, got: *got });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        largest = largest.max((remaining * p_values[index]).min(1.0));
        adjusted[index] = largest;
    }
    Ok(adjusted)
}
