//! Questions that must not be asked: lists that are data, never guesses.
//!
//! A list is a TOML file:
//!
//! ```toml
//! source = "who says so"          # required
//! date = "2023-04-02"             # optional
//!
//! [[list]]
//! reason = "image"                # required, printed with every exclusion
//! step = "1"                      # with `numbers`: the ids are `step1/4`, `step1/7`, …
//! numbers = [4, 7]
//! of = 119                        # optional: questions of the step when the list was made
//!
//! [[list]]
//! reason = "key probably wrong"
//! ids = ["271"]                   # ids as the exam has them
//! ```
//!
//! [`ExcludedItems::notebook`] is the list of MedAlpaca's authors. It is of their numbering, so
//! only the loader of their layout applies it.

use std::path::Path;

use serde::Deserialize;

use super::{ExamError, QuestionId, Step, source::Source};

/// A list of questions not to ask.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExcludedItems {
    /// Who says so.
    pub source: String,
    /// When it was said.
    #[serde(default)]
    pub date: Option<String>,
    /// The parts of the list.
    pub list: Vec<ExcludedList>,
}

/// A part of a list: one reason.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExcludedList {
    /// Why.
    pub reason: String,
    /// The step that `numbers` count within.
    #[serde(default)]
    pub step: Option<Step>,
    /// Questions of that step when the list was made.
    #[serde(default)]
    pub of: Option<usize>,
    /// Numbers of questions within the step.
    #[serde(default)]
    pub numbers: Vec<u32>,
    /// Ids of questions.
    #[serde(default)]
    pub ids: Vec<QuestionId>,
}

impl ExcludedItems {
    /// Returns the image items of MedAlpaca's USMLE files: 27 of 119, 10 of 120, 13 of 137.
    ///
    /// Source: `golden/paper/excluded_items.toml`.
    ///
    /// # Panics
    ///
    /// Never: the file is part of the program and read in its tests.
    pub fn notebook() -> Self {
        toml::from_str(include_str!("../../golden/paper/excluded_items.toml"))
            .expect("the embedded list is read by a test")
    }

    /// Reads a list of the form above.
    ///
    /// # Errors
    ///
    /// [`ExamError::Read`] and [`ExamError::Encoding`] for the file, [`ExamError::ExcludedItems`]
    /// for its content.
    pub fn read(path: &Path) -> Result<Self, ExamError> {
        toml::from_str(&Source::read(path)?.text).map_err(|source| ExamError::ExcludedItems {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Returns every id with its reason. Numbers without a step are ids of their own (`271`).
    pub fn ids(&self) -> impl Iterator<Item = (QuestionId, &str)> {
        self.list.iter().flat_map(|list| {
            let numbered = list.numbers.iter().map(|number| match list.step {
                Some(step) => QuestionId(format!("step{step}/{number}")),
                None => QuestionId(number.to_string()),
            });
            numbered.chain(list.ids.iter().cloned()).map(|id| (id, list.reason.as_str()))
        })
    }
}
