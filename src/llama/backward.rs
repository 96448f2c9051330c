//! A block forward with what its backward needs, and that backward, by hand.
//!
//! The composition is that of [`Block::forward`], on values in place of candle's tensors, whose own
//! backward adds every gradient to zeros of its own, on one thread. Results have the bits of candle's
//! graph, but for sums where a layer with DoRA forks: such a layer's gradients are candle's.

use candle_core::Tensor;

use super::{
    NetworkError, Rows,
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
}

impl KeptBlock {
    /// Returns the block's input, and drops the rest.
    pub fn into_input(self) -> Vec<f32> {
        self.x
    }
}

impl Block {
    /// Goes through the block as far as its backward needs, from `x: [t, d]`.
    pub(super) fn keep(&self, x: Vec<f32>, pass: &Pass<'_>) -> Result<KeptBlock, NetworkError> {
        let (rows, heads) = (&pass.rows, pass.attention.heads);
        let normed = ops::normed(&x, &ops::read(&self.input_norm)?, pass.eps);
        let [q, k, v] = &self.qkv;
        let (mut q, mut k, v) =
            (q.apply(&normed, rows)?, k.apply(&normed, rows)?, v.apply(&normed, rows)?);
        ops::turn(&mut q, heads.query_width(), pass.turns, false);
        ops::turn(&mut k, heads.kv_width(), pass.turns, false);
        let (mixed, log_sums) = pass.attention.attend(&q, &k, &v);
        let mut middle = self.out.apply(&mixed, rows)?;
        ops::add(&mut middle, &x);
        let middle_normed = ops::normed(&middle, &ops::read(&self.post_norm)?, pass.eps);
        let (gate, up) =
            (self.gate.apply(&middle_normed, rows)?, self.up.apply(&middle_normed, rows)?);
        let inner = ops::gated(&gate, &up, self.gate.shape()[0]);
        Ok(KeptBlock {
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
        })
    }

    /// Returns what [`Block::forward`] returns, from what [`Self::keep`] did.
    pub(super) fn finish(
        &self,
        kept: &KeptBlock,
        pass: &Pass<'_>,
    ) -> Result<Vec<f32>, NetworkError> {
        let mut y = self.down.apply(&kept.inner, &pass.rows)?;
        ops::add(&mut y, &kept.middle);
        Ok(y)
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
        let below_normed = for_x || self.input_norm.track_op();
        let below_mixed = below_normed || self.qkv.iter().any(super::Linear::is_trained);
        let below_middle = for_x || below_mixed || self.out.is_trained();
        let below_middle_normed = below_middle || self.post_norm.track_op();
        let below_inner = below_middle_normed || self.gate.is_trained() || self.up.is_trained();

        let (heads, rows) = (pass.attention.heads, &pass.rows);

        let mut of_inner = Sum::new(below_inner);
        self.down.pull_back(&kept.inner, &grad, rows, &mut of_inner, receiver)?;
        drop(kept.inner);
        if !below_inner {
            return Ok(None);
        }
        let (grad_gate, grad_up) =
            ops::gate_gradients(&kept.gate, &kept.up, &of_inner.take(), self.gate.shape()[0]);
        drop((kept.gate, kept.up));
        // Sums at a fork are in the order in which candle's backward would add.
        let mut of_normed = Sum::new(below_middle_normed);
        self.up.pull_back(&kept.middle_normed, &grad_up, rows, &mut of_normed, receiver)?;
        drop(grad_up);
        self.gate.pull_back(&kept.middle_normed, &grad_gate, rows, &mut of_normed, receiver)?;
        drop((grad_gate, kept.middle_normed));
        if !below_middle_normed {
            return Ok(None);
        }
        let of_middle =
            Self::below_norm(&self.post_norm, &kept.middle, of_normed, grad, pass, receiver)?;
        drop(kept.middle);
        if !below_middle {
            return Ok(None);
        }

        let mut of_mixed = Sum::new(below_mixed);
        self.out.pull_back(&kept.mixed, &of_middle, rows, &mut of_mixed, receiver)?;
        if !below_mixed {
            return Ok(None);
        }
        let of_mixed = of_mixed.take();
        let mut grads = pass.attention.gradients(&Saved {
            queries: &kept.q,
            keys: &kept.k,
            values: &kept.v,
            out: &kept.mixed,
            grad: &of_mixed,
            log_sums: &kept.log_sums,
        });
        drop((kept.q, kept.k, kept.v, kept.mixed, kept.log_sums, of_mixed));
        ops::turn(&mut grads.queries, heads.query_width(), pass.turns, true);
        ops::turn(&mut grads.keys, heads.kv_width(), pass.turns, true);
        let [q, k, v] = &self.qkv;
        let mut of_normed = Sum::new(below_normed);
        v.pull_back(&kept.normed, &grads.values, rows, &mut of_normed, receiver)?;
        k.pull_back(&kept.normed, &grads.keys, rows, &mut of_normed, receiver)?;
        q.pull_back(&kept.normed, &grads.queries, rows, &mut of_normed, receiver)?;
        drop((grads, kept.normed));
        if !below_normed {
            return Ok(None);
        }
        let of_x =
            Self::below_norm(&self.input_norm, &kept.x, of_normed, of_middle, pass, receiver)?;
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
