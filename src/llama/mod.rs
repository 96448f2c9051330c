//! The LLaMA network and its tokenizer: configuration, checkpoints, forward and backward, cache.
//!
//! [`Llama`] is written once and serves inference and training: it works on rows of tokens, of
//! one sequence or many, without padding; ops with a tested backward do the arithmetic.
//! [`Stages`] goes through it block by block, forward and back, on plain values. Weights
//! that are not trained stay packed in their checkpoint's precision inside the ops. Activations
//! are f32 throughout, so that at 16-bit weights a result differs from the f32 one by the
//! rounding of the weights alone.
//!
//! Left to others: prompts and reading rules (`protocol`), the loop over an exam (`eval`), losses
//! and optimizers (`train`).

mod adapted;
mod backward;
mod cache;
pub mod checkpoint;
mod config;
pub mod decoder;
pub mod defects;
mod error;
mod fit;
mod linear;
mod network;
pub mod ops;
mod pairs;
mod quantization;
mod reader;
mod rope;
pub mod sampling;
mod stages;
pub mod synth;
mod tape;
pub mod tokenizer;
mod weights;

pub use backward::KeptBlock;
pub use cache::{Piece, Sequence};
pub use checkpoint::{Checkpoint, read_adapter};
pub use config::{Bias, Config};
pub use decoder::Decoder;
pub use error::{CheckpointError, ConfigError, NetworkError};
pub use fit::Fit;
pub use linear::{Base, Linear, Rows, Spans};
pub use network::{Batch, Block, Llama};
pub use pairs::{PairError, encode_pair};
pub use quantization::Quantization;
pub use rope::{Rope, Scaling, Turns};
pub use stages::{Embedded, Logits, Stages};
pub use tape::Receiver;
pub(crate) use weights::{EMBEDDING, HEAD};
pub use weights::{Hold, Int8Rows, WeightSource, expected_tensors};
