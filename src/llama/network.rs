//! The forward pass, for whole batches with gradients and for cached sequences without.
//!
//! Source: Touvron et al. 2023, section 2.2; `transformers` 5.23.0, `modeling_llama`.

use std::{ops::Range, sync::Arc};

use candle_core::{Device, Tensor, Var};

use super::{
    CheckpointError, Config, NetworkError,
    adapted::Attached,
    cache::{Piece, Pieces},
    linear::{Base, Linear, Rows, Spans},
    ops,
    reader::Reader,
    rope::{Rope, Turns},
    weights::{EMBEDDING, HEAD, Hold, NORM, WeightSource},
};
use crate::{
    lora::{BaseRows, Draw, sum},
    stats::Seed,
};

/// Token rows of several sequences, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    tokens: Vec<u32>,
    pub(super) positions: Vec<usize>,
    pub(super) spans: Spans,
    pub(super) pads: Arc<[ops::Pad]>,
    /// Rows in which int8 layers look for outlier columns together; `None` is each sequence.
    calls: Option<Spans>,
}

impl Batch {
    /// Joins sequences; each starts at position 0 and sees nothing of the others.
    pub fn new<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let (mut tokens, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for sequence in sequences {
            let start = tokens.len();
            tokens.extend_from_slice(sequence);
            positions.extend(0..sequence.len());
            spans.push(start..tokens.len());
        }
        Self { tokens, positions, spans: spans.into(), pads: Arc::new([]), calls: None }
    }

    /// Adds the padding in front of some sequences, given as `(sequence, padding positions)`: rows of
    /// token `token` behind all others, one span a sequence, whose positions then follow theirs.
    ///
    /// Padding that attends to nothing is the same at every position: its last row stands for all.
    ///
    /// # Panics
    ///
    /// If there is no such sequence.
    #[must_use]
    pub fn with_padding(
        mut self,
        token: u32,
        masked: ops::Masked,
        padding: impl IntoIterator<Item = (usize, usize)>,
    ) -> Self {
        let mut spans = self.spans.to_vec();
        let mut pads = self.pads.to_vec();
        for (sequence, count) in padding {
            let sequence = self.spans[sequence].clone();
            let first = if masked == ops::Masked::Nothing { count - 1 } else { 0 };
            let rows = self.tokens.len()..self.tokens.len() + count - first;
            self.positions[sequence.clone()].iter_mut().for_each(|position| *position += count);
            self.tokens.resize(rows.end, token);
            self.positions.extend(first..count);
            spans.push(rows.clone());
            pads.push(ops::Pad { rows, sequence, masked });
        }
        (self.spans, self.pads) = (spans.into(), pads.into());
        self
    }

    /// Returns the rows of each sequence.
    pub fn spans(&self) -> &[Range<usize>] {
        &self.spans
    }

    /// Lets int8 layers see all rows, those of padding included, as one call: an outlier column is
    /// then one of any row, as in bitsandbytes, and a row's result depends on the others.
    #[must_use]
    pub fn in_one_call(mut self) -> Self {
        self.calls = Some(std::iter::once(0..self.tokens.len()).collect());
        self
    }

    /// Returns the rows in which int8 layers look for outlier columns together.
    pub(super) fn calls(&self) -> &Spans {
        self.calls.as_ref().unwrap_or(&self.spans)
    }

    /// Returns what fixes the dropout of update `step`, with a number for each sequence's example.
    ///
    /// # Panics
    ///
    /// Unless there is one number a sequence.
    pub fn draw(&self, seed: Seed, step: u64, examples: &[u64]) -> Draw {
        assert_eq!(examples.len(), self.spans.len(), "one example a sequence");
        let rows = self.spans.iter().zip(examples);
        Draw::new(
            seed,
            step,
            rows.flat_map(|(span, example)| (0..span.len()).map(|position| (*example, position))),
        )
    }

    /// Attends within each sequence, and from padding as it does.
    pub(super) fn attend(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        heads: ops::Heads,
    ) -> Result<Tensor, NetworkError> {
        Ok(ops::attention(q, k, v, heads, &self.spans, &self.pads)?)
    }

