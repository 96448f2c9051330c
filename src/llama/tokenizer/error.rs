//! Why a tokenizer cannot be loaded, or a text not be encoded.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a tokenizer cannot be loaded or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The folder holds neither `tokenizer.json` nor `tokenizer.model`.
    #[error("no `tokenizer.json` or `tokenizer.model` in `{}`", .folder.display())]
    Missing {
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any real tokenizer.
    #[error("`{}` has more than {limit} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES).
        limit: u64,
    },
    /// A file is not the JSON it should be.
    #[error("`{}` is no usable JSON", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and expectation.
        source: serde_json::Error,
    },
    /// A `.model` file is not a SentencePiece model.
    #[error("`{}` is no SentencePiece model: {what} at byte {offset}", .path.display())]
    Proto {
        /// The file.
        path: PathBuf,
        /// Position in the file.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The file asks for something this program would not do faithfully.
    #[error("`{}` needs {what}, which is not supported", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it needs.
        what: String,
    },
    /// The file contradicts itself; the library below would fail on it later, or loop.
    #[error("`{}` is unsound in `{field}`: {why}", .path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// The part at fault, e.g. `post_processor`.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The tokenizers library refuses.
    #[error("the tokenizers library cannot {operation}")]
    Library {
        /// What was asked of it, e.g. `encode`.
        operation: &'static str,
        /// Its own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tokenizers library panicked; nothing of it is used further.
    #[error("the tokenizers library failed to {operation}: {message}")]
    Panicked {
        /// What was asked of it.
        operation: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A token id that the tokenizer does not have.
    #[error("token id {id} is not in the vocabulary of {vocab_size} tokens")]
    UnknownId {
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
}
