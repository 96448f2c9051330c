//! One model asked one exam under one protocol: answered, continued, or found answered and true.
//!
//! A finished run is used again only if [`verify`] recomputes every number and digest of it, and if
//! it is the run that is asked for. Anything else is said, and made anew.

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::watch::{Doing, Watch};
use crate::{
    eval::{Ended, EvalError, Evaluation},
    exam::Exam,
    models::Opened,
    protocol::Protocol,
    stats::Seed,
    store::{FileIdentity, Run, StoreError, file, remove_folder, verify, write_whole},
    study::StudyError,
    train::{peak_memory, restart_peak_memory},
};

/// What to ask.
#[derive(Debug, Clone, Copy)]
pub(in crate::study) struct Asking<'a> {
    /// Names the row in messages.
    pub(in crate::study) row: &'a str,
    /// The exam.
    pub(in crate::study) exam: &'a Exam,
    /// The protocol.
    pub(in crate::study) protocol: &'a Protocol,
    /// Fixes every draw.
    pub(in crate::study) seed: u64,
    /// The run directory.
    pub(in crate::study) out: &'a Path,
}

/// A run with what it cost.
#[derive(Debug)]
pub(in crate::study) struct Asked {
    pub(in crate::study) run: Run,
    pub(in crate::study) wall_s: f64,
    pub(in crate::study) mem_peak: Option<u64>,
}

/// `RUN.json`, beside the run directory: what the run itself does not keep.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    run_id: String,
    mem_peak: Option<u64>,
}

impl Asking<'_> {
    /// Returns the run; `None` if `watch` stopped it.
    ///
    /// # Errors
    ///
    /// [`StudyError::Eval`] with the row.
    pub(in crate::study) fn run(
        &self,
        opened: &mut Opened,
        watch: &mut dyn Watch,
    ) -> Result<Option<Asked>, StudyError> {
        self.clear(watch)?;
        let mut ended = self.evaluate(opened, watch);
        if let Err(EvalError::Store(error)) = &ended
            && is_stale(error)
        {
            self.discard(&first_line(error), watch)?;
            ended = self.evaluate(opened, watch);
        }
        let (ended, is_new) = ended.map_err(|source| StudyError::Eval {
            row: self.row.to_owned(),
            protocol: self.protocol.id.clone(),
            source,
        })?;
        if let Ended::Stopped { .. } = ended {
            return Ok(None);
        }
        let run = Run::open_complete(self.out)?;
        let path = self.stage_path();
        let stored: Option<Stage> =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let run_id = run.manifest.run_id.clone();
        let mem_peak = match stored {
            Some(stage) if stage.run_id == run_id && !is_new => stage.mem_peak,
            _ => {
                let mem_peak = if is_new { peak_memory() } else { None };
                let json = serde_json::to_vec_pretty(&Stage { run_id, mem_peak });
                write_whole(&path, &json.expect("texts and numbers are JSON"))?;
                mem_peak
            }
        };
        let wall_s = run.timings.iter().map(|timing| timing.wall_s).sum();
        Ok(Some(Asked { run, wall_s: super::hundredths(wall_s), mem_peak }))
    }

    /// Asks what is open; says whether anything was.
    fn evaluate(
        &self,
        opened: &mut Opened,
        watch: &mut dyn Watch,
    ) -> Result<(Ended, bool), EvalError> {
        let absolute =
            |path: &Option<PathBuf>| path.as_ref().and_then(|path| std::path::absolute(path).ok());
        let evaluation = Evaluation {
            exam_files: self.exam.files.iter().map(identity).collect(),
            seed: Seed(self.seed),
            model_path: absolute(&opened.path),
            adapter_path: absolute(&opened.adapter_path),
            command_line: std::env::args().collect(),
            ..Evaluation::new(self.exam, self.protocol)
        };
        restart_peak_memory();
        let doing = Doing::Asking { exam: &self.exam.name, protocol: &self.protocol.id };
        let mut begun = false;
        let ended = evaluation.run(&mut *opened.model, self.out, &mut |progress| {
            let (answered, asked) = (progress.answered as u64, progress.asked as u64);
            if progress.answered < progress.asked && !begun {
                begun = true;
                watch.begin(self.row, doing, answered, asked);
            }
            watch.at(self.row, answered);
            if watch.stop() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok((ended?, begun))
    }

    /// Removes a finished run that is not what it says, and says so.
    fn clear(&self, watch: &mut dyn Watch) -> Result<(), StudyError> {
        if !self.out.join(file::CHECKSUMS).exists() {
            return Ok(());
        }
        let why = match verify(self.out) {
            Ok(found) => match found.differences.first() {
                Some(difference) => difference.to_string(),
                None => return Ok(()),
            },
            Err(error) => first_line(&error),
        };
        self.discard(&why, watch)
    }

    fn discard(&self, why: &str, watch: &mut dyn Watch) -> Result<(), StudyError> {
        let Self { row, protocol, exam, out, .. } = self;
        watch.note(&format!("{row}, {} under {}: {why}: asked anew", exam.name, protocol.id));
        Ok(remove_folder(out)?)
    }

    fn stage_path(&self) -> PathBuf {
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(".json");
        self.out.with_file_name(name)
    }
}

/// Whether a run directory is to be made anew: it is another run's, or was changed.
fn is_stale(error: &StoreError) -> bool {
    !matches!(error, StoreError::Io { .. } | StoreError::Locked { .. })
}

/// An error with its causes in one line.
fn first_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.lines().next().unwrap_or_default().to_owned()
}

fn identity(file: &crate::exam::ExamFile) -> FileIdentity {
    let crate::exam::ExamFile { name, sha256, bytes } = file.clone();
    FileIdentity { name, sha256, bytes }
}
