//! Why an exam cannot be read. What is read but wrong is a [`Finding`], not an error.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::{Finding, Place};

/// Why an exam cannot be read, or not be asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExamError {
    /// A file or folder cannot be read.
    #[error("{}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not UTF-8; no other encoding is guessed.
    #[error("{}, line {line}, byte {byte}: 0x{value:02x} is not UTF-8", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Line of the byte, from 1.
        line: usize,
        /// Its position in that line, from 1.
        byte: usize,
        /// The byte.
        value: u8,
    },
    /// The file is not JSON.
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column as the parser counts it.
        column: usize,
        /// What the parser says.
        problem: String,
    },
    /// The file is not CSV.
    #[error("{}, line {line}: {problem}", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// Line the record begins on, from 1.
        line: usize,
        /// What is wrong.
        problem: CsvProblem,
    },
    /// A field does not hold what its format asks for.
    #[error("{place}: {problem}")]
    Field {
        /// File, line and field.
        place: Place,
        /// What is wrong.
        problem: FieldProblem,
    },
    /// Questions without an answer key.
    #[error("{}: no answer for {}", path.display(), numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))]
    NoAnswer {
        /// The file with the answers.
        path: PathBuf,
        /// The questions' numbers.
        numbers: Vec<u32>,
    },
    /// The file holds no question.
    #[error("{}: no question in it", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },
    /// Neither the name nor the content says which format this is.
    #[error("{}: not an exam in a known format (found {found})", path.display())]
    UnknownFormat {
        /// The file or folder.
        path: PathBuf,
        /// What was found instead, e.g. the keys of the first record.
        found: String,
    },
    /// A list of excluded items cannot be read.
    #[error("{}", path.display())]
    ExcludedItems {
        /// The list.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<toml::de::Error>,
    },
    /// An answer key shares no question with the exam.
    #[error("{}: none of its {keys} questions is in `{exam}`", path.display())]
    ForeignKey {
        /// The key.
        path: PathBuf,
        /// Answers in it.
        keys: usize,
        /// Name of the exam.
        exam: String,
    },
    /// The exam is readable but wrong, so that no score on it would mean anything.
    #[error("exam `{name}` has {errors} error(s), the first: {first}")]
    Refused {
        /// Name of the exam.
        name: String,
        /// Findings of severity error.
        errors: usize,
        /// The first of them.
        first: Box<Finding>,
    },
    /// Every question is excluded.
    #[error("exam `{name}` has nothing to ask: all {total} questions are excluded")]
    NothingAsked {
        /// Name of the exam.
        name: String,
        /// Its questions.
        total: usize,
    },
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FieldProblem {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is there twice.
    #[error("given twice")]
    Repeated,
    /// It is not a field of this format.
    #[error("not a field of this format")]
    Unknown,
    /// It holds something else.
    #[error("expected {expected}, got {got}")]
    Expected {
        /// What the format asks for.
        expected: &'static str,
        /// What is there.
        got: String,
    },
}

/// What is wrong with a CSV record.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CsvProblem {
    /// Too few or too many fields.
    #[error("expected {expected} fields, got {got}")]
    Fields {
        /// Fields of the format.
        expected: usize,
        /// Fields of the record.
        got: usize,
    },
    /// The file ends inside a quoted field.
    #[error("field {field}: the quote is never closed")]
    Unclosed {
        /// The field, from 1.
        field: usize,
    },
    /// Text follows the closing quote.
    #[error("field {field}: text after the closing quote")]
    AfterQuote {
        /// The field, from 1.
        field: usize,
    },
    /// What the reader says.
    #[error("{0}")]
    Reader(String),
}
