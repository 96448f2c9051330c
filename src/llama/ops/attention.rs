//! Causal grouped-query attention over a batch of sequences of unequal lengths.
//!
//! Rows of a batch are split into spans, one a sequence; a row sees the rows of its span up to
//! itself. So a padded batch, a packed one and a single sequence are the same computation.
//! Source: Vaswani et al. 2017, equation 1; Ainslie et al. 2023 (grouped heads); the backward
//! recomputes the softmax from its stored log-sum, as Dao et al. 2022 do.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{output, rows_and_width, to_vec, values};
use crate::kernels::float::{AttendBackward, Kernels, KeyValues};

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
    /// Returns the key and value head that query head `head` reads.
    fn kv_of(self, head: usize) -> usize {
        head / (self.query / self.kv)
    }

    /// Returns the factor of the scores, `1 / sqrt(width)`.
    fn scale(self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Returns the place of a head in its row.
    fn columns(self, head: usize) -> Range<usize> {
        head * self.width..(head + 1) * self.width
    }
}

/// Attends from one row to the positions in `parts`, head by head.
///
/// `query`, `out`: `[query heads * width]`; each part holds all key and value heads of its
/// positions. `log_sums: [query heads]` receives the logarithm of each softmax's denominator.
pub fn attend_row(
    heads: Heads,
    query: &[f32],
    parts: &[KeyValues<'_>],
    scores: &mut Vec<f32>,
    out: &mut [f32],
    log_sums: &mut [f32],
) {
    let kernels = Kernels::get();
    let mut seen: Vec<KeyValues<'_>> = Vec::with_capacity(parts.len());
    for (head, log_sum) in log_sums.iter_mut().enumerate() {
        let from = heads.columns(heads.kv_of(head)).start;
        seen.clear();
        seen.extend(parts.iter().filter(|part| part.len > 0).map(|part| KeyValues {
            keys: &part.keys[from..],
            values: &part.values[from..],
            ..*part
        }));
        let columns = heads.columns(head);
        let (query, out) = (&query[columns.clone()], &mut out[columns]);
        *log_sum = kernels.attend(query, &seen, heads.scale(), scores, out);
    }
}

struct Attention {
    heads: Heads,
    spans: Arc<[Range<usize>]>,
    /// `[t, query heads]`, filled by the forward pass and read by the backward.
    log_sums: OnceLock<Vec<f32>>,
}

/// Returns the attention of every row to the rows of its span up to itself.
///
/// `q: [t, query heads * width]`, `k`, `v`: `[t, kv heads * width]`, result as `q`. The spans
/// follow each other and cover all rows.
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
) -> Result<Tensor> {
    q.apply_op3(k, v, Attention { heads, spans: Arc::clone(spans), log_sums: OnceLock::new() })
}

impl Attention {
    /// Returns where the span of each row begins.
    fn span_starts(&self, rows: usize) -> Result<Vec<usize>> {
        let mut starts = Vec::with_capacity(rows);
        for span in self.spans.iter() {
            if span.start != starts.len() {
                candle_core::bail!("attention: span {span:?} does not follow row {}", starts.len());
            }
            starts.resize(span.end.max(span.start), span.start);
        }
        if starts.len() != rows {
            candle_core::bail!("attention: spans cover {} rows of {rows}", starts.len());
        }
        Ok(starts)
    }

