//! Keys and values of the positions a sequence has been through.
//!
//! A sequence may begin behind a finished one that it shares with others (a prompt and its
//! attempts, a question and its options): nothing is copied, and attending across the joint gives
//! the same bits as one piece.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{Config, NetworkError, ops};
use crate::kernels::float::KeyValues;

/// Keys and values of one layer, `[positions, kv heads * head width]` each.
#[derive(Debug, Clone, Default)]
struct Layer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// The cache of one sequence.
#[derive(Debug, Default)]
pub struct Sequence {
    prefix: Option<Arc<Sequence>>,
    prefix_len: usize,
    layers: Vec<Layer>,
    /// Own positions, all layers complete.
    own_len: usize,
}

impl Sequence {
    /// Returns an empty sequence for a network.
    pub fn new(config: &Config) -> Self {
        Self { layers: vec![Layer::default(); config.layers], ..Self::default() }
    }

    /// Returns a sequence that continues `prefix`, sharing its positions.
    pub fn after(prefix: &Arc<Self>) -> Self {
        Self {
            prefix: Some(Arc::clone(prefix)),
            prefix_len: prefix.len(),
            layers: vec![Layer::default(); prefix.layers.len()],
            own_len: 0,
        }
    }

    /// Returns the number of positions, the shared ones too.
    pub fn len(&self) -> usize {
        self.prefix_len + self.own_len
    }

    /// Returns whether there is no position yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of keys and values that one position takes.
    pub fn position_bytes(config: &Config) -> usize {
        2 * config.layers * config.kv_heads * config.head_dim * size_of::<f32>()
    }

    /// Returns the bytes held by this sequence itself, without what it shares.
    pub fn own_bytes(&self) -> usize {
        let held = |layer: &Layer| layer.keys.capacity() + layer.values.capacity();
        self.layers.iter().map(held).sum::<usize>() * size_of::<f32>()
    }

    /// Appends the keys and values of `layer`, shared first: the parts to attend to.
    fn parts<'a>(&'a self, layer: usize, kv_width: usize, parts: &mut Vec<KeyValues<'a>>) {
        if let Some(prefix) = &self.prefix {
            prefix.parts(layer, kv_width, parts);
        }
        let Layer { keys, values } = &self.layers[layer];
        parts.push(KeyValues { keys, values, stride: kv_width, len: keys.len() / kv_width });
    }
}

/// New tokens of one sequence.
#[derive(Debug)]
pub struct Piece<'a> {
    /// What the sequence has been through; grows by the tokens.
    pub sequence: &'a mut Sequence,
    /// The tokens to feed, at least one.
    pub tokens: &'a [u32],
}

/// The pieces of one forward pass.
pub(super) struct Pieces<'a, 'b> {
    pub(super) pieces: &'a mut [Piece<'b>],
    pub(super) heads: ops::Heads,
}

impl Pieces<'_, '_> {
    /// Appends each piece's keys and values to its cache and attends from its queries.
    ///
    /// `q: [t, query heads * width]`, `k`, `v`: `[t, kv heads * width]`; result as `q`.
    pub(super) fn attend(
        &mut self,
        layer: usize,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
    ) -> Result<Tensor, NetworkError> {
        let (width, kv_width) =
            (self.heads.query * self.heads.width, self.heads.kv * self.heads.width);
        let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let (queries, keys, values) = (flat(q)?, flat(k)?, flat(v)?);
        let mut row = 0;
        for piece in &mut *self.pieces {
            let rows = row * kv_width..(row + piece.tokens.len()) * kv_width;
            let cache = &mut piece.sequence.layers[layer];
            cache.keys.extend_from_slice(&keys[rows.clone()]);
            cache.values.extend_from_slice(&values[rows]);
            row += piece.tokens.len();
        }
        let mut parts = Vec::new();
        // For each row, its piece's parts and how many of the last part's positions it sees.
        let mut rows = Vec::with_capacity(row);
        for piece in &*self.pieces {
            let from = parts.len();
            piece.sequence.parts(layer, kv_width, &mut parts);
            let before = piece.sequence.own_len;
            rows.extend((0..piece.tokens.len()).map(|i| (from..parts.len(), before + i + 1)));
        }
        let mut out = vec![0.0; queries.len()];
        let heads = self.heads;
        let attend = |(scores, log_sums): &mut (Vec<f32>, Vec<f32>),
                      (row, out): (usize, &mut [f32])| {
            let (range, own) = &rows[row];
            let mut seen = parts[range.clone()].to_vec();
            if let Some(last) = seen.last_mut() {
                last.len = *own;
            }
            let query = &queries[row * width..][..width];
            ops::attend_row(heads, query, &seen, scores, out, log_sums);
        };
        let scratch = || (Vec::new(), vec![0.0; heads.query]);
        if row == 1 {
            attend(&mut scratch(), (0, &mut out));
        } else {
            out.par_chunks_mut(width).enumerate().for_each_init(scratch, attend);
        }
        Ok(Tensor::from_vec(out, q.shape(), &Device::Cpu)?)
    }

    /// Records that all layers have seen the tokens.
    pub(super) fn finish(self) {
        for piece in self.pieces {
            piece.sequence.own_len += piece.tokens.len();
        }
    }
}
