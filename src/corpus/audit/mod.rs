//! The audit of training rows: what is in them that nobody wants to learn from, per source.
//!
//! [`Auditor::add`] takes rows one at a time, [`Auditor::finish`] returns the [`Audit`]. Nothing is
//! repaired or left out; every check counts rows and names the first few. Memory holds digests,
//! one MinHash signature a row and its buckets (about 2 kB), never the texts.
//!
//! What a machine cannot judge is left to people: [`Sheet`] draws a seeded sample of each source, and
//! [`Judged`] turns the verdicts into an error rate with its interval.

mod check;
mod duplicates;
mod language;
mod lengths;
mod minhash;
mod phi;
mod phi_set;
mod run;
mod sheet;
mod text;
mod tokens;

use std::collections::BTreeMap;

use serde::Serialize;

pub use check::Check;
pub use lengths::Distribution;
pub use minhash::{BUCKETS, HASHES_A_BUCKET, MinHash, found_with};
pub use phi::{IdentifierClass, identifiers};
pub use phi_set::{ClassRecall, identifier_recall};
pub use run::{Auditor, Tokenise};
pub use sheet::{Judged, JudgedSource, ROWS_A_SOURCE, Sheet, SheetError};

use super::{Encoding, RowPlace};

/// What the audit depends on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AuditSettings {
    /// Least share of equal MinHash minima of a near duplicate.
    pub near: f64,
    /// How the trainer encodes rows; `None` if no tokenizer is at hand, so that no token is counted.
    pub encoding: Option<Encoding>,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { near: 0.8, encoding: None }
    }
}

/// Rows that a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Their number.
    pub rows: usize,
    /// The first of them.
    pub first: Vec<RowPlace>,
}

/// Places named by a [`Tally`].
pub const MOST_PLACES: usize = 5;

impl Tally {
    fn add(&mut self, place: &RowPlace) {
        self.rows += 1;
        if self.first.len() < MOST_PLACES {
            self.first.push(place.clone());
        }
    }
}

/// What was found in one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceAudit {
    /// Name of the source: the row's own, or the stem of its file.
    pub source: String,
    /// Rows that could be read.
    pub rows: usize,
    /// Every check, in the order of [`Check::ALL`]; those of tokens only with a tokenizer.
    pub checks: BTreeMap<Check, Tally>,
    /// Rows by language: `en`, `de`, …, a script, or `unknown` below eight words.
    pub languages: BTreeMap<&'static str, usize>,
    /// Rows with a pattern of personal health information, by class; classes not found are left out.
    pub identifiers: BTreeMap<IdentifierClass, Tally>,
    /// Words of instruction and input together.
    pub question_words: Option<Distribution>,
    /// Words of the output.
    pub answer_words: Option<Distribution>,
    /// Tokens of the whole sequence before any cut, BOS and EOS included.
    pub tokens: Option<Distribution>,
    /// Tokens that are learnt, after the cut.
    pub learnt_tokens: Option<Distribution>,
}

/// What was found in training rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// What it depends on.
    pub settings: AuditSettings,
    /// Probability that two rows are compared whose similarity is exactly [`AuditSettings::near`];
    /// what is more alike is found more often.
    pub near_found_with: f64,
    /// Rows that could be read.
    pub rows: usize,
    /// Rows that are none, each with what is wrong.
    pub unreadable: Vec<(RowPlace, String)>,
    /// Number of rows that are none; `unreadable` names the first hundred.
    pub unreadable_rows: usize,
    /// Rows equal to an earlier one, byte for byte: `rows` minus distinct rows.
    pub exact_duplicates: usize,
    /// Duplicates of any kind between sources: (source, earlier source, rows).
    pub between_sources: Vec<(String, String, usize)>,
    /// Every source, in the order of first appearance.
    pub sources: Vec<SourceAudit>,
    /// How well identifiers are found: measured on the synthetic set.
    pub identifier_recall: Vec<ClassRecall>,
}

impl Audit {
    /// Returns the number of rows that `check` found in all sources.
    pub fn total(&self, check: Check) -> usize {
        self.sources.iter().filter_map(|source| source.checks.get(&check)).map(|t| t.rows).sum()
    }
}
