//! A block forward with what its backward needs, and that backward, by hand.
//!
//! The composition is that of [`Block::forward`], on values in place of candle's tensors: candle's own
//! backward adds every gradient to zeros of its own, on one thread. Results have the same bits.

use candle_core::Tensor;

use super::{
    NetworkError, Rows,
    linear::Kept,
    network::Block,
    ops,
    rope::Turns,
    tape::{Receiver, Sum},
};
use crate::kernels::attention::Saved;

/// What is the same for every block of a pass.
pub(super) struct Pass<'a> {
    pub(super) eps: f32,
    pub(super) turns: &'a Turns,
    pub(super) attention: &'a ops::Attention,
    pub(super) rows: Rows<'a>,
}

/// What the backward of a block reads, one row a token.
#[derive(Debug)]
pub struct KeptBlock {
    x: Vec<f32>,
    normed: Vec<f32>,
    /// Behind the rotation.
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
    log_sums: Vec<f32>,
    /// The residual stream behind attention.
    middle: Vec<f32>,
    middle_normed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
    linears: Linears,
}

#[derive(Debug)]
struct Linears {
    qkv: [Kept; 3],
    out: Kept,
    gate: Kept,
    up: Kept,
    down: Kept,
}

impl KeptBlock {
    /// Returns the block's input, and drops the rest.
    pub fn into_input(self) -> Vec<f32> {
        self.x
    }
}

impl Block {
    /// Returns what [`Block::forward`] makes of `x: [t, d]`, and what [`Self::pull_back`] needs.
    pub(super) fn apply(
        &self,
        x: Vec<f32>,
        pass: &Pass<'_>,
    ) -> Result<(Vec<f32>, KeptBlock), NetworkError> {
        let (rows, heads) = (&pass.rows, pass.attention.heads);
        let normed = ops::normed(&x, &ops::read(&self.input_norm)?, pass.eps);
        let [q, k, v] = &self.qkv;
        let ((mut q, kept_q), (mut k, kept_k), (v, kept_v)) =
            (q.apply(&normed, rows)?, k.apply(&normed, rows)?, v.apply(&normed, rows)?);
        ops::turn(&mut q, heads.query_width(), pass.turns, false);
        ops::turn(&mut k, heads.kv_width(), pass.turns, false);
        let (mixed, log_sums) = pass.attention.attend(&q, &k, &v);
        let (mut middle, kept_out) = self.out.apply(&mixed, rows)?;
        ops::add(&mut middle, &x);
        let middle_normed = ops::normed(&middle, &ops::read(&self.post_norm)?, pass.eps);
        let ((gate, kept_gate), (up, kept_up)) =
            (self.gate.apply(&middle_normed, rows)?, self.up.apply(&middle_normed, rows)?);
        let inner = ops::gated(&gate, &up, self.gate.shape()[0]);
        let (mut y, kept_down) = self.down.apply(&inner, rows)?;
        ops::add(&mut y, &middle);
        let linears = Linears {
            qkv: [kept_q, kept_k, kept_v],
            out: kept_out,
            gate: kept_gate,
            up: kept_up,
            down: kept_down,
        };
        let kept = KeptBlock {
            x,
            normed,
            q,
            k,
            v,
            mixed,
            log_sums,
            middle,
            middle_normed,
            gate,
            up,
            inner,
            linears,
        };
        Ok((y, kept))
    }

