//! What is wrong with an exam that can be read: each defect with its place and its weight.

use std::{fmt, path::Path};

use serde::Serialize;
use thiserror::Error;

use super::{Letter, QuestionId};

/// Where something stands in an exam's files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// The field, as the format calls it.
    pub field: String,
}

impl Place {
    /// Returns the place of `field` on `line` of `file`.
    pub fn new(file: &Path, line: usize, field: &str) -> Self {
        Self { file: file.display().to_string(), line, field: field.to_owned() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}, field `{}`", self.file, self.line, self.field)
    }
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// A score would be wrong: the exam is not run while the question is asked.
    Error,
    /// The exam runs; the reader should know.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One defect, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its weight.
    pub severity: Severity,
    /// The question; `None` where it is about a whole file.
    pub question_id: Option<QuestionId>,
    /// Where.
    pub place: Place,
    /// What.
    #[serde(flatten)]
    pub defect: Defect,
}

impl Finding {
    /// Returns the finding that `defect` is at `place`, with the defect's own severity.
    pub fn new(question_id: Option<&QuestionId>, place: Place, defect: Defect) -> Self {
        Self { severity: defect.severity(), question_id: question_id.cloned(), place, defect }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(id) = &self.question_id {
            write!(f, "{id}: ")?;
        }
        write!(f, "{} ({})", self.defect, self.place)
    }
}

/// What can be wrong with an exam.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize)]
#[serde(tag = "defect", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Defect {
    /// The key names a letter without an option.
    #[error("the answer {answer} is not offered (options {offered})")]
    AnswerNotOffered {
        /// The key.
        answer: Letter,
        /// The letters offered.
        offered: String,
    },
    /// Two questions have one id.
    #[error("the id is taken by the question on line {first_line} of {first_file}")]
    DuplicateId {
        /// File of the first.
        first_file: String,
        /// Line of the first.
        first_line: usize,
    },
    /// One letter is offered twice.
    #[error("option {letter} is given twice")]
    OptionRepeated {
        /// The letter.
        letter: Letter,
    },
    /// Fewer than two options.
    #[error("{count} option(s), a choice needs two")]
    TooFewOptions {
        /// How many.
        count: usize,
    },
    /// The question has no text.
    #[error("the question is empty")]
    EmptyQuestion,
    /// An option has no text.
    #[error("option {letter} is empty")]
    EmptyOption {
        /// The option.
        letter: Letter,
    },
    /// An answer key or another exam gives another answer.
    #[error("the answer is `{here}` here, `{there}` in {file}")]
    AnswerDiffers {
        /// The answer of this exam.
        here: String,
        /// The other one.
        there: String,
        /// Where the other one stands.
        file: String,
        /// Id of the question there.
        there_id: QuestionId,
    },
    /// A list of excluded items names a question that is not there.
    #[error("`{id}` is to be excluded and is not in the exam")]
    ExcludedNotThere {
        /// The id.
        id: QuestionId,
    },
    /// The source writes the right answer out, and differently from its option.
    #[error("the answer's text `{gold}` differs from option {letter} `{option}`")]
    AnswerTextDiffers {
        /// The right option.
        letter: Letter,
        /// The option's text.
        option: String,
        /// The text of the key.
        gold: String,
    },
    /// An option reads like a stand-in for one that was lost.
    #[error("option {letter} looks like a placeholder: `{text}`")]
    PlaceholderOption {
        /// The option.
        letter: Letter,
        /// Its text.
        text: String,
    },
    /// An option is a mere label, as of a part of a picture.
    #[error("the options are single letters ({letters}), as labels of a picture")]
    OptionsAreLabels {
        /// The options concerned.
        letters: String,
    },
    /// The letters do not run from A without a gap.
    #[error("the letters {letters} do not run from A in order")]
    LettersNotContiguous {
        /// The letters offered, in order.
        letters: String,
    },
    /// Two options have the same text (after normalisation).
    #[error("options {first} and {second} have the same text")]
    SameOptionText {
        /// The first.
        first: Letter,
        /// The second.
        second: Letter,
    },
    /// Question and options equal another question's.
    #[error("{} of `{of}`{}", if *exact { "exact duplicate" } else { "duplicate" }, contradiction(*same_answer))]
    Duplicate {
        /// The first such question.
        of: QuestionId,
        /// Equal to the byte, options in order; otherwise after normalisation, in any order.
        exact: bool,
        /// Whether the right option's text is the same.
        same_answer: bool,
    },
    /// The question's text equals another question's; the options differ.
    #[error("same question as `{of}`, other options{}", contradiction(*same_answer))]
    SameQuestion {
        /// The first such question.
        of: QuestionId,
        /// Whether the right option's text is the same.
        same_answer: bool,
    },
    /// The list of image items was made for another number of questions.
    #[error("the list of image items is of {of} questions, step {step} has {got} here")]
    ImageListSize {
        /// The step.
        step: super::Step,
        /// Questions the list is of.
        of: usize,
        /// Questions in the file.
        got: usize,
    },
    /// Only one of the two lists of image items names the question.
    #[error("excluded by {by}, which the other list of image items does not")]
    ImageListsDiffer {
        /// The list that names it.
        by: String,
    },
    /// The key has a small letter, read as its capital.
    #[error("the answer is given as a small letter, read as {answer}")]
    AnswerInLowerCase {
        /// The capital.
        answer: Letter,
    },
    /// An answer without a question.
    #[error("an answer for `{id}`, which is not in the exam")]
    AnswerWithoutQuestion {
        /// The id.
        id: QuestionId,
    },
    /// A field that the format does not know.
    #[error("unknown field, left out of {count} question(s)")]
    UnknownField {
        /// Questions that have it.
        count: usize,
    },
}

/// What a duplicate's message adds where the keys contradict each other.
fn contradiction(same_answer: bool) -> &'static str {
    if same_answer { "" } else { ", with another answer" }
}

impl Defect {
    /// Returns the weight: an error if a score over the question would mean nothing.
    pub fn severity(&self) -> Severity {
        match self {
            Self::AnswerNotOffered { .. }
            | Self::DuplicateId { .. }
            | Self::OptionRepeated { .. }
            | Self::TooFewOptions { .. }
            | Self::EmptyQuestion
            | Self::EmptyOption { .. }
            | Self::AnswerDiffers { .. }
            | Self::ExcludedNotThere { .. } => Severity::Error,
            _ => Severity::Warning,
        }
    }
}
