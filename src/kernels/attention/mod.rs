//! Attention of queries over the keys and values of one sequence, forward and backward.
//!
//! Everything is made of the float tiles of [`super::float`]: keys lie 32 positions side by side
//! ([`Keys`]), values 32 columns side by side ([`Values`]). A score is one chain of fused operations
//! over the head's width, an output one chain over the positions, so a query's result has the same
//! bits whatever is computed beside it and however its sequence is divided into parts. At most
//! a few rows of scores are kept at a time.
//!
//! Source: Vaswani et al. 2017, equation 1; Ainslie et al. 2023 (grouped heads); the backward
//! recomputes the softmax from its stored log-sum, block by block, as Dao et al. 2022 do.

mod backward;
mod blocks;
mod forward;

pub use backward::{Gradients, Saved, attend_backward};
pub use blocks::{Keys, Values};
pub use forward::{Part, Scratch, attend};

use std::ops::Range;

/// How the width of queries, keys and values divides into heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; a divisor of `query`.
    pub kv: usize,
    /// Width of one head.
    pub width: usize,
}

impl Heads {
    /// Returns the width of a row of queries.
    pub fn query_width(self) -> usize {
        self.query * self.width
    }

    /// Returns the width of a row of keys or values.
    pub fn kv_width(self) -> usize {
        self.kv * self.width
    }

    /// Returns how many query heads read one key and value head.
    pub fn group(self) -> usize {
        self.query / self.kv
    }

    /// Returns the key and value head that a query head reads.
    pub fn kv_of(self, head: usize) -> usize {
        head / self.group()
    }

    /// Returns the factor of the scores, `1 / sqrt(width)`.
    pub fn scale(self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Returns the place of a head in its row.
    pub fn columns(self, head: usize) -> Range<usize> {
        head * self.width..(head + 1) * self.width
    }
}

#[cfg(test)]
mod tests;
