//! Keys and values of the positions a sequence has been through.
//!
//! A sequence may begin behind a finished one that it shares with others (a prompt and its
//! attempts, a question and its options): nothing is copied, and attending across the joint gives
//! the same bits as one piece.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{Config, NetworkError, ops};
use crate::kernels::attention::{Heads, Keys, Part, Scratch, Values, attend};

/// Keys and values of one layer.
#[derive(Debug, Clone)]
struct Layer {
    keys: Keys,
    values: Values,
}

impl Layer {
    fn new(heads: Heads) -> Self {
        Self { keys: Keys::new(heads.kv_width()), values: Values::new(heads) }
    }

    /// Returns an empty layer of the same widths.
    fn emptied(&self) -> Self {
        Self { keys: self.keys.emptied(), values: self.values.emptied() }
    }
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

/// Returns how a network's rows divide into heads.
fn heads(config: &Config) -> Heads {
    Heads { query: config.heads, kv: config.kv_heads, width: config.head_dim }
}

impl Sequence {
    /// Returns an empty sequence for a network.
    pub fn new(config: &Config) -> Self {
        Self { layers: vec![Layer::new(heads(config)); config.layers], ..Self::default() }
    }

    /// Returns a sequence that continues `prefix`, sharing its positions.
    pub fn after(prefix: &Arc<Self>) -> Self {
        Self {
            prefix: Some(Arc::clone(prefix)),
            prefix_len: prefix.len(),
            layers: prefix.layers.iter().map(Layer::emptied).collect(),
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
        let keys = heads(config).kv_width() * size_of::<f32>();
        config.layers * (keys + Values::position_bytes(heads(config)))
    }

    /// Returns the bytes held by this sequence itself, without what it shares.
    pub fn own_bytes(&self) -> usize {
        self.layers.iter().map(|layer| layer.keys.bytes() + layer.values.bytes()).sum()
    }

    /// Appends the keys and values of `layer`, shared first: the parts to attend to.
    fn parts<'a>(&'a self, layer: usize, parts: &mut Vec<Part<'a>>) {
        if let Some(prefix) = &self.prefix {
            prefix.parts(layer, parts);
        }
        let Layer { keys, values } = &self.layers[layer];
        parts.push(Part { keys, values, len: keys.len() });
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
    pub(super) heads: Heads,
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
        let (heads, width, kv_width) =
            (self.heads, self.heads.query_width(), self.heads.kv_width());
        let flat = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let (queries, keys, values) = (flat(q)?, flat(k)?, flat(v)?);
        let mut keys = keys.chunks_exact(kv_width);
        let mut values = values.chunks_exact(kv_width);
        for piece in &mut *self.pieces {
            let cache = &mut piece.sequence.layers[layer];
            cache.keys.extend(keys.by_ref().take(piece.tokens.len()));
            cache.values.extend(values.by_ref().take(piece.tokens.len()));
        }
        let mut out = vec![0.0; queries.len()];
        let mut tasks = Vec::new();
        let (mut queries, mut left) = (&*queries, &mut *out);
        for piece in &*self.pieces {
            let mut parts = Vec::new();
            piece.sequence.parts(layer, &mut parts);
            let (parts, mut seen) = (Arc::new(parts), piece.sequence.len() + 1);
            for rows in piece.tokens.chunks(ops::QUERY_ROWS).map(<[u32]>::len) {
                let (own, rest) = left.split_at_mut(rows * width);
                let (own_queries, rest_queries) = queries.split_at(rows * width);
                (left, queries) = (rest, rest_queries);
                tasks.push((own_queries, seen, Arc::clone(&parts), own));
                seen += rows;
            }
        }
        let attend = |(scratch, log_sums): &mut (Scratch, Vec<f32>), task| {
            let (queries, seen, parts, out): (&[f32], usize, Arc<Vec<Part<'_>>>, &mut [f32]) = task;
            log_sums.resize(out.len() / width * heads.query, 0.0);
            attend(heads, queries, seen, &parts, scratch, out, log_sums);
        };
        let scratch = || (Scratch::default(), Vec::new());
        match tasks.len() {
            1 => tasks.into_iter().for_each(|task| attend(&mut scratch(), task)),
            _ => tasks.into_par_iter().for_each_init(scratch, attend),
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
