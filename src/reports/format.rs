//! How numbers are written for people.

use crate::store::Proportion;

/// Stands where there is no number.
pub(crate) const NONE: &str = "–";

/// Returns a share in per cent with one decimal, e.g. `47.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Returns a proportion without its interval, e.g. `47.3 %`; a dash for none.
pub fn share(proportion: Option<&Proportion>) -> String {
    proportion.map_or_else(|| NONE.to_owned(), |proportion| percent(proportion.value))
}

/// Returns bounds in per cent, e.g. `37.3 to 57.4`.
pub fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high)
}

/// Returns a proportion with its Wilson interval, e.g. `47.3 % [37.3 to 57.4]`; a dash for none.
pub fn share_with_interval(proportion: Option<&Proportion>) -> String {
    proportion.map_or_else(
        || NONE.to_owned(),
        |proportion| format!("{} [{}]", percent(proportion.value), interval(proportion.wilson)),
    )
}

/// Returns the number with its noun, in the plural where it is not one.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Returns a p value with four decimals and its sign, e.g. `= 0.0391` or `< 0.0001`.
pub fn p_value(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".to_owned() } else { format!("= {p:.4}") }
}