    /// Returns the gradients of one key-value head: of its queries' heads, its keys, its values.
    fn head_gradients(&self, kv_head: usize, saved: &Saved, starts: &[usize]) -> HeadGradients {
        let Heads { query, kv, width } = self.heads;
        let rows = starts.len();
        let gather = |from: &[f32], heads: usize| -> Vec<f32> {
            let columns = self.heads.columns(kv_head);
            from.chunks(heads * width).flat_map(|row| &row[columns.clone()]).copied().collect()
        };
        let (keys, values) = (gather(&saved.k, kv), gather(&saved.v, kv));
        let group = query / kv;
        let mut grads = HeadGradients {
            q: vec![0.0; rows * group * width],
            k: vec![0.0; rows * width],
            v: vec![0.0; rows * width],
        };
        for (row, start) in starts.iter().enumerate() {
            for member in 0..group {
                let head = kv_head * group + member;
                let columns = self.heads.columns(head);
                let at = row * query * width;
                let place = at + columns.start..at + columns.end;
                let seen = *start * width..(row + 1) * width;
                let input = AttendBackward {
                    query: &saved.q[place.clone()],
                    seen: KeyValues {
                        keys: &keys[seen.clone()],
                        values: &values[seen.clone()],
                        stride: width,
                        len: row + 1 - start,
                    },
                    log_sum: saved.log_sums[row * query + head],
                    scale: self.heads.scale(),
                    out: &saved.out[place.clone()],
                    grad: &saved.grad[place],
                };
                Kernels::get().attend_backward(
                    &input,
                    &mut grads.q[(row * group + member) * width..][..width],
                    &mut grads.k[seen.clone()],
                    &mut grads.v[seen],
                );
            }
        }
        grads
    }
}

/// What the backward reads.
struct Saved<'a> {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    out: Vec<f32>,
    grad: Vec<f32>,
    log_sums: &'a [f32],
}

/// Gradients of one key-value head, each `[t, its width]`.
struct HeadGradients {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Puts the parts `[t, width]` of all heads side by side.
fn interleave<'a>(parts: impl Iterator<Item = &'a [f32]>, width: usize, rows: usize) -> Vec<f32> {
    let parts: Vec<_> = parts.collect();
    let mut out = Vec::with_capacity(rows * width * parts.len());
    for row in 0..rows {
        for part in &parts {
            out.extend_from_slice(&part[row * width..][..width]);
        }
    }
    out
}

impl CustomOp3 for Attention {
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
        let kv_width = self.heads.kv * self.heads.width;
        let kv_shape = Shape::from((rows, kv_width));
        if width != self.heads.query * self.heads.width
            || *k_layout.shape() != kv_shape
            || *v_layout.shape() != kv_shape
        {
            candle_core::bail!(
                "attention: {:?} heads on {:?}, {:?}, {:?}",
                self.heads,
                q_layout.shape(),
                k_layout.shape(),
                v_layout.shape()
            );
        }
        let starts = self.span_starts(rows)?;
        let (q, k, v) = (values(q, q_layout)?, values(k, k_layout)?, values(v, v_layout)?);
        let mut out = vec![0.0; q.len()];
        let mut log_sums = vec![0.0; rows * self.heads.query];
        out.par_chunks_mut(width)
            .zip(log_sums.par_chunks_mut(self.heads.query))
            .enumerate()
            .for_each_init(Vec::new, |scores, (row, (out, log_sums))| {
                let start = starts[row];
                let seen = KeyValues {
                    keys: &k[start * kv_width..],
                    values: &v[start * kv_width..],
                    stride: kv_width,
                    len: row + 1 - start,
                };
                attend_row(self.heads, &q[row * width..][..width], &[seen], scores, out, log_sums);
            });
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
        let saved = Saved {
            q: to_vec(q)?,
            k: to_vec(k)?,
            v: to_vec(v)?,
            out: to_vec(out)?,
            grad: to_vec(grad)?,
            log_sums,
        };
        let rows = q.dim(0)?;
        let starts = self.span_starts(rows)?;
        let grads: Vec<HeadGradients> = (0..self.heads.kv)
            .into_par_iter()
            .map(|head| self.head_gradients(head, &saved, &starts))
            .collect();
        let Heads { query, kv, width } = self.heads;
        let wrap = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), &Device::Cpu);
        let grad_q = interleave(grads.iter().map(|grad| &*grad.q), query / kv * width, rows);
        let grad_k = interleave(grads.iter().map(|grad| &*grad.k), width, rows);
        let grad_v = interleave(grads.iter().map(|grad| &*grad.v), width, rows);
        Ok((Some(wrap(grad_q, q)?), Some(wrap(grad_k, k)?), Some(wrap(grad_v, v)?)))
    }
}
