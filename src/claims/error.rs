//! Why data about printed figures cannot be used.

use std::{io, path::PathBuf};

use crate::stats::StatsError;

/// Why data about printed figures cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// The file cannot be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bytes are no plain UTF-8 text with LF line ends.
    #[error("{file}:{line}: {problem}")]
    Encoding {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What is there.
        problem: &'static str,
    },
    /// Not TOML, or not of the expected form.
    #[error("{file}:{line}: {problem}")]
    Form {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What the TOML reader says.
        problem: String,
    },
    /// The form is right and the content is not.
    #[error("{file}:{line}: {field}: {problem}")]
    Content {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Where in the file, e.g. `row "LLaMA 7b", values`.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A number in the file cannot be what it should be.
    #[error("{file}:{line}: {field}")]
    Number {
        /// The file.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Where in the file.
        field: String,
        /// What is wrong with it.
        source: StatsError,
    },
}
