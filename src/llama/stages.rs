//! A pass of one batch forward and back, in stages, for whoever computes a block again instead of
//! keeping it.

use candle_core::{Device, Tensor};

use super::{
    Base, Linear, Llama, NetworkError, Rows,
    backward::{KeptBlock, Pass},
    network::Batch,
    ops,
    rope::Turns,
    tape::{self, Receiver, Sum},
};
use crate::lora::{Branch, Draw};

/// A pass of one batch through a network and back.
#[derive(Debug)]
pub struct Stages<'a> {
    network: &'a Llama,
    batch: &'a Batch,
    turns: Turns,
    attention: ops::Attention,
    draw: Option<&'a Draw>,
}

/// The tokens' embeddings.
#[derive(Debug)]
pub struct Embedded {
    /// `[t, d]`.
    pub values: Vec<f32>,
    /// What a trained branch beside the embedding added, with its history.
    branch: Option<Tensor>,
}

/// Some rows' logits.
#[derive(Debug)]
pub struct Logits {
    /// `[n, vocabulary]`; whoever wants gradients puts that of the loss in its place.
    pub values: Vec<f32>,
    head: Linear,
    draw: Option<Draw>,
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
        let turns = network.rope.turns(&batch.positions);
        Ok(Self { network, batch, turns, attention: batch.attention(network.heads()), draw })
    }

    /// Returns the number of logits a row.
    pub fn vocabulary(&self) -> usize {
        self.network.config().vocab_size
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            eps: self.network.config().rms_norm_eps,
            turns: &self.turns,
            attention: &self.attention,
            rows: Rows { spans: Some(self.batch.calls()), draw: self.draw },
        }
    }

    fn embedding_branch(&self) -> Option<&'a Branch> {
        self.network.adapter.as_ref().and_then(|adapter| adapter.embedding.as_ref())
    }

    /// Returns the tokens' embeddings.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Token`] if a token exceeds the vocabulary.
    pub fn embed(&self) -> Result<Embedded, NetworkError> {
        let tokens = self.batch.tokens();
        let mut values = self.network.embedding_rows(tokens)?;
        let branch = self.embedding_branch().map(|branch| branch.embed(tokens)).transpose()?;
        if let Some(branch) = &branch {
            ops::add(&mut values, &ops::read(branch)?);
        }
        Ok(Embedded { values, branch: branch.filter(Tensor::track_op) })
    }

    /// Returns whether anything below the first block takes a gradient.
    pub fn trains_embedding(&self) -> bool {
        matches!(self.network.embedding, Base::Trainable(_))
            || self.embedding_branch().is_some_and(Branch::is_trained)
    }

    /// Gives away the gradients of what the embeddings are made of, for theirs.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn pull_back_embedded(
        &self,
        embedded: &Embedded,
        grad: &[f32],
        receiver: &mut dyn Receiver,
    ) -> Result<(), NetworkError> {
        if let Base::Trainable(weight) = &self.network.embedding {
            receiver.rows(weight.id(), weight.elem_count(), self.batch.tokens(), grad);
        }
        if let (Some(output), Some(branch)) = (&embedded.branch, self.embedding_branch()) {
            let grad = Tensor::from_slice(grad, output.shape(), &Device::Cpu)?;
            let mut store = tape::pull_back(output, grad)?;
            for (_, variable) in branch.variables() {
                receiver.whole(variable.id(), tape::take(&mut store, &variable)?);
            }
        }
        Ok(())
    }

    /// Returns what block `layer` makes of `x`, both `[t, d]`, and what [`Self::pull_back`] needs.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    ///
    /// # Panics
    ///
    /// If there is no such block.
    pub fn block(&self, layer: usize, x: Vec<f32>) -> Result<(Vec<f32>, KeptBlock), NetworkError> {
        let (block, pass) = (&self.network.blocks()[layer], self.pass());
        let kept = block.keep(x, &pass)?;
        Ok((block.finish(&kept, &pass)?, kept))
    }

    /// Returns what [`Self::pull_back`] needs alone, for less work.
    ///
    /// # Errors
    ///
    /// As [`Self::block`].
    ///
    /// # Panics
    ///
    /// As [`Self::block`].
    pub fn keep(&self, layer: usize, x: Vec<f32>) -> Result<KeptBlock, NetworkError> {
        self.network.blocks()[layer].keep(x, &self.pass())
    }

    /// Returns the gradient of the input of block `layer`, `None` unless it is wanted, for `grad`,
    /// that of its result; what is trained in the block goes to `receiver`.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    ///
    /// # Panics
    ///
    /// If there is no such block.
    pub fn pull_back(
        &self,
        layer: usize,
        kept: KeptBlock,
        grad: Vec<f32>,
        for_input: bool,
        receiver: &mut dyn Receiver,
    ) -> Result<Option<Vec<f32>>, NetworkError> {
        self.network.blocks()[layer].pull_back(kept, grad, for_input, &self.pass(), receiver)
    }

    /// Returns the states behind the last norm, `[t, d]`.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn norm(&self, x: &[f32]) -> Result<Vec<f32>, NetworkError> {
        Ok(ops::normed(x, &ops::read(&self.network.norm)?, self.network.config().rms_norm_eps))
    }

    /// Returns the gradient of what the last norm was applied to, for that of the states.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn pull_back_norm(
        &self,
        x: &[f32],
        grad: &[f32],
        receiver: &mut dyn Receiver,
    ) -> Result<Vec<f32>, NetworkError> {
        let (weight, eps) = (&self.network.norm, self.network.config().rms_norm_eps);
        let trained = weight.track_op();
        let (of_x, of_weight) = ops::norm_gradients(x, &ops::read(weight)?, grad, eps, trained);
        if let Some(of_weight) = of_weight {
            receiver.whole(weight.id(), of_weight);
        }
        Ok(of_x)
    }

    /// Returns the logits of states, `[n, d]`, each with its number among the pass's rows.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    ///
    /// # Panics
    ///
    /// If the pass has no such row.
    pub fn logits(&self, states: &[f32], rows: &[usize]) -> Result<Logits, NetworkError> {
        let head = self.network.head_layer();
        let draw = self.draw.map(|draw| draw.of_rows(rows.iter().copied()));
        let values = head.apply(states, &Rows { spans: None, draw: draw.as_ref() })?;
        Ok(Logits { values, head, draw })
    }
}

impl Logits {
    /// Returns the gradient of `states`, those that the logits were made of; [`Self::values`] now
    /// hold the logits' gradient.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn pull_back(
        self,
        states: &[f32],
        receiver: &mut dyn Receiver,
    ) -> Result<Vec<f32>, NetworkError> {
        let mut sum = Sum::new(true);
        let rows = Rows { spans: None, draw: self.draw.as_ref() };
        self.head.pull_back(states, &self.values, &rows, &mut sum, receiver)?;
        Ok(sum.take())
    }
}
