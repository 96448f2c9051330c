//! Causal grouped-query attention over a batch of sequences of unequal lengths.
//!
//! Rows of a batch are split into spans, one a sequence; a row sees the rows of its span up to
//! itself. So a padded batch, a packed one and a single sequence are the same computation. Spans of
//! padding attend as [`Pad`] says.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    output,
    padding::{Inputs, Pad},
    read, rows_and_width, values,
};
pub use crate::kernels::attention::Heads;
use crate::kernels::attention::{
    Gradients, Keys, Part, Saved, Scratch, Values, attend, attend_backward,
};

/// Rows of queries that one thread takes at a time.
pub const QUERY_ROWS: usize = 12;

/// Which rows attend to which.
#[derive(Debug, Clone)]
pub(in crate::llama) struct Attention {
    pub(in crate::llama) heads: Heads,
    /// The rows of each sequence; they follow each other and cover all rows.
    pub(in crate::llama) spans: Arc<[Range<usize>]>,
    /// Those spans that hold padding.
    pub(in crate::llama) pads: Arc<[Pad]>,
}

/// The operation, with what its backward reads.
struct AttentionOp {
    attention: Attention,
    /// `[t, query heads]`, filled by the forward pass and read by the backward.
    log_sums: OnceLock<Vec<f32>>,
}

/// Returns the attention of every row to the rows of its span up to itself.
///
/// `q: [t, query heads * width]`, `k`, `v`: `[t, kv heads * width]`, result as `q`. The spans
/// follow each other and cover all rows; those of `pads` hold padding.
///
/// # Errors
///
/// If shapes and spans disagree, or an argument is not contiguous f32.
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: Heads,
    spans: &Arc<[Range<usize>]>,
    pads: &Arc<[Pad]>,
) -> Result<Tensor> {
    let attention = Attention { heads, spans: Arc::clone(spans), pads: Arc::clone(pads) };
    q.apply_op3(k, v, AttentionOp { attention, log_sums: OnceLock::new() })
}

impl Attention {
    /// Refuses spans that do not follow each other or do not cover the rows.
    fn check_spans(&self, rows: usize) -> Result<()> {
        let mut covered = 0;
        for span in self.spans.iter() {
            if span.start != covered || span.end < span.start {
                candle_core::bail!("attention: span {span:?} does not follow row {covered}");
            }
            covered = span.end;
        }
        if covered != rows {
            candle_core::bail!("attention: spans cover {covered} rows of {rows}");
        }
        Ok(())
    }

