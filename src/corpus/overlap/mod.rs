//! Overlap of training rows with exam questions: what a trainer must refuse, and what an accuracy
//! must be told apart by.
//!
//! ```no_run
//! # use medharness::{corpus::{OverlapSearch, OverlapSettings, read_rows}, exam::Exam};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let exam = Exam::new("mini", Vec::new());
//! # let path = std::path::Path::new("train.json");
//! let mut search = OverlapSearch::new(&exam, OverlapSettings::default());
//! for (number, row) in (1..).zip(&read_rows(path)?) {
//!     search.add("train.json", number, row);
//! }
//! let overlap = search.finish();
//! overlap.require_none()?; // what a trainer does
//! # Ok(())
//! # }
//! ```
//!
//! Looked for, over words (see `words.rs`), in the whole row, whichever field they stand in:
//!
//! | evidence | what counts | source |
//! |---|---|---|
//! | copy | the whole stem, if no other question has it and it has 8 words, or 4 with the right answer in the row, or a field to itself (below 4 words with the right answer in the row); any other stem together with every option | |
//! | 13-gram | 13 words in a row of stem or option; any hit counts | GPT-3; lm-evaluation-harness |
//! | 8-gram | 8 words in a row; the share of a question's 8-grams found in any row | PaLM |
//! | longest run | most words in a row that one row shares with the question, from 5 on | arXiv 2411.03923 |
//! | near duplicate | Jaccard similarity of the sets of 5-word runs: stem, or stem and options, against each field and the row; 0.5 and above counts | [`SAME_QUESTION`] |
//!
//! An exam is small enough to be indexed whole, so nothing is sampled or hashed: every figure is
//! exact, the Jaccard similarity too, which MinHash would estimate. Runs of words that stand in
//! more than [`OverlapSettings::common_items`] questions of the exam are its turns of phrase
//! ("which of the following is the most likely …"): they are no evidence about one question, are
//! not counted as 13-grams, 8-grams or in the similarity, and are counted in the report. What a paraphrase teaches is not
//! found by any of this.

mod accuracy;
mod index;
mod search;

use serde::Serialize;

pub use accuracy::{CleanAccuracy, SubsetAccuracy};
pub use search::OverlapSearch;

use crate::exam::{QuestionId, SAME_QUESTION};

/// What counts as overlap.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OverlapSettings {
    /// A run of words in more questions than this is a turn of phrase of the exam.
    pub common_items: usize,
    /// Least Jaccard similarity of a near duplicate, in (0, 1].
    pub near: f64,
}

impl Default for OverlapSettings {
    fn default() -> Self {
        Self { common_items: 10, near: SAME_QUESTION }
    }
}

/// How much of a question stands in the training rows; each level includes those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OverlapLevel {
    /// No 8 words in a row.
    Clean,
    /// 8 words in a row.
    Touched,
    /// 13 words in a row, or a near duplicate. From here on a trainer refuses.
    Overlapping,
    /// The whole question.
    Copied,
}

impl OverlapLevel {
    /// Every level above [`OverlapLevel::Clean`].
    pub const DIRTY: [Self; 3] = [Self::Touched, Self::Overlapping, Self::Copied];

    /// Returns the word for tables, e.g. `touched`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Touched => "touched",
            Self::Overlapping => "overlapping",
            Self::Copied => "copied",
        }
    }
}

/// Where a training row stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RowPlace {
    /// Its file.
    pub file: String,
    /// Number of the row in it, from 1.
    pub row: usize,
    /// Its name, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl std::fmt::Display for RowPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, row {}", self.file, self.row)?;
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))
    }
}

/// The longest run of words that a row shares with a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SharedRun {
    /// Its length, at least 5.
    pub words: usize,
    /// The words, folded, with single blanks.
    pub text: String,
    /// The first row that has it.
    pub row: RowPlace,
}

