//! LLM.int8() and 8-bit optimiser states, equal to bitsandbytes.
//!
//! A weight is held as int8 codes with one scale a row ([`Int8Weight`]); activations are quantised
//! row by row, their outlier columns kept in floats ([`Activations`]); [`Int8Linear`] multiplies the
//! two and [`ErrorBound`] says how far that can lie from the product in floats. The kernels are
//! those of [`crate::kernels::int8`]. Which layers are quantised is left to the network.
//!
//! Source: Dettmers et al. 2022, "LLM.int8()", and bitsandbytes 0.50.2, whose CPU results these
//! equal (`golden/make/quant_int8.py`).

mod activation;
mod adamw8;
mod blockwise;
mod bound;
mod dtype;
mod file;
mod linear;
mod op;
mod weight;

pub use activation::{Activations, OUTLIER_THRESHOLD};
pub use adamw8::{AdamW8bit, MIN_8BIT_SIZE, Moments8bit};
pub use blockwise::{BLOCK, Blockwise, Map};
pub use bound::ErrorBound;
pub use dtype::Dtype;
pub use file::{TensorFile, TensorSpec, quantization_config, write_whole};
pub use linear::{Arithmetic, Int8Linear};
pub use op::int8_linear;
pub use weight::{Int8Weight, dequantize_rows, quantize_rows};

use crate::kernels::int8::PackError;

/// Why numbers cannot be quantised or multiplied.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantError {
    /// A length does not fit the shape.
    #[error("{what} has {got} elements, not {expected}")]
    Length {
        /// Which argument.
        what: &'static str,
        /// Elements expected.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// Activations are not whole rows.
    #[error("{got} activations are no rows of {inputs}")]
    Rows {
        /// Inputs of the layer.
        inputs: usize,
        /// Elements given.
        got: usize,
    },
    /// The rows of the calls are not consecutive or leave some out.
    #[error("the calls do not cover {tokens} rows one behind the other")]
    Calls {
        /// Rows there are.
        tokens: usize,
    },
    /// NaN, infinite, or infinite once rounded to half precision.
    #[error("row {row}, column {column} is not finite in half precision")]
    NotFinite {
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
    },
    /// A scale of a checkpoint is negative, NaN or infinite.
    #[error("the scale of row {row} is not a finite number of at least 0")]
    Scale {
        /// Its row.
        row: usize,
    },
    /// The codes cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// What bitsandbytes writes as 7.874015718698502e-3.
const RECIPROCAL_127: f32 = 1.0 / 127.0;