    /// Returns the same for values.
    pub(super) fn attention(&self, heads: ops::Heads) -> ops::Attention {
        ops::Attention { heads, spans: Arc::clone(&self.spans), pads: Arc::clone(&self.pads) }
    }

    /// Returns the tokens of all rows.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

/// One transformer block.
#[derive(Debug, Clone)]
pub struct Block {
    /// Weight of the norm before attention, `[d]`.
    pub input_norm: Tensor,
    /// Query, key and value projections.
    pub qkv: [Linear; 3],
    /// Projection behind attention.
    pub out: Linear,
    /// Weight of the norm before the feed-forward block, `[d]`.
    pub post_norm: Tensor,
    /// Gate projection.
    pub gate: Linear,
    /// Projection that is gated.
    pub up: Linear,
    /// Projection back to the residual stream.
    pub down: Linear,
}

/// A LLaMA network.
#[derive(Debug)]
pub struct Llama {
    pub(super) config: Config,
    pub(super) embedding: Base,
    pub(super) blocks: Vec<Block>,
    pub(super) norm: Tensor,
    /// `None` where it is the embedding.
    pub(super) head: Option<Linear>,
    pub(super) rope: Rope,
    pub(super) variables: Vec<(String, Var)>,
    /// The attached adapter.
    pub(super) adapter: Option<Attached>,
}

impl Llama {
    /// Builds a network from its weights.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if a tensor cannot be read or holds a value that is no number.
    pub fn new(
        config: Config,
        source: &mut dyn WeightSource,
        hold: Hold,
    ) -> Result<Self, CheckpointError> {
        keep_freed_memory();
        let shape = [config.vocab_size, config.hidden_size];
        let mut reader = Reader::new(source, hold);
        let embedding = reader.base(EMBEDDING, shape)?;
        let blocks = (0..config.layers)
            .map(|layer| Block::read(&config, &mut reader, layer))
            .collect::<Result<_, _>>()?;
        let norm = reader.vector(NORM, config.hidden_size)?;
        let head = match config.tied {
            true => None,
            false => Some(Linear::new(reader.base(HEAD, shape)?, None)),
        };
        let variables = reader.into_variables();
        let rope = Rope::new(&config);
        Ok(Self { config, embedding, blocks, norm, head, rope, variables, adapter: None })
    }

    /// Returns the trainable weights: by checkpoint name, an adapter's by PEFT's names; empty for a
    /// frozen network.
    pub fn variables(&self) -> &[(String, Var)] {
        &self.variables
    }

    /// Returns the sizes and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the blocks.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// Returns each linear layer of the blocks with its checkpoint name.
    pub fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        self.blocks.iter().enumerate().flat_map(|(layer, block)| {
            let [q, k, v] = &block.qkv;
            let linears = [q, k, v, &block.out, &block.gate, &block.up, &block.down];
            LINEARS
                .into_iter()
                .zip(linears)
                .map(move |(name, linear)| (linear_name(layer, name), linear))
        })
    }

    /// Returns each linear layer of the blocks with its checkpoint name, for adapters.
    pub fn linears_mut(&mut self) -> impl Iterator<Item = (String, &mut Linear)> {
        self.blocks.iter_mut().enumerate().flat_map(|(layer, block)| {
            let [q, k, v] = &mut block.qkv;
            let linears =
                [q, k, v, &mut block.out, &mut block.gate, &mut block.up, &mut block.down];
            LINEARS
                .into_iter()
                .zip(linears)
                .map(move |(name, linear)| (linear_name(layer, name), linear))
        })
    }

    /// Returns the state of each row behind the last norm; gradients are kept.
    ///
    /// Result `[t, d]` f32.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if a sequence exceeds the context or a token the vocabulary.
    pub fn forward(&self, batch: &Batch) -> Result<Tensor, NetworkError> {
        self.forward_drawn(batch, None)
    }

    /// Returns the states as [`Llama::forward`], with the adapter's dropout.
    ///
    /// The gradients of this graph are what those of [`super::Stages`] are held against.
    ///
    /// # Errors
    ///
    /// As [`Llama::forward`], or if `draw` is not one of this batch ([`Batch::draw`]).
    pub fn forward_drawn(
        &self,
        batch: &Batch,
        draw: Option<&Draw>,
    ) -> Result<Tensor, NetworkError> {
        for span in batch.spans() {
            self.check_length(span.len())?;
        }
        let heads = self.heads();
        let rows = Rows { spans: Some(batch.calls()), draw };
        self.run(&batch.tokens, &batch.positions, &rows, &mut |_, q, k, v| {
            batch.attend(q, k, v, heads)
        })
    }