/// The row most similar to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Nearest {
    /// Jaccard similarity of the sets of 5-word runs, in (0, 1].
    pub jaccard: f64,
    /// The first row that reaches it.
    pub row: RowPlace,
}

/// What of one question stands in the training rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ItemOverlap {
    /// The question.
    pub id: QuestionId,
    /// The strongest evidence of any row.
    pub level: OverlapLevel,
    /// Rows that hold the whole question.
    pub copies: usize,
    /// Rows that overlap with it: copies, 13-grams or near duplicates.
    pub rows: usize,
    /// The question's 13-grams, turns of phrase left out.
    pub grams_13: usize,
    /// Of these, found in any row.
    pub grams_13_found: usize,
    /// The question's 8-grams, turns of phrase left out.
    pub grams_8: usize,
    /// Of these, found in any row.
    pub grams_8_found: usize,
    /// `None` below 5 words.
    pub longest_run: Option<SharedRun>,
    /// `None` if no row shares 5 words in a row with it.
    pub nearest: Option<Nearest>,
    /// The row with the strongest evidence, `None` for a clean question.
    pub worst: Option<RowPlace>,
}

/// Overlap of training rows with an exam, question by question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Overlap {
    /// Name of the exam.
    pub exam: String,
    /// sha256 of its canonical form.
    pub exam_sha256: String,
    /// What counted.
    pub settings: OverlapSettings,
    /// Training rows searched.
    pub rows: usize,
    /// Rows that overlap with a question, in the order they came.
    pub overlapping_rows: Vec<RowPlace>,
    /// 13-grams of the exam that are turns of phrase.
    pub common_grams_13: usize,
    /// 8-grams of the exam that are turns of phrase.
    pub common_grams_8: usize,
    /// Every question of the exam, in its order, excluded ones too.
    pub items: Vec<ItemOverlap>,
}

/// Why training may not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverlapError {
    /// Questions of the exam stand in the training rows.
    #[error(
        "{items} of {questions} questions of `{exam}` stand in {rows} training row(s), the first \
         being `{first}` in {place}"
    )]
    Overlapping {
        /// The exam.
        exam: String,
        /// Questions that overlap.
        items: usize,
        /// Questions of the exam.
        questions: usize,
        /// Training rows that overlap.
        rows: usize,
        /// The first such question.
        first: QuestionId,
        /// The row with the strongest evidence about it.
        place: Box<RowPlace>,
    },
}

impl Overlap {
    /// Returns the questions at `level` or above, in exam order.
    pub fn at_least(&self, level: OverlapLevel) -> impl Iterator<Item = &ItemOverlap> {
        self.items.iter().filter(move |item| item.level >= level)
    }

    /// Returns at most `most` dirty questions, the strongest evidence first, for a reader to judge.
    pub fn strongest(&self, most: usize) -> Vec<&ItemOverlap> {
        let mut items: Vec<_> = self.at_least(OverlapLevel::Touched).collect();
        let words = |item: &ItemOverlap| item.longest_run.as_ref().map_or(0, |run| run.words);
        items.sort_by_key(|item| std::cmp::Reverse((item.level, words(item))));
        items.truncate(most);
        items
    }

    /// Checks that no question is [`OverlapLevel::Overlapping`] or worse.
    ///
    /// # Errors
    ///
    /// [`OverlapError::Overlapping`] names the first one with its row.
    pub fn require_none(&self) -> Result<(), OverlapError> {
        let mut overlapping = self.at_least(OverlapLevel::Overlapping);
        let Some((first, place)) =
            overlapping.next().and_then(|item| Some((item, item.worst.clone()?)))
        else {
            return Ok(());
        };
        Err(OverlapError::Overlapping {
            exam: self.exam.clone(),
            items: 1 + overlapping.count(),
            questions: self.items.len(),
            rows: self.overlapping_rows.len(),
            first: first.id.clone(),
            place: Box::new(place),
        })
    }
}
