//! The training of one row: made, continued, or found made and unchanged.
//!
//! A finished training leaves `ROW.json` beside its folder: what it cost, and the digest of every
//! file in it. It is used again only if it is the training that is asked for (base, rows, recipe,
//! kernels, program version) and every file, checkpoints included, has its digest. Anything else is
//! said, and made anew.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    TrainingRecord,
    watch::{Doing, Watch},
};
use crate::{
    store::{FileIdentity, identify_file, remove_folder, write_whole},
    study::StudyError,
    train::{
        self, Checkpoints, Defect, Ending, Event, LINEAGE, Outcome, Prepared, Recipe, Request,
        Session, TrainError, Update, peak_memory, restart_peak_memory,
    },
};

/// What to train.
#[derive(Debug, Clone, Copy)]
pub(in crate::study) struct Training<'a> {
    /// Names the row in messages.
    pub(in crate::study) row: &'a str,
    /// Every setting.
    pub(in crate::study) recipe: &'a Recipe,
    /// Folder of the base model.
    pub(in crate::study) base: &'a Path,
    /// What an adapter's settings call it.
    pub(in crate::study) base_name: &'a str,
    /// The file of rows.
    pub(in crate::study) data: &'a Path,
    /// Exams whose questions must not stand in the rows.
    pub(in crate::study) exams: &'a [PathBuf],
    /// The folder to write.
    pub(in crate::study) out: &'a Path,
}

/// `ROW.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stage {
    files: Vec<FileIdentity>,
    training: TrainingRecord,
}

/// Files of a training that nothing depends on.
const FOR_READERS: [&str; 3] = ["lock", "loss.svg", "train_report.md"];

impl Training<'_> {
    /// Returns what the training came to; `None` if `watch` stopped it.
    ///
    /// # Errors
    ///
    /// [`StudyError::Train`] with the row.
    pub(in crate::study) fn run(
        &self,
        watch: &mut dyn Watch,
    ) -> Result<Option<TrainingRecord>, StudyError> {
        let failed = |source| StudyError::Train { row: self.row.to_owned(), source };
        let request = Request {
            recipe: self.recipe,
            base: self.base,
            base_name: self.base_name,
            data: self.data,
            exams: self.exams,
            allow_overlap: false,
        };
        let prepared = Prepared::read(&request).map_err(failed)?;
        if let Some(stage) = self.finished(&prepared, watch)? {
            return Ok(Some(stage.training));
        }
        let network = prepared.network().map_err(failed)?;
        fs::create_dir_all(self.out).map_err(file("create", self.out))?;
        restart_peak_memory();
        let (lineage, dataset) = (&prepared.lineage, &prepared.dataset);
        let session = match Session::open(self.out, lineage, self.recipe, dataset, &network) {
            Err(error @ TrainError::Damaged { .. }) => {
                self.discard(&error.to_string(), watch)?;
                // Nothing is there now that could be damaged.
                return self.run(watch);
            }
            session => session.map_err(failed)?,
        };
        let total = self.recipe.plan(prepared.dataset.train.len()).updates();
        watch.begin(self.row, Doing::Training, session.progress().step, total);
        let mut relay = Relay { row: self.row, watch };
        let outcome = session.run(&mut relay).map_err(failed)?;
        if outcome.ending == Ending::Interrupted {
            return Ok(None);
        }
        let mem_peak = outcome.progress.mem_peak.max(peak_memory());
        prepared.write_beside(self.out, &outcome, mem_peak).map_err(failed)?;
        let training = summary(&prepared, &outcome, mem_peak);
        let stage = Stage { files: files(self.out).map_err(failed)?, training };
        let json = serde_json::to_vec_pretty(&stage).expect("texts and numbers are JSON");
        write_whole(&self.stage_path(), &json)?;
        Ok(Some(stage.training))
    }

    /// Returns the record of the finished training if it is this one and nothing in it was changed;
    /// anything else but one to be continued is removed.
    fn finished(
        &self,
        prepared: &Prepared,
        watch: &mut dyn Watch,
    ) -> Result<Option<Stage>, StudyError> {
        if !self.out.join(LINEAGE).exists() {
            return Ok(None);
        }
        match self.check(prepared) {
            Ok(()) => {}
            Err(TrainError::OtherTraining { differences, .. }) => {
                let first = differences.first().cloned().unwrap_or_default();
                self.discard(&format!("was trained otherwise ({first})"), watch)?;
                return Ok(None);
            }
            Err(error @ TrainError::Damaged { .. }) => {
                self.discard(&error.to_string(), watch)?;
                return Ok(None);
            }
            Err(source) => return Err(StudyError::Train { row: self.row.to_owned(), source }),
        }
        let Ok(bytes) = fs::read(self.stage_path()) else { return Ok(None) };
        let Ok(stage) = serde_json::from_slice::<Stage>(&bytes) else {
            self.discard("the record of its cost is damaged", watch)?;
            return Ok(None);
        };
        let now = files(self.out)
            .map_err(|source| StudyError::Train { row: self.row.to_owned(), source })?;
        let changed = stage.files.iter().find(|file| !now.contains(file));
        let added = now.iter().find(|file| !stage.files.contains(file));
        match changed.or(added) {
            None => Ok(Some(stage)),
            Some(file) => {
                let why = format!("`{}` is not as it was written", file.name);
                self.discard(&why, watch)?;
                Ok(None)
            }
        }
    }

    /// Removes the training, and says why.
    fn discard(&self, why: &str, watch: &mut dyn Watch) -> Result<(), StudyError> {
        watch.note(&format!("{}: {why}: trained anew", self.row));
        // The record first: without it a folder counts as begun, not as finished.
        let stage = self.stage_path();
        if stage.exists() {
            fs::remove_file(&stage).map_err(file("remove", &stage))?;
        }
        Ok(remove_folder(self.out)?)
    }

    /// Whether the folder holds this training, with its checkpoints as they were written.
    fn check(&self, prepared: &Prepared) -> Result<(), TrainError> {
        prepared.lineage.claim(self.out)?;
        let checkpoints = Checkpoints::new(self.out)?;
        for step in checkpoints.steps()? {
            checkpoints.check(step)?;
        }
        Ok(())
    }

    fn stage_path(&self) -> PathBuf {
        let mut name = self.out.file_name().unwrap_or_default().to_owned();
        name.push(".json");
        self.out.with_file_name(name)
    }
}

