//! A forward pass in stages, for whoever computes a block again instead of keeping it.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Llama, NetworkError, Rows, network::Batch, ops, rope::Turns};
use crate::lora::Draw;

/// A pass of one batch through a network, one stage at a time; gradients are kept in each.
#[derive(Debug)]
pub struct Stages<'a> {
    network: &'a Llama,
    batch: &'a Batch,
    turns: Arc<Turns>,
    draw: Option<&'a Draw>,
}

impl<'a> Stages<'a> {
    /// Begins a pass, with the adapter's dropout if there is a draw.
    ///
    /// # Errors
    ///
    /// [`NetworkError::ContextExceeded`] if a sequence exceeds the context.
    pub fn new(
        network: &'a Llama,
        batch: &'a Batch,
        draw: Option<&'a Draw>,
    ) -> Result<Self, NetworkError> {
        for span in batch.spans() {
            network.check_length(span.len())?;
        }
        let turns = Arc::new(network.rope.turns(&batch.positions));
        Ok(Self { network, batch, turns, draw })
    }

    /// Returns the tokens' embeddings, `[t, d]`.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Token`] if a token exceeds the vocabulary.
    pub fn embed(&self) -> Result<Tensor, NetworkError> {
        self.network.embed(self.batch.tokens())
    }

    /// Returns what block `layer` makes of `x`, both `[t, d]`.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    ///
    /// # Panics
    ///
    /// If there is no such block.
    pub fn block(&self, layer: usize, x: &Tensor) -> Result<Tensor, NetworkError> {
        let heads = self.network.heads();
        let eps = self.network.config().rms_norm_eps;
        let rows = Rows { spans: Some(self.batch.calls()), draw: self.draw };
        let block = &self.network.blocks()[layer];
        block.forward(x, layer, eps, &self.turns, &rows, &mut |_, q, k, v| {
            self.batch.attend(q, k, v, heads)
        })
    }

    /// Returns the states behind the last norm, `[t, d]`.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor, NetworkError> {
        Ok(ops::rms_norm(x, &self.network.norm, self.network.config().rms_norm_eps)?)
    }
}