    /// Feeds new tokens to sequences and returns the state of each new row behind the last norm.
    ///
    /// Rows follow the order of the pieces. Each row has the same bits beside any other pieces, and
    /// unless [`Llama::depends_on_pieces`] in any other division into pieces and calls. Result
    /// `[t, d]` f32, without gradients.
    ///
    /// # Errors
    ///
    /// As [`Llama::forward`]; the caches must then not be used again.
    pub fn extend(&self, pieces: &mut [Piece<'_>]) -> Result<Tensor, NetworkError> {
        let (mut tokens, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for piece in &*pieces {
            spans.push(tokens.len()..tokens.len() + piece.tokens.len());
            let before = piece.sequence.len();
            self.check_length(before + piece.tokens.len())?;
            tokens.extend_from_slice(piece.tokens);
            positions.extend(before..before + piece.tokens.len());
        }
        let mut pieces = Pieces { pieces, heads: self.heads() };
        let rows = Rows { spans: Some(&spans.into()), draw: None };
        let states = self
            .run(&tokens, &positions, &rows, &mut |layer, q, k, v| pieces.attend(layer, q, k, v))?;
        pieces.finish();
        Ok(states)
    }

    /// Returns the logits of rows of states.
    ///
    /// `states: [n, d]`, result `[n, vocabulary]` f32.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn logits(&self, states: &Tensor) -> Result<Tensor, NetworkError> {
        self.logits_drawn(states, None)
    }

    /// Returns the logits as [`Llama::logits`], with the dropout of an adapter on the output matrix.
    ///
    /// # Errors
    ///
    /// As [`Llama::logits`], or if `draw` has not one row a state.
    pub fn logits_drawn(
        &self,
        states: &Tensor,
        draw: Option<&Draw>,
    ) -> Result<Tensor, NetworkError> {
        self.head_layer().forward(states, &Rows { spans: None, draw })
    }

    /// Returns the output matrix as a layer, the embedding where it is that.
    pub(super) fn head_layer(&self) -> Linear {
        self.head.clone().unwrap_or_else(|| Linear::new(self.embedding.clone(), None))
    }

    /// Returns whether a row depends on how its sequence is divided into pieces.
    ///
    /// So it is with int8 weights: outlier columns are those of a whole piece.
    pub fn depends_on_pieces(&self) -> bool {
        self.linears().any(|(_, linear)| match linear.base() {
            Base::Int8(layer) => layer.arithmetic.depends_on_call(),
            Base::Frozen(_) | Base::Trainable(_) => false,
        })
    }

    pub(super) fn heads(&self) -> ops::Heads {
        ops::Heads {
            query: self.config.heads,
            kv: self.config.kv_heads,
            width: self.config.head_dim,
        }
    }

    pub(super) fn check_length(&self, got: usize) -> Result<(), NetworkError> {
        let limit = self.config.context;
        if got > limit {
            return Err(NetworkError::ContextExceeded { got, limit });
        }
        Ok(())
    }

    fn run(
        &self,
        tokens: &[u32],
        positions: &[usize],
        rows: &Rows<'_>,
        attend: &mut Attend<'_>,
    ) -> Result<Tensor, NetworkError> {
        let mut x = self.embed(tokens)?;
        let turns = Arc::new(self.rope.turns(positions));
        for (layer, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, layer, self.config.rms_norm_eps, &turns, rows, attend)?;
        }
        Ok(ops::rms_norm(&x, &self.norm, self.config.rms_norm_eps)?)
    }

    fn embed(&self, tokens: &[u32]) -> Result<Tensor, NetworkError> {
        let rows = match &self.embedding {
            Base::Trainable(weight) => {
                self.check_tokens(tokens)?;
                weight.as_tensor().index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?
            }
            _ => {
                let shape = (tokens.len(), self.config.hidden_size);
                Tensor::from_vec(self.embedding_rows(tokens)?, shape, &Device::Cpu)?
            }
        };
        match self.adapter.as_ref().and_then(|adapter| adapter.embedding.as_ref()) {
            Some(branch) => Ok((rows + branch.embed(tokens)?)?),
            None => Ok(rows),
        }
    }

