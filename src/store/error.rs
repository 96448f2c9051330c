//! Why a run directory cannot be written, read or believed.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::LedgerError;

/// Why a run directory cannot be written, read or believed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused: missing, not permitted, disk full.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was being done, e.g. `write`.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The folder holds no `manifest.json`.
    #[error("`{}` is no run directory: it has no manifest.json", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// A new run was to be written into a folder that holds something else.
    #[error("`{}` is not empty and holds no run (found `{found}`)", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// The first foreign entry.
        found: String,
    },
    /// A file is no JSON, or JSON of another shape.
    #[error("`{}` is not a valid {what}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What it should be, e.g. `manifest`.
        what: &'static str,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// A line before the last one is broken or out of place: damage, not an interrupted write.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// Written by a newer program.
    #[error("`{}` has format version {got}, this program reads up to {known}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        got: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Another process is writing this run.
    #[error("`{}` is being written by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a run of something else; it is not resumed and not overwritten.
    #[error("`{}` holds another run: {}", path.display(), differences.join("; "))]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// Each identity that differs: name, stored and wanted value.
        differences: Vec<String>,
    },
    /// A file of the run is not as it was written.
    #[error("`{}` was changed after it was written", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The run still lacks answers.
    #[error("`{}` is not complete: {answered} of {asked} questions answered", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// Questions with a final attempt.
        answered: usize,
        /// Questions to ask.
        asked: usize,
    },
    /// The exam or the protocol kept in the run cannot be read.
    #[error("cannot read the {what} kept in `{}`", path.display())]
    Kept {
        /// `exam` or `protocol`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Runs that are no shards of one run.
    #[error("the runs do not merge: {problem}")]
    NotMergeable {
        /// What is in the way.
        problem: String,
    },
    /// The counts of a run do not add up.
    #[error("the ledger of `{}` does not add up", path.display())]
    Ledger {
        /// The folder.
        path: PathBuf,
        /// Which sum.
        source: LedgerError,
    },
}
