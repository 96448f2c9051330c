//! Why a study was not done.

use std::{io, path::PathBuf};

use thiserror::Error;

use crate::{
    claims::runs::GateError,
    eval::EvalError,
    exam::ExamError,
    models::ModelError,
    protocol::ProtocolError,
    reports::ReportError,
    store::StoreError,
    train::{RecipeError, TrainError},
};

/// Why a study was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StudyError {
    /// A file cannot be read or written.
    #[error("cannot {what} `{path}`")]
    File {
        /// `read`, `write`, `create`, `remove`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The models file is not of its form.
    #[error("{path}:{line}: {problem}")]
    Form {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// The models file names a row that the table does not have.
    #[error("{path}:{line}: the table has no row `{row}`; its rows are {known}")]
    UnknownRow {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// As given.
        row: String,
        /// The rows there are.
        known: String,
    },
    /// The models file names a file or folder that is not there.
    #[error("{path}:{line}: row `{row}`: `{model}` is not there")]
    NoSuchModel {
        /// The file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// The row.
        row: String,
        /// As given.
        model: String,
    },
    /// There are models to ask, and nothing to ask them.
    #[error("the models file names a model for {rows} of the rows, and no exam is given to ask")]
    NoExam {
        /// Rows with a model.
        rows: usize,
    },
    /// The exam cannot be used.
    #[error(transparent)]
    Exam(#[from] ExamError),
    /// A protocol cannot be used.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A row's model cannot be opened.
    #[error("row `{row}`")]
    Model {
        /// The row.
        row: String,
        /// Why.
        source: ModelError,
    },
    /// A row was not evaluated to its end; what was answered is kept.
    #[error("row `{row}` under protocol `{protocol}`")]
    Eval {
        /// The row.
        row: String,
        /// The protocol.
        protocol: String,
        /// Why.
        source: EvalError,
    },
    /// A study's file, or one beside it, is not of its form.
    #[error("`{path}`: {problem}")]
    Definition {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file is no record of a study.
    #[error("`{path}` is no record of a study: {problem}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A folder of the name of a study's, in a folder where no study was begun.
    #[error("`{folder}` is there, and no study made it: name another folder for its runs")]
    Foreign {
        /// The folder.
        folder: PathBuf,
    },
    /// The study has no row or size of this name.
    #[error("the study has no row and no size `{name}`; its rows are {known}")]
    NoSuchRow {
        /// As given.
        name: String,
        /// The rows there are.
        known: String,
    },
    /// What recipes are compared on shares questions with an exam.
    #[error("`{validation}` is not apart from `{exam}`: {shared}")]
    NotApart {
        /// The split.
        validation: String,
        /// The exam.
        exam: String,
        /// What they share.
        shared: String,
    },
    /// Two studies cannot be held against each other.
    #[error(transparent)]
    Gate(GateError),
    /// A recipe cannot be read.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A row was not trained to its end; the same call goes on from its newest checkpoint.
    #[error("training of row `{row}`")]
    Train {
        /// The row.
        row: String,
        /// Why.
        source: TrainError,
    },
    /// A run directory cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The report could not be made.
    #[error(transparent)]
    Report(#[from] ReportError),
}
