//! Asks the models of the printed rows: one run directory per row and protocol, resumed if there.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use super::{Mapping, StudyError};
use crate::{
    eval::{Ended, Evaluation, Progress},
    exam::Exam,
    models::{self, OpenOptions},
    protocol::Protocol,
    stats::Seed,
    store::{FileIdentity, Run},
};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// Rows with their models.
    pub mapping: &'a Mapping,
    /// The exam to ask them.
    pub exam: &'a Exam,
    /// Under each of these.
    pub protocols: &'a [Protocol],
    /// Where run directories go: `FOLDER/ROW/PROTOCOL`.
    pub folder: &'a Path,
    /// Seed of every run.
    pub seed: Seed,
}

/// How far the study is.
#[derive(Debug, Clone, Copy)]
pub struct RowProgress<'a> {
    /// The row.
    pub row: &'a str,
    /// The protocol.
    pub protocol: &'a str,
    /// The run.
    pub run: Progress<'a>,
    /// What a reader should know of the model.
    pub notes: &'a [String],
}

/// The runs made, by row and protocol.
pub type Runs = BTreeMap<(String, String), Run>;

/// Asks every row of the plan under every protocol, in the order of names, and returns the runs.
///
/// Complete runs are read, broken ones continued. A model is opened once and dropped before the
/// next, so that one at a time is in memory. `watch` can stop the study, which returns `None`; the
/// same call continues.
///
/// # Errors
///
/// [`StudyError::Model`] or [`StudyError::Eval`] with the row; earlier rows are kept.
pub fn run_rows(
    plan: &Plan<'_>,
    watch: &mut dyn FnMut(&RowProgress<'_>) -> ControlFlow<()>,
) -> Result<Option<Runs>, StudyError> {
    let mut runs = Runs::new();
    for (row, spec) in &plan.mapping.rows {
        let options = OpenOptions {
            exam: Some(plan.exam),
            format: spec.dtype,
            adapter: spec.adapter.as_deref(),
        };
        let mut opened = models::open(&spec.model, &options)
            .map_err(|source| StudyError::Model { row: row.clone(), source })?;
        for protocol in plan.protocols {
            let folder = plan.folder.join(file_name(row)).join(&protocol.id);
            let evaluation = Evaluation {
                exam_files: plan.exam.files.iter().map(file).collect(),
                seed: plan.seed,
                model_path: opened.path.clone(),
                adapter_path: opened.adapter_path.clone(),
                command_line: std::env::args().collect(),
                ..Evaluation::new(plan.exam, protocol)
            };
            let ended = evaluation
                .run(&mut *opened.model, &folder, &mut |run| {
                    let notes = &opened.notes;
                    watch(&RowProgress { row, protocol: &protocol.id, run: *run, notes })
                })
                .map_err(|source| StudyError::Eval {
                    row: row.clone(),
                    protocol: protocol.id.clone(),
                    source,
                })?;
            if let Ended::Stopped { .. } = ended {
                return Ok(None);
            }
            runs.insert((row.clone(), protocol.id.clone()), Run::open_complete(&folder)?);
        }
    }
    Ok(Some(runs))
}

/// A row's name as a folder: small letters and digits, anything else a dash.
fn file_name(row: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    row.chars().map(plain).collect::<String>().into()
}

fn file(file: &crate::exam::ExamFile) -> FileIdentity {
    let crate::exam::ExamFile { name, sha256, bytes } = file.clone();
    FileIdentity { name, sha256, bytes }
}
