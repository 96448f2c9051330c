//! What the reference's padding positions see: an artefact that enters its loss and its gradients.
//!
//! A collator that pads on the left leaves the first real token of a row to be predicted by the
//! padding position before it, whose keys are all masked. transformers' eager attention then attends
//! to every position of the row alike, later ones included; PyTorch's fused attention returns 0.
//! Masking adds a number so low that it swallows the scores, yet their gradients pass.
//!
//! Source: transformers 4.28.1 and 5.23.0, `modeling_llama`, `eager_attention_forward`.

use std::ops::Range;

use super::Heads;
use crate::kernels::attention::Gradients;

/// What a position attends to whose keys are all masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masked {
    /// To all positions alike: a softmax over equal scores.
    Everything,
    /// The same in transformers 4.28, which takes the larger of the masked score and the lowest
    /// number: of two equals each gets half the gradient, and a score that is masked twice, that of
    /// a later padding position, gets none.
    Everything2023,
    /// To none: the result is 0.
    Nothing,
}

/// The padding positions in front of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pad {
    /// Their rows, one span.
    pub rows: Range<usize>,
    /// The rows of the padded sequence.
    pub sequence: Range<usize>,
    /// What they attend to.
    pub masked: Masked,
}

/// What the backward of padding reads, rows of the whole batch.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub(super) heads: Heads,
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f32],
    pub(super) values: &'a [f32],
    /// Gradient of the result.
    pub(super) grad: &'a [f32],
}

impl Pad {
    /// Rows of the padded sequence in the order of their positions.
    fn seen(&self) -> impl Iterator<Item = usize> + Clone {
        self.rows.clone().chain(self.sequence.clone())
    }

    /// The share of each position in the result.
    fn share(&self) -> f32 {
        1.0 / (self.rows.len() + self.sequence.len()) as f32
    }

    /// Returns how much of a score's gradient passes the mask.
    fn passed(&self, query_row: usize, key_row: usize) -> f32 {
        match self.masked {
            Masked::Everything => 1.0,
            Masked::Everything2023 if self.rows.contains(&key_row) && key_row > query_row => 0.0,
            Masked::Everything2023 => 0.5,
            Masked::Nothing => 0.0,
        }
    }

    /// Writes the result of the padding rows into `out: [t, query heads * width]`.
    pub(super) fn attend(&self, heads: Heads, values: &[f32], out: &mut [f32]) {
        let width = heads.query_width();
        let mut result = vec![0.0; width];
        if self.masked != Masked::Nothing {
            let share = self.share();
            for row in self.seen() {
                let values = &values[row * heads.kv_width()..][..heads.kv_width()];
                for (head, result) in result.chunks_exact_mut(heads.width).enumerate() {
                    let value = &values[heads.columns(heads.kv_of(head))];
                    result.iter_mut().zip(value).for_each(|(sum, value)| *sum += value * share);
                }
            }
        }
        for row in self.rows.clone() {
            out[row * width..][..width].copy_from_slice(&result);
        }
    }

    /// Returns what the padding rows contribute to the gradients of one key and value head: of its
    /// queries by padding row, of keys and values by position.
    pub(super) fn attend_backward(&self, head: usize, inputs: &Inputs<'_>) -> Gradients {
        let Inputs { heads, queries, keys, values, grad } = *inputs;
        let (share, scale) = (self.share(), heads.scale());
        let (width, group) = (heads.width, heads.group());
        let positions = self.rows.len() + self.sequence.len();
        let mut own = Gradients {
            queries: vec![0.0; self.rows.len() * group * width],
            keys: vec![0.0; positions * width],
            values: vec![0.0; positions * width],
        };
        if self.masked == Masked::Nothing {
            return own;
        }
        let at = |row: usize| {
            let start = row * heads.kv_width() + head * width;
            start..start + width
        };
        for (row, to_queries) in self.rows.clone().zip(own.queries.chunks_exact_mut(group * width))
        {
            for (query_head, to_query) in (head * group..).zip(to_queries.chunks_exact_mut(width)) {
                let place = row * heads.query_width() + query_head * width;
                let (query, grad) = (&queries[place..][..width], &grad[place..][..width]);
                if grad.iter().all(|g| *g == 0.0) {
                    continue;
                }
                let inner: Vec<f32> = self.seen().map(|row| dot(grad, &values[at(row)])).collect();
                let mean = share * inner.iter().sum::<f32>();
                let to_pairs =
                    own.keys.chunks_exact_mut(width).zip(own.values.chunks_exact_mut(width));
                for ((seen, inner), (to_key, to_value)) in self.seen().zip(inner).zip(to_pairs) {
                    let score = self.passed(row, seen) * share * scale * (inner - mean);
                    add_scaled(to_query, score, &keys[at(seen)]);
                    add_scaled(to_key, score, query);
                    add_scaled(to_value, share, grad);
                }
            }
        }
        own
    }

    /// Adds what [`attend_backward`](Self::attend_backward) returned to the gradients of all rows.
    pub(super) fn add(&self, head: usize, own: &Gradients, heads: Heads, to: &mut Gradients) {
        let group = heads.group() * heads.width;
        for (row, own) in self.rows.clone().zip(own.queries.chunks_exact(group)) {
            add_scaled(
                &mut to.queries[row * heads.query_width() + head * group..][..group],
                1.0,
                own,
            );
        }
        let own = own.keys.chunks_exact(heads.width).zip(own.values.chunks_exact(heads.width));
        for (row, (key, value)) in self.seen().zip(own) {
            let at = row * heads.kv_width() + head * heads.width;
            add_scaled(&mut to.keys[at..][..heads.width], 1.0, key);
            add_scaled(&mut to.values[at..][..heads.width], 1.0, value);
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add_scaled(to: &mut [f32], factor: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(to, x)| *to += factor * x);
}
