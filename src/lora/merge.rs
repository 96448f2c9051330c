//! Merging: what an adapter's module adds to the rows of its base weight, and taking it off again.
//!
//! Plain: W' = W + s·B·A. DoRA: W' = m/n · (W + s·B·A), n the row's norm before. Of an embedding,
//! whose rows are tokens, s·(B·A)ᵀ is added. Sums over the rank are ascending fused sums in f32, s
//! multiplies last. Rows are independent, so a weight can be merged piece by piece.
//!
//! Source: PEFT 0.21.2, `get_delta_weight`, `merge_unsafe`, `unmerge`.

use super::{BaseRows, EMBEDDING_MODULE, LowRank};
use crate::kernels::matrix::Matrix;

/// One module's branch, ready to be merged.
#[derive(Debug)]
pub struct Merger<'a> {
    low: &'a LowRank,
    /// A, or of an embedding B.
    packed: Matrix,
    is_embedding: bool,
}

impl<'a> Merger<'a> {
    /// Returns the merger of `module`.
    pub fn new(module: &str, low: &'a LowRank) -> Self {
        let is_embedding = module == EMBEDDING_MODULE;
        let packed = match is_embedding {
            true => super::packed(&low.b, low.outputs(), low.rank),
            false => super::packed(&low.a, low.rank, low.inputs()),
        };
        Self { low, packed, is_embedding }
    }

    /// Returns rows and columns of the base weight.
    pub fn shape(&self) -> [usize; 2] {
        let shape = [self.low.outputs(), self.low.inputs()];
        if self.is_embedding { [shape[1], shape[0]] } else { shape }
    }

    /// Returns rows `first..first + rows` of what is added to the base weight.
    ///
    /// Result `[rows, columns]`.
    ///
    /// # Panics
    ///
    /// If there are no such rows.
    pub fn delta(&self, first: usize, rows: usize) -> Vec<f32> {
        let LowRank { a, b, rank, .. } = self.low;
        let mut delta = match self.is_embedding {
            true => {
                let tokens = self.low.inputs();
                let columns = (first..first + rows)
                    .flat_map(|token| (0..*rank).map(move |r| a[r * tokens + token]));
                self.packed.multiply(&columns.collect::<Vec<_>>())
            }
            false => self.packed.multiply_transposed(&b[first * rank..(first + rows) * rank]),
        };
        let scaling = self.low.factor();
        delta.iter_mut().for_each(|x| *x *= scaling);
        delta
    }

    /// Merges whole rows of the base weight, from row `first` on.
    ///
    /// Of DoRA, returns the norm n of each row, which [`Self::unmerge`] needs; empty otherwise.
    ///
    /// # Panics
    ///
    /// If `weight` is not whole rows of the base weight.
    pub fn merge(&self, first: usize, weight: &mut [f32]) -> Vec<f32> {
        let norms = self.add(first, weight);
        let width = self.shape()[1];
        for ((row, magnitude), norm) in
            weight.chunks_mut(width).zip(self.magnitudes(first)).zip(&norms)
        {
            let factor = magnitude / norm;
            row.iter_mut().for_each(|w| *w *= factor);
        }
        norms
    }

    /// Adds the delta; of DoRA, returns the norms of the sums.
    fn add(&self, first: usize, weight: &mut [f32]) -> Vec<f32> {
        let width = self.shape()[1];
        assert_eq!(weight.len() % width, 0, "whole rows");
        let delta = self.delta(first, weight.len() / width);
        weight.iter_mut().zip(delta).for_each(|(w, delta)| *w += delta);
        match self.low.magnitude {
            Some(_) => weight.chunks(width).map(norm).collect(),
            None => Vec::new(),
        }
    }

    /// Takes the branch off merged rows; off by the roundings of both ways.
    ///
    /// `norms` is what [`Self::merge`] returned for these rows.
    ///
    /// # Panics
    ///
    /// As [`Self::merge`], or if norms are missing.
    pub fn unmerge(&self, first: usize, weight: &mut [f32], norms: &[f32]) {
        let width = self.shape()[1];
        assert_eq!(weight.len() % width, 0, "whole rows");
        if self.low.magnitude.is_some() {
            assert_eq!(norms.len(), weight.len() / width, "one norm a row");
        }
        for ((row, magnitude), norm) in
            weight.chunks_mut(width).zip(self.magnitudes(first)).zip(norms)
        {
            let factor = magnitude / norm;
            row.iter_mut().for_each(|w| *w /= factor);
        }
        let delta = self.delta(first, weight.len() / width);
        weight.iter_mut().zip(delta).for_each(|(w, delta)| *w -= delta);
    }

    /// The magnitudes from row `first` on; none without DoRA.
    fn magnitudes(&self, first: usize) -> impl Iterator<Item = &f32> {
        self.low.magnitude.iter().flatten().skip(first)
    }
}

impl LowRank {
    /// Sets the magnitudes DoRA begins with: the norms of the rows of W + s·B·A.
    pub fn start_magnitude(&mut self, module: &str, base: &dyn BaseRows) {
        self.magnitude = Some(row_norms(module, self, base));
    }
}

/// Returns the norm of each row of W + s·B·A.
///
/// Result `[outputs]`.
pub(super) fn row_norms(module: &str, low: &LowRank, base: &dyn BaseRows) -> Vec<f32> {
    const ROWS: usize = 64;
    let merger = Merger::new(module, low);
    let [rows, width] = merger.shape();
    let mut norms = Vec::with_capacity(rows);
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let mut weight = vec![0.0; count * width];
        for (row, out) in (first..).zip(weight.chunks_mut(width)) {
            base.row(row, out);
        }
        let delta = merger.delta(first, count);
        weight.iter_mut().zip(delta).for_each(|(w, delta)| *w += delta);
        norms.extend(weight.chunks(width).map(norm));
    }
    norms
}

/// The Euclidean norm, summed in f64.
#[expect(clippy::cast_possible_truncation, reason = "the norm of f32 values, as an f32")]
fn norm(row: &[f32]) -> f32 {
    row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>().sqrt() as f32
}
