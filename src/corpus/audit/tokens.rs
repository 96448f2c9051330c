//! What the recipe's length does to a row.

use std::{cell::RefCell, collections::HashMap};

use super::Check;
use crate::corpus::{Encoding, Row, Truncation};

/// Token counts of a row, and what is cut.
pub(super) struct Counted {
    /// Of the whole sequence, BOS and EOS included, before any cut.
    pub(super) whole: usize,
    /// Positions that enter the loss after the cut.
    pub(super) learnt: usize,
    pub(super) cut: Option<Check>,
}

/// Returns the counts; `None` if no token comes of the row.
pub(super) fn count(
    encoding: &Encoding,
    row: &Row,
    tokenise: &dyn Fn(&str) -> Vec<u32>,
) -> Option<Counted> {
    let known = RefCell::new(HashMap::<String, Vec<u32>>::new());
    // The same two texts are asked for with and without the limit.
    let once = |text: &str| {
        let mut known = known.borrow_mut();
        known.entry(text.to_owned()).or_insert_with(|| tokenise(text)).clone()
    };
    let unlimited = Encoding { max_length: usize::MAX, ..*encoding };
    let whole = unlimited.encode(row, once).ok()?.ids.len();
    let example = encoding.encode(row, once).ok()?;
    let cut = match example.truncation {
        Truncation::None => None,
        Truncation::EndToken => Some(Check::EndTokenCut),
        Truncation::Answer => Some(Check::AnswerCut),
        Truncation::Prompt => Some(Check::FullyMasked),
    };
    Some(Counted { whole, learnt: example.learnt(), cut })
}
