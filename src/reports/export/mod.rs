//! A run in the formats of other harnesses, so that a reviewer keeps the viewer they know.
//!
//! [`lm_eval()`] writes `results_*.json` and `samples_*.jsonl`, [`inspect()`] an EvalLog. Both are
//! derived from the records alone and lose nothing that those formats have a place for; what they
//! have no place for goes into their free `metadata`. `golden/make/read_exports.py` reads both
//! back with the real packages.

mod inspect;
mod lm_eval;

use thiserror::Error;

use crate::{
    exam::Question,
    protocol::{Decoding, Outcome},
    store::{AttemptRecord, Run, Summary},
};

pub use inspect::inspect;
pub use lm_eval::lm_eval;

/// One file of an export: its name and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// File name, without a folder.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Why a run cannot be exported.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The formats know finished runs only.
    #[error("run `{run_id}` has no end: it was interrupted")]
    Unfinished {
        /// The run.
        run_id: String,
    },
    /// Nothing was asked, so there is no accuracy.
    #[error("run `{run_id}` asked no question")]
    NothingAsked {
        /// The run.
        run_id: String,
    },
    /// A time stamp of the manifest is not RFC 3339.
    #[error("time stamp `{text}` is not RFC 3339")]
    Time {
        /// As it stands in the manifest.
        text: String,
        /// What is wrong with it.
        source: jiff::Error,
    },
}

/// A question and its attempts, the last of which counts.
struct Asked<'a> {
    question: &'a Question,
    attempts: &'a [AttemptRecord],
}

impl Asked<'_> {
    /// The attempt that counts.
    fn last(&self) -> &AttemptRecord {
        self.attempts.last().expect("a group holds at least one attempt")
    }

    /// 1 for a right answer; unparsed and errored questions count 0.
    fn credit(&self) -> f64 {
        f64::from(u8::from(self.last().outcome == Outcome::Correct))
    }
}

/// A finished run, ready to be written: what both formats are made of.
struct Finished<'a> {
    run: &'a Run,
    summary: &'a Summary,
    ended_at: &'a str,
    asked: Vec<Asked<'a>>,
}

impl<'a> Finished<'a> {
    fn of(run: &'a Run) -> Result<Self, ExportError> {
        let run_id = || run.manifest.run_id.clone();
        let (Some(summary), Some(ended_at)) = (&run.summary, &run.manifest.ended_at) else {
            return Err(ExportError::Unfinished { run_id: run_id() });
        };
        let asked: Vec<_> =
            run.answered().map(|(question, attempts)| Asked { question, attempts }).collect();
        if asked.is_empty() {
            return Err(ExportError::NothingAsked { run_id: run_id() });
        }
        Ok(Self { run, summary, ended_at, asked })
    }

    /// Mean credit and its standard error, `sqrt(p (1 - p) / (n - 1))` as both harnesses have it.
    fn mean_and_stderr(&self) -> (f64, f64) {
        let n = self.asked.len() as f64;
        let mean = self.asked.iter().map(Asked::credit).sum::<f64>() / n;
        let stderr = if n > 1.0 { (mean * (1.0 - mean) / (n - 1.0)).sqrt() } else { 0.0 };
        (mean, stderr)
    }

    /// Whether options are scored instead of replies generated.
    fn scores_options(&self) -> bool {
        matches!(self.run.protocol.decoding, Decoding::LogLikelihood { .. })
    }

    fn rule(&self) -> &'static str {
        self.run.protocol.reading.rule.name()
    }
}

/// Parses a time stamp of the manifest.
fn time(text: &str) -> Result<jiff::Timestamp, ExportError> {
    text.parse().map_err(|source| ExportError::Time { text: text.to_owned(), source })
}
