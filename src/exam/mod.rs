//! Multiple-choice exams: what a question is, and nothing about how it is asked.
//!
//! An [`Exam`] is a list of [`Question`]s with their answer keys, plus the questions that must not
//! be asked (items that need an image). Every loader yields the same type, and
//! [`Exam::sha256`] is taken over one canonical form, so two files with the same content have the
//! same identity whatever their layout.
//!
//! A file that cannot be read is an [`ExamError`]. One that can be read but is wrong yields
//! [`Finding`]s: [`Exam::read`] shows all of them, [`Exam::load`] refuses an exam with an error among
//! the questions it would ask. How the formats look stands in [`jsonl`] (the project's own) and in
//! the loaders' files.

mod baselines;
mod camel;
mod check;
mod compare;
mod entry;
mod error;
mod excluded;
mod finding;
mod inspect;
mod json;
pub mod jsonl;
mod load;
mod medalpaca;
mod medqa;
mod mmlu;
mod normal;
mod sample2023;
mod source;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize};

pub use baselines::Baselines;
pub use check::{Part, Report};
pub use compare::{AnswerKey, Comparison};
pub use error::{CsvProblem, ExamError, FieldProblem};
pub use excluded::{ExcludedItems, ExcludedList};
pub use finding::{Defect, Finding, Place, Severity};
pub use load::{Format, LoadOptions};
pub use normal::{SAME_QUESTION, normalized};
pub use source::ExamFile;

/// The letter that names an option: `A` to `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "char", into = "char")]
pub struct Letter(u8);

impl Letter {
    /// Returns the letter at `index`, 0 being `A`; `None` from 26 on.
    pub fn from_index(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|&index| index < 26).map(Self)
    }

    /// Returns the letter written as `letter`; `None` unless it is an ASCII capital.
    pub fn from_char(letter: char) -> Option<Self> {
        letter.is_ascii_uppercase().then(|| Self(letter as u8 - b'A'))
    }

    /// Returns the position in the alphabet, 0 for `A`.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Returns the capital itself.
    pub fn as_char(self) -> char {
        char::from(b'A' + self.0)
    }
}

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_char())
    }
}

impl From<Letter> for char {
    fn from(letter: Letter) -> Self {
        letter.as_char()
    }
}

impl TryFrom<char> for Letter {
    type Error = String;

    fn try_from(letter: char) -> Result<Self, Self::Error> {
        Self::from_char(letter).ok_or_else(|| format!("`{letter}` is not a capital from A to Z"))
    }
}

/// The name of a question, unique within its exam, e.g. `step1/4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QuestionId(pub String);

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The part of the USMLE a question belongs to. Written as text, read as text or integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Step 1.
    One,
    /// Step 2 (CK).
    Two,
    /// Step 3.
    Three,
    /// Step 2 or 3; MedQA does not tell them apart.
    TwoOrThree,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Three, Self::TwoOrThree];

    /// Returns the step written as `text`, e.g. `1` or `2&3`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.to_string() == text)
    }

    /// Returns the step that a file or key is named after: `step1` to `step3`, nothing behind it.
    fn of_name(name: &str) -> Option<Self> {
        name.strip_prefix("step").and_then(Self::parse).filter(|step| *step != Self::TwoOrThree)
    }
}

impl Serialize for Step {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a step: 1, 2, 3 or \"2&3\"")]
        enum Written {
            Number(u8),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        let unknown = || serde::de::Error::custom(format!("`{text}` is not 1, 2, 3 or 2&3"));
        Self::parse(&text).ok_or_else(unknown)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "1",
            Self::Two => "2",
            Self::Three => "3",
            Self::TwoOrThree => "2&3",
        })
    }
}

/// One option of a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The letter it is offered under. Letters of a question are distinct, not always contiguous.
    pub letter: Letter,
    /// Its text, without the letter.
    pub text: String,
}

/// A question with its options and its answer key.
///
/// This is also one line of the project's own exam format (JSONL).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Unique within the exam.
    pub id: QuestionId,
    /// `None` where the source does not say.
    pub step: Option<Step>,
    /// The question, without its options.
    #[serde(rename = "question")]
    pub text: String,
    /// In printed order.
    pub options: Vec<Choice>,
    /// The letter of the right option.
    pub answer: Letter,
    /// Whether the source marks the item as one that shows an image.
    pub has_image: bool,
    /// Where the item comes from, e.g. `medqa`.
    pub source: String,
}

impl Question {
    /// Returns the text offered under `letter`, `None` if it is not offered.
    pub fn option(&self, letter: Letter) -> Option<&str> {
        self.options.iter().find(|choice| choice.letter == letter).map(|choice| &*choice.text)
    }
}

/// A loaded exam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exam {
    /// Short name for tables: the file's stem or the folder's name.
    pub name: String,
    /// The layout it was read from.
    pub format: Format,
    /// Every question of the source, excluded ones too, in its order.
    pub questions: Vec<Question>,
    /// Questions that must not be asked, with the reason.
    pub excluded: BTreeMap<QuestionId, String>,
    /// What is wrong with it, errors first, each with file, line and field.
    pub findings: Vec<Finding>,
    /// The files read, in order; empty for an exam made in memory.
    pub files: Vec<ExamFile>,
    /// Where the answer of each question stands, in the questions' order; empty likewise.
    pub answer_places: Vec<Place>,
}

impl Exam {
    /// Returns an exam made in memory, with its image items excluded and nothing checked.
    pub fn new(name: impl Into<String>, questions: Vec<Question>) -> Self {
        let images = questions.iter().filter(|question| question.has_image);
        let excluded = images.map(|question| (question.id.clone(), "image".to_owned())).collect();
        Self {
            name: name.into(),
            format: Format::Jsonl,
            questions,
            excluded,
            findings: Vec::new(),
            files: Vec::new(),
            answer_places: Vec::new(),
        }
    }

    /// Returns the questions to ask, in order.
    pub fn asked(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(|question| !self.excluded.contains_key(&question.id))
    }

    /// Checks that there is something to ask: an accuracy over no question does not exist.
    ///
    /// # Errors
    ///
    /// [`ExamError::NothingAsked`] if every question is excluded.
    pub fn require_asked(&self) -> Result<(), ExamError> {
        match self.asked().next() {
            Some(_) => Ok(()),
            None => Err(ExamError::NothingAsked {
                name: self.name.clone(),
                total: self.questions.len(),
            }),
        }
    }

    /// Returns the hex sha256 of the canonical form, [`jsonl::write`] over all questions: the digest
    /// that `sha256sum` prints for the converted file.
    pub fn sha256(&self) -> String {
        source::sha256_hex(jsonl::write(&self.questions).as_bytes())
    }
}