    /// Returns the rows of the embedding, without an adapter's branch.
    pub(super) fn embedding_rows(&self, tokens: &[u32]) -> Result<Vec<f32>, NetworkError> {
        self.check_tokens(tokens)?;
        let width = self.config.hidden_size;
        let at = |token: u32| usize::try_from(token).expect("checked above");
        let mut rows = vec![0.0; tokens.len() * width];
        let out = tokens.iter().zip(rows.chunks_mut(width));
        match &self.embedding {
            Base::Trainable(weight) => {
                let weight = ops::read(weight)?;
                out.for_each(|(token, row)| {
                    row.copy_from_slice(&weight[at(*token) * width..][..width]);
                });
            }
            base => out.for_each(|(token, row)| base.row(at(*token), row)),
        }
        Ok(rows)
    }

    fn check_tokens(&self, tokens: &[u32]) -> Result<(), NetworkError> {
        let vocab_size = self.config.vocab_size;
        let in_vocabulary = |token: u32| usize::try_from(token).is_ok_and(|t| t < vocab_size);
        match tokens.iter().copied().find(|token| !in_vocabulary(*token)) {
            Some(token) => Err(NetworkError::Token { token, vocab_size }),
            None => Ok(()),
        }
    }
}

/// Lets activations be taken from memory that was freed before: fresh memory costs a page fault every
/// 4 KiB.
///
/// glibc gives freed blocks back to the system until it has seen a larger one freed, up to
/// 32 MiB; elsewhere this changes nothing. Nothing is written to it.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity((32 << 20) - (64 << 10))));
}

/// The linear layers of a block, in the order in which the reference lists its modules.
const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

fn linear_name(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

/// Attends in one layer: queries, keys and values in, mixed values out.
type Attend<'a> = dyn FnMut(usize, &Tensor, &Tensor, &Tensor) -> Result<Tensor, NetworkError> + 'a;

impl Block {
    fn read(
        config: &Config,
        reader: &mut Reader<'_>,
        layer: usize,
    ) -> Result<Self, CheckpointError> {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let bias = config.bias;
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        Ok(Self {
            input_norm: reader.vector(&name("input_layernorm.weight"), d)?,
            qkv: [
                reader.linear(&name("self_attn.q_proj"), [q, d], bias.qkv)?,
                reader.linear(&name("self_attn.k_proj"), [kv, d], bias.qkv)?,
                reader.linear(&name("self_attn.v_proj"), [kv, d], bias.qkv)?,
            ],
            out: reader.linear(&name("self_attn.o_proj"), [d, q], bias.out)?,
            post_norm: reader.vector(&name("post_attention_layernorm.weight"), d)?,
            gate: reader.linear(&name("mlp.gate_proj"), [inner, d], bias.mlp)?,
            up: reader.linear(&name("mlp.up_proj"), [inner, d], bias.mlp)?,
            down: reader.linear(&name("mlp.down_proj"), [d, inner], bias.mlp)?,
        })
    }

    pub(super) fn forward(
        &self,
        x: &Tensor,
        layer: usize,
        eps: f32,
        turns: &Arc<Turns>,
        rows: &Rows<'_>,
        attend: &mut Attend<'_>,
    ) -> Result<Tensor, NetworkError> {
        let [q, k, v] = &self.qkv;
        let normed = ops::rms_norm(x, &self.input_norm, eps)?;
        let q = ops::rotate(&q.forward(&normed, rows)?, turns)?;
        let k = ops::rotate(&k.forward(&normed, rows)?, turns)?;
        let v = v.forward(&normed, rows)?;
        let x = sum(x, &self.out.forward(&attend(layer, &q, &k, &v)?, rows)?)?;
        let normed = ops::rms_norm(&x, &self.post_norm, eps)?;
        let (gate, up) = (self.gate.forward(&normed, rows)?, self.up.forward(&normed, rows)?);
        let inner = ops::swiglu(&gate, &up)?;
        Ok(sum(&x, &self.down.forward(&inner, rows)?)?)
    }
}