    /// Attends within one span: `q`, `out`, `log_sums` hold its rows only.
    fn attend_span(&self, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
        let (heads, width) = (self.heads, self.heads.query_width());
        let (mut keys, mut values) = (Keys::new(heads.kv_width()), Values::new(heads));
        keys.extend(k.chunks_exact(heads.kv_width()));
        values.extend(v.chunks_exact(heads.kv_width()));
        let parts = [Part { keys: &keys, values: &values, len: keys.len() }];
        out.par_chunks_mut(width * QUERY_ROWS)
            .zip(log_sums.par_chunks_mut(heads.query * QUERY_ROWS))
            .zip(q.par_chunks(width * QUERY_ROWS))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (chunk, ((out, log_sums), q))| {
                attend(heads, q, chunk * QUERY_ROWS + 1, &parts, scratch, out, log_sums);
            });
    }

    /// As [`attention`], of values: returns the result and its sums, `[t, query heads]`, for
    /// [`Self::gradients`].
    pub(in crate::llama) fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (width, kv_width) = (self.heads.query_width(), self.heads.kv_width());
        let mut out = vec![0.0; q.len()];
        let mut log_sums = vec![0.0; q.len() / width * self.heads.query];
        let (mut out_left, mut log_sums_left) = (&mut *out, &mut *log_sums);
        let mut tasks = Vec::with_capacity(self.spans.len());
        for span in self.spans.iter() {
            let (own_out, rest) = out_left.split_at_mut(span.len() * width);
            let (own_sums, rest_sums) = log_sums_left.split_at_mut(span.len() * self.heads.query);
            (out_left, log_sums_left) = (rest, rest_sums);
            tasks.push((span, own_out, own_sums));
        }
        tasks.into_par_iter().for_each(|(span, out, log_sums)| {
            let kv = span.start * kv_width..span.end * kv_width;
            let q = &q[span.start * width..span.end * width];
            self.attend_span(q, &k[kv.clone()], &v[kv], out, log_sums);
        });
        for pad in self.pads.iter() {
            pad.attend(self.heads, v, &mut out);
        }
        (out, log_sums)
    }

    /// Returns the gradients of queries, keys and values.
    pub(in crate::llama) fn gradients(&self, saved: &Saved<'_>) -> Gradients {
        let heads = self.heads;
        let (width, kv_width) = (heads.query_width(), heads.kv_width());
        let Saved { queries, keys, values, out, grad, log_sums } = *saved;
        let mut grads = Gradients {
            queries: vec![0.0; queries.len()],
            keys: vec![0.0; keys.len()],
            values: vec![0.0; keys.len()],
        };
        let is_padding = |span: &&Range<usize>| self.pads.iter().any(|pad| pad.rows == **span);
        let tasks: Vec<(&Range<usize>, usize)> = self
            .spans
            .iter()
            .filter(|span| !is_padding(span))
            .flat_map(|span| (0..heads.kv).map(move |head| (span, head)))
            .collect();
        let of_heads: Vec<Gradients> = tasks
            .par_iter()
            .map(|(span, head)| {
                let (q, kv) = (
                    span.start * width..span.end * width,
                    span.start * kv_width..span.end * kv_width,
                );
                let saved = Saved {
                    queries: &queries[q.clone()],
                    keys: &keys[kv.clone()],
                    values: &values[kv],
                    out: &out[q.clone()],
                    grad: &grad[q],
                    log_sums: &log_sums[span.start * heads.query..span.end * heads.query],
                };
                attend_backward(heads, *head, &saved)
            })
            .collect();
        for ((span, head), own) in tasks.into_iter().zip(of_heads) {
            let group = width / heads.kv;
            let columns = head * group..(head + 1) * group;
            place(&own.queries, &mut grads.queries[span.start * width..], width, columns);
            let columns = head * heads.width..(head + 1) * heads.width;
            let from = span.start * kv_width;
            place(&own.keys, &mut grads.keys[from..], kv_width, columns.clone());
            place(&own.values, &mut grads.values[from..], kv_width, columns);
        }
        let inputs = Inputs { heads, queries, keys, values, grad };
        let tasks: Vec<(&Pad, usize)> =
            self.pads.iter().flat_map(|pad| (0..heads.kv).map(move |head| (pad, head))).collect();
        let of_pads: Vec<Gradients> =
            tasks.par_iter().map(|(pad, head)| pad.attend_backward(*head, &inputs)).collect();
        for ((pad, head), own) in tasks.into_iter().zip(of_pads) {
            pad.add(head, &own, heads, &mut grads);
        }
        grads
    }
}

/// Copies the gradients of one head of a span to their columns.
fn place(part: &[f32], to: &mut [f32], stride: usize, columns: Range<usize>) {
    for (part, to) in part.chunks_exact(columns.len()).zip(to.chunks_exact_mut(stride)) {
        to[columns.clone()].copy_from_slice(part);
    }
}

impl CustomOp3 for AttentionOp {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = rows_and_width(q_layout)?;
        let attention = &self.attention;
        let kv_shape = Shape::from((rows, attention.heads.kv_width()));
        if width != attention.heads.query_width()
            || *k_layout.shape() != kv_shape
            || *v_layout.shape() != kv_shape
        {
            candle_core::bail!(
                "attention: {:?} heads on {:?}, {:?}, {:?}",
                attention.heads,
                q_layout.shape(),
                k_layout.shape(),
                v_layout.shape()
            );
        }
        attention.check_spans(rows)?;
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let (out, log_sums) = attention.attend(q, k, v);
        // Set once: candle runs a recorded op's forward a single time.
        let _ = self.log_sums.set(log_sums);
        Ok(output(out, rows, width))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(log_sums) = self.log_sums.get() else {
            candle_core::bail!("attention: backward without a forward");
        };
        let (queries, keys, values) = (read(q)?, read(k)?, read(v)?);
        let (out, grad) = (read(out)?, read(grad)?);
        let grads = self.attention.gradients(&Saved {
            queries: &queries,
            keys: &keys,
            values: &values,
            out: &out,
            grad: &grad,
            log_sums,
        });
        let wrap = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        Ok((
            Some(wrap(grads.queries, q)?),
            Some(wrap(grads.keys, k)?),
            Some(wrap(grads.values, v)?),
        ))
    }
}
