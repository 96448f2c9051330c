//! Multiple-choice exams: what a question is, and nothing about how it is asked.
//!
//! An [`Exam`] is a list of [`Question`]s with their answer keys, plus the questions that must not
//! be asked (items that need an image). Every loader yields the same type, and
//! [`Exam::sha256`] is taken over one canonical form, so two files with the same content have the
//! same identity whatever their layout.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

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

/// The part of the USMLE a question belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Step 1.
    #[serde(rename = "1")]
    One,
    /// Step 2 (CK).
    #[serde(rename = "2")]
    Two,
    /// Step 3.
    #[serde(rename = "3")]
    Three,
    /// Step 2 or 3; MedQA does not tell them apart.
    #[serde(rename = "2&3")]
    TwoOrThree,
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
    /// Short name for tables, by default the file's stem.
    pub name: String,
    /// Every question of the source, excluded ones too, in its order.
    pub questions: Vec<Question>,
    /// Questions that must not be asked, with the reason.
    pub excluded: BTreeMap<QuestionId, String>,
    /// Defects that do not stop a run, each naming file, line and field.
    pub warnings: Vec<String>,
}

impl Exam {
    /// Returns the questions to ask, in order.
    pub fn asked(&self) -> impl Iterator<Item = &Question> {
        self.questions.iter().filter(|question| !self.excluded.contains_key(&question.id))
    }
}