/// Every file of a finished training that something depends on, by name.
fn files(folder: &Path) -> Result<Vec<FileIdentity>, TrainError> {
    let mut found = BTreeMap::new();
    let read =
        |source| crate::store::StoreError::Io { action: "read", path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && !FOR_READERS.contains(&&*name) {
            found.insert(name, identify_file(&path)?);
        }
    }
    Ok(found.into_values().collect())
}

fn summary(prepared: &Prepared, outcome: &Outcome, mem_peak: Option<u64>) -> TrainingRecord {
    let update = |event: &Event| match event {
        Event::Update { loss, tokens, .. } => Some((*loss, *tokens as u64)),
        _ => None,
    };
    let updates: Vec<(f64, u64)> = outcome.events.iter().filter_map(update).collect();
    let loss = |at: Option<&(f64, u64)>| at.map_or(0.0, |(loss, _)| *loss);
    TrainingRecord {
        recipe: prepared.lineage.recipe.name.clone(),
        data: prepared.lineage.data.name.clone(),
        trained: prepared.trained,
        updates: outcome.progress.made,
        first_loss: loss(updates.first()),
        last_loss: loss(updates.last()),
        validation_loss: outcome.progress.best.map(|best| best.loss),
        tokens: updates.iter().map(|(_, tokens)| tokens).sum(),
        mem_estimate: prepared.estimate.total(),
        mem_peak,
        wall_s: super::hundredths(outcome.progress.wall_s),
    }
}

fn file<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> StudyError + use<'a> {
    move |source| StudyError::File { what, path: path.to_owned(), source }
}

/// Passes on what a training says.
struct Relay<'a> {
    row: &'a str,
    watch: &'a mut dyn Watch,
}

impl train::Watch for Relay<'_> {
    fn updated(&mut self, update: &Update, _total: u64) {
        self.watch.at(self.row, update.step);
    }

    fn validated(&mut self, _step: u64, _loss: f64, _is_best: bool) {}

    fn skipped(&mut self, step: u64, defect: Defect, rows: &[usize]) {
        self.watch
            .note(&format!("{}: update {step} left out: {defect:?}, rows {rows:?}", self.row));
    }

    fn stop(&mut self) -> bool {
        self.watch.stop()
    }
}
