//! What each question of a run counted as: all that a comparison needs, in one small file.
//!
//! A baseline in a repository is this file, one question a line, so that a change shows in a diff:
//!
//! ```json
//! {
//!   "format": "medharness-outcomes",
//!   "format_version": 1,
//!   "run_id": "…", "model": "…", "tool_version": "…",
//!   "exam": {"name": "…", "sha256": "…"},
//!   "protocol": {"id": "…", "sha256": "…"},
//!   "items": [
//!     {"id":"step1/1","step":"1","outcome":{"kind":"correct"},"letter":"B"}
//!   ]
//! }
//! ```

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    exam::{Letter, QuestionId, Step},
    protocol::Outcome,
    store::{ProtocolIdentity, Run, StoreError, write_whole},
};

/// Value of `format` in the file.
const FORMAT: &str = "medharness-outcomes";
/// Value of `format_version` in the file. A reader refuses a newer one.
const VERSION: u32 = 1;

/// One question of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The question.
    pub id: QuestionId,
    /// `None` where the exam does not say.
    pub step: Option<Step>,
    /// What it counted as.
    pub outcome: Outcome,
    /// The option read, `None` if none was.
    pub letter: Option<Letter>,
}

impl Item {
    /// Returns whether it counted as correct.
    pub fn is_correct(&self) -> bool {
        self.outcome == Outcome::Correct
    }
}

/// What each question of a run counted as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcomes {
    /// The run.
    pub run_id: String,
    /// Who answered.
    pub model: String,
    /// Version of the program that asked.
    pub tool_version: String,
    /// The exam.
    pub exam: ExamKey,
    /// The protocol.
    pub protocol: ProtocolIdentity,
    /// Every question asked, in exam order; at least one, each once.
    pub items: Vec<Item>,
}

/// Which exam.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamKey {
    /// Its name; nothing depends on it.
    pub name: String,
    /// Of its canonical form.
    pub sha256: String,
}

/// Why there are no outcomes to compare.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutcomesError {
    /// The run cannot be read or is not complete.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no baseline.
    #[error("`{}` is no file of outcomes", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The file is of another or a newer format.
    #[error("`{}` is `{format}` version {version}, this program reads `{FORMAT}` up to {VERSION}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: String,
        /// Its version.
        version: u32,
    },
    /// A question is there twice, or none is there.
    #[error("`{}`: {problem}", path.display())]
    Items {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// The file, without its items.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    format_version: u32,
    run_id: String,
    model: String,
    tool_version: String,
    exam: ExamKey,
    protocol: ProtocolIdentity,
    items: Vec<Item>,
}

impl Outcomes {
    /// Returns the outcomes of a complete run.
    pub fn of(run: &Run) -> Self {
        let items = run.answered().filter_map(|(question, attempts)| {
            let last = attempts.last()?;
            let (id, step) = (question.id.clone(), question.step);
            Some(Item { id, step, outcome: last.outcome, letter: last.reading.letter() })
        });
        let manifest = &run.manifest;
        Self {
            items: items.collect(),
            run_id: manifest.run_id.clone(),
            model: manifest.model.name.clone(),
            tool_version: manifest.tool.version.clone(),
            exam: ExamKey {
                name: manifest.exam.name.clone(),
                sha256: manifest.exam.sha256.clone(),
            },
            protocol: manifest.protocol.clone(),
        }
    }

    /// Reads a run directory, or a file written by [`Outcomes::write`].
    ///
    /// # Errors
    ///
    /// [`OutcomesError`] names the file; a run must be complete.
    pub fn open(path: &Path) -> Result<Self, OutcomesError> {
        if path.is_dir() {
            return Ok(Self::of(&Run::open_complete(path)?));
        }
        let text = fs::read_to_string(path)
            .map_err(|source| OutcomesError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, OutcomesError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            format_version: u32,
        }
        let json = |source| OutcomesError::Json { path: path.to_owned(), source };
        let Head { format, format_version: version } = serde_json::from_str(text).map_err(json)?;
        if format != FORMAT || version > VERSION {
            return Err(OutcomesError::Format { path: path.to_owned(), format, version });
        }
        let file: File = serde_json::from_str(text).map_err(json)?;
        let items_error = |problem| OutcomesError::Items { path: path.to_owned(), problem };
        let mut seen = BTreeSet::new();
        if let Some(twice) = file.items.iter().find(|item| !seen.insert(&item.id)) {
            return Err(items_error(format!("question `{}` is there twice", twice.id)));
        }
        if file.items.is_empty() {
            return Err(items_error("no questions".into()));
        }
        let File { run_id, model, tool_version, exam, protocol, items, .. } = file;
        Ok(Self { run_id, model, tool_version, exam, protocol, items })
    }

    /// Returns the file of these outcomes.
    pub fn to_json(&self) -> String {
        let Self { run_id, model, tool_version, exam, protocol, items } = self.clone();
        let file = File {
            format: FORMAT.into(),
            format_version: VERSION,
            run_id,
            model,
            tool_version,
            exam,
            protocol,
            items: Vec::new(),
        };
        let head = serde_json::to_string_pretty(&file).expect("strings and numbers are JSON");
        let head = head.strip_suffix("[]\n}").expect("the items come last and are none");
        let lines: Vec<String> = items
            .iter()
            .map(|item| serde_json::to_string(item).expect("strings are JSON"))
            .collect();
        format!("{head}[\n    {}\n  ]\n}}\n", lines.join(",\n    "))
    }

    /// Writes the file of these outcomes, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`OutcomesError::Store`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), OutcomesError> {
        Ok(write_whole(path, self.to_json().as_bytes())?)
    }
}
