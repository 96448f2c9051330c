//! Why no report was made.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::store::StoreError;

/// Why no report was made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The plotting library failed.
    #[error("cannot draw a plot")]
    Plot {
        /// The library's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The template engine failed.
    #[error("cannot fill the template of the page")]
    Template {
        /// The library's error.
        #[from]
        source: minijinja::Error,
    },
    /// A record could not be written as JSON.
    #[error("cannot write JSON")]
    Json {
        /// The library's error.
        #[from]
        source: serde_json::Error,
    },
    /// A table could not be written as CSV.
    #[error("cannot write CSV")]
    Csv {
        /// The library's error.
        #[from]
        source: csv::Error,
    },
    /// A report lacks mandatory fields.
    #[error("run `{label}` of the report lacks {}", fields.join(", "))]
    MissingFields {
        /// The run.
        label: String,
        /// `group.field` of each.
        fields: Vec<String>,
    },
    /// A report is not of the form this version writes.
    #[error("not a report of schema version {expected}: `{field}` is {got}")]
    Schema {
        /// The version understood.
        expected: u32,
        /// The field looked at.
        field: &'static str,
        /// What it holds.
        got: String,
    },
    /// A ledger whose counts do not add up; no accuracy is printed from it.
    #[error(
        "the ledger of part `{part}` of `{label}` does not add up: {got} of {expected} questions"
    )]
    Ledger {
        /// The run.
        label: String,
        /// The part.
        part: String,
        /// What the counts add up to.
        got: usize,
        /// What they should.
        expected: usize,
    },
    /// The stored numbers are not those of the stored attempts.
    #[error("summary.json of `{label}` is not what its attempts amount to")]
    Summary {
        /// The run.
        label: String,
    },
    /// A run directory cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}