    /// Returns the gradient of the block's input, if it is wanted, for the gradient of its result;
    /// what is trained in the block goes to `receiver`. Nothing is computed that neither needs.
    pub(super) fn pull_back(
        &self,
        kept: KeptBlock,
        grad: Vec<f32>,
        for_x: bool,
        pass: &Pass<'_>,
        receiver: &mut dyn Receiver,
    ) -> Result<Option<Vec<f32>>, NetworkError> {
        let [of_q, of_k, of_v] = &self.qkv;
        let below_normed = for_x || self.input_norm.track_op();
        let below_mixed = below_normed || self.qkv.iter().any(super::Linear::is_trained);
        let below_middle = for_x || below_mixed || self.out.is_trained();
        let below_middle_normed = below_middle || self.post_norm.track_op();
        let below_inner = below_middle_normed || self.gate.is_trained() || self.up.is_trained();

        let KeptBlock {
            x,
            normed,
            q,
            k,
            v,
            mixed,
            log_sums,
            middle,
            middle_normed,
            gate,
            up,
            inner,
            linears,
        } = kept;
        let Linears { qkv: [kept_q, kept_k, kept_v], out, gate: kept_gate, up: kept_up, down } =
            linears;

        let mut of_inner = Sum::new(below_inner);
        self.down.pull_back(down, &inner, &grad, &mut of_inner, receiver)?;
        drop(inner);
        if !below_inner {
            return Ok(None);
        }
        let (grad_gate, grad_up) =
            ops::gate_gradients(&gate, &up, &of_inner.take(), self.gate.shape()[0]);
        drop((gate, up));
        // Sums at a fork are in the order in which candle's backward would add.
        let mut of_normed = Sum::new(below_middle_normed);
        self.up.pull_back(kept_up, &middle_normed, &grad_up, &mut of_normed, receiver)?;
        drop(grad_up);
        self.gate.pull_back(kept_gate, &middle_normed, &grad_gate, &mut of_normed, receiver)?;
        drop((grad_gate, middle_normed));
        if !below_middle_normed {
            return Ok(None);
        }
        let of_middle =
            Self::below_norm(&self.post_norm, &middle, of_normed, grad, pass, receiver)?;
        drop(middle);
        if !below_middle {
            return Ok(None);
        }

        let mut of_mixed = Sum::new(below_mixed);
        self.out.pull_back(out, &mixed, &of_middle, &mut of_mixed, receiver)?;
        if !below_mixed {
            return Ok(for_x.then_some(of_middle));
        }
        let of_mixed = of_mixed.take();
        let mut grads = pass.attention.gradients(&Saved {
            queries: &q,
            keys: &k,
            values: &v,
            out: &mixed,
            grad: &of_mixed,
            log_sums: &log_sums,
        });
        drop((q, k, v, mixed, log_sums, of_mixed));
        let heads = pass.attention.heads;
        ops::turn(&mut grads.queries, heads.query_width(), pass.turns, true);
        ops::turn(&mut grads.keys, heads.kv_width(), pass.turns, true);
        let mut of_normed = Sum::new(below_normed);
        of_v.pull_back(kept_v, &normed, &grads.values, &mut of_normed, receiver)?;
        of_k.pull_back(kept_k, &normed, &grads.keys, &mut of_normed, receiver)?;
        of_q.pull_back(kept_q, &normed, &grads.queries, &mut of_normed, receiver)?;
        drop((grads, normed));
        if !below_normed {
            return Ok(None);
        }
        let of_x = Self::below_norm(&self.input_norm, &x, of_normed, of_middle, pass, receiver)?;
        Ok(for_x.then_some(of_x))
    }

    /// Returns the gradient of the residual stream at a norm, which goes through it and by it.
    fn below_norm(
        weight: &Tensor,
        x: &[f32],
        of_normed: Sum,
        by_it: Vec<f32>,
        pass: &Pass<'_>,
        receiver: &mut dyn Receiver,
    ) -> Result<Vec<f32>, NetworkError> {
        let trained = weight.track_op();
        let values = ops::read(weight)?;
        let (grad, of_weight) =
            ops::norm_gradients(x, &values, &of_normed.take(), pass.eps, trained);
        if let Some(of_weight) = of_weight {
            receiver.whole(weight.id(), of_weight);
        }
        let mut sum = by_it;
        ops::add(&mut sum, &grad);
        Ok(sum)
    }
}
