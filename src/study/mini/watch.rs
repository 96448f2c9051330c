//! What a study tells whoever watches it, and how it is stopped.

use std::fmt;

/// What is being done for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing<'a> {
    /// Its weights are trained.
    Training,
    /// It is asked an exam under a protocol.
    Asking {
        /// The exam's name.
        exam: &'a str,
        /// The protocol's id.
        protocol: &'a str,
    },
}

/// Sees a study as it goes on, and may stop it. Rows may be made at the same time.
pub trait Watch {
    /// A stage of `total` updates or questions begins; `done` of them were made before.
    fn begin(&mut self, row: &str, doing: Doing<'_>, done: u64, total: u64);
    /// So many of the row's stage are made.
    fn at(&mut self, row: &str, done: u64);
    /// Something a reader should know.
    fn note(&mut self, text: &str);
    /// Whether to stop; the same call continues the study.
    fn stop(&mut self) -> bool;
}

impl fmt::Display for Doing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Training => f.write_str("training"),
            Self::Asking { exam, protocol } => write!(f, "{exam}, {protocol}"),
        }
    }
}
