//! Writes a run directory, from its first byte or from where a killed process left it.
//!
//! A question's lines are appended in one write and synced before the next question's. So after a
//! crash at any moment the directory holds whole questions in exam order and at most one torn
//! tail, and the finished run has the same bytes as one that was never interrupted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    AttemptRecord, Manifest, Run, RunLock, StoreError, Summary, Timing, TornLine,
    files::{self, io, sha256_hex, write_whole},
    journal::{self, Journal},
    run::{self, asked_ids, file},
    summary::summarise,
};
use crate::exam::{Exam, QuestionId, jsonl};

/// A run directory open for writing; no other process can write it meanwhile.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    manifest: Manifest,
    asked: Vec<QuestionId>,
    answered: usize,
    already: Vec<AttemptRecord>,
    torn: Vec<TornLine>,
    attempts: Journal,
    timings: Journal,
    _lock: RunLock,
}

impl RunWriter {
    /// Opens the run at `folder` for writing: a new one where there is none, else the one that is
    /// there, provided that it is the same run.
    ///
    /// `protocol` is the protocol's file, byte for byte; `manifest.run_id` is derived here.
    ///
    /// # Errors
    ///
    /// [`StoreError::OtherRun`] names what differs; [`StoreError::Locked`] while another process
    /// writes it; [`StoreError::NotEmpty`] if the folder holds something else.
    pub fn open(
        folder: &Path,
        mut manifest: Manifest,
        exam: &Exam,
        protocol: &[u8],
    ) -> Result<Self, StoreError> {
        manifest.run_id = manifest.derive_run_id();
        fs::create_dir_all(folder).map_err(io("create", folder))?;
        let lock = RunLock::take(folder)?;
        if folder.join(file::MANIFEST).exists() {
            return Self::resume(folder, &manifest, exam, protocol, lock);
        }
        refuse_foreign(folder)?;
        write_whole(&folder.join(file::EXAM), jsonl::write(&exam.questions).as_bytes())?;
        write_whole(&folder.join(file::PROTOCOL), protocol)?;
        let attempts = Journal::open(&folder.join(file::ATTEMPTS), 0)?;
        let timings = Journal::open(&folder.join(file::TIMINGS), 0)?;
        // The manifest comes last: a folder without one holds no answers.
        write_json(&folder.join(file::MANIFEST), &manifest)?;
        files::sync_parent(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            asked: asked_ids(exam, &manifest),
            manifest,
            answered: 0,
            already: Vec::new(),
            torn: Vec::new(),
            attempts,
            timings,
            _lock: lock,
        })
    }

    fn resume(
        folder: &Path,
        wanted: &Manifest,
        exam: &Exam,
        protocol: &[u8],
        lock: RunLock,
    ) -> Result<Self, StoreError> {
        let differences = run::read_manifest(folder)?.differences(wanted);
        if !differences.is_empty() {
            return Err(StoreError::OtherRun { path: folder.to_owned(), differences });
        }
        refuse_changed(folder, exam, protocol)?;
        let run = Run::open(folder)?;
        let asked = asked_ids(&run.exam, &run.manifest);
        let Run { mut manifest, mut attempts, answered, torn, .. } = run;
        attempts.truncate(answered.records);
        let timings = folder.join(file::TIMINGS);
        let kept = kept_timings(&timings, &attempts)?;
        if !folder.join(file::CHECKSUMS).exists() {
            manifest.resumed_at.push(now());
            write_json(&folder.join(file::MANIFEST), &manifest)?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            asked,
            answered: answered.questions,
            already: attempts,
            torn,
            attempts: Journal::open(&folder.join(file::ATTEMPTS), answered.bytes)?,
            timings: Journal::open(&timings, kept)?,
            _lock: lock,
        })
    }

    /// Returns the attempts that were already there, all of answered questions.
    pub fn already(&self) -> &[AttemptRecord] {
        &self.already
    }

    /// Returns the torn lines that were cut.
    pub fn torn(&self) -> &[TornLine] {
        &self.torn
    }

    /// Returns the questions without an answer, in the order in which they must be appended.
    pub fn open_questions(&self) -> &[QuestionId] {
        &self.asked[self.answered..]
    }

    /// Appends all attempts at the next open question, durably.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`], e.g. if the disk is full. What was appended before stays whole.
    ///
    /// # Panics
    ///
    /// If the attempts are not those of the next open question, ending with its final one: the
    /// directory would not be readable.
    pub fn append(
        &mut self,
        attempts: &[AttemptRecord],
        timings: &[Timing],
    ) -> Result<(), StoreError> {
        let next = self.open_questions().first();
        let in_order = attempts.iter().enumerate().all(|(index, attempt)| {
            Some(&attempt.question_id) == next
                && usize::try_from(attempt.attempt) == Ok(index + 1)
                && attempt.is_final == (index + 1 == attempts.len())
        });
        assert!(in_order && !attempts.is_empty(), "attempts must be all of question {next:?}");
        self.timings.append(timings)?;
        self.attempts.append(attempts)?;
        self.attempts.sync()?;
        self.answered += 1;
        Ok(())
    }

    /// Ends the run: writes its summary, its end and its checksums, from the files alone.
    ///
    /// A run that had ended before is left as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Incomplete`] while questions are open; [`StoreError::Ledger`] if the counts
    /// do not add up.
    pub fn finish(self) -> Result<Summary, StoreError> {
        let (answered, asked) = (self.answered, self.asked.len());
        if answered < asked {
            return Err(StoreError::Incomplete { path: self.folder, answered, asked });
        }
        self.timings.sync()?;
        finish(&self.folder, self.manifest)
    }
}

/// Writes what is derived from the other files of a run.
pub(super) fn finish(folder: &Path, mut manifest: Manifest) -> Result<Summary, StoreError> {
    let run = Run::open(folder)?;
    let summary = summarise(&run)?;
    if folder.join(file::CHECKSUMS).exists() {
        return Ok(summary);
    }
    write_json(&folder.join(file::SUMMARY), &summary)?;
    manifest.ended_at = Some(now());
    write_json(&folder.join(file::MANIFEST), &manifest)?;
    write_whole(&folder.join(file::CHECKSUMS), checksums(folder)?.as_bytes())?;
    Ok(summary)
}

/// Returns what `SHA256SUMS` must hold, in the form of `sha256sum`.
pub(super) fn checksums(folder: &Path) -> Result<String, StoreError> {
    file::SUMMED
        .iter()
        .map(|name| Ok(format!("{}  {name}\n", sha256_hex(&files::read(&folder.join(name))?))))
        .collect()
}

/// Returns the bytes of a record's file.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("records are JSON");
    bytes.push(b'\n');
    bytes
}

pub(super) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    write_whole(path, &json(value))
}

pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Refuses a folder that holds anything but what an interrupted start leaves.
fn refuse_foreign(folder: &Path) -> Result<(), StoreError> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
        .map_err(io("list", folder))?;
    names.sort();
    for name in names {
        let name = name.to_string_lossy().into_owned();
        let own = [file::EXAM, file::PROTOCOL, file::MANIFEST]
            .iter()
            .any(|own| name.trim_end_matches(".new") == *own);
        let empty = matches!(&*name, file::ATTEMPTS | file::TIMINGS)
            && fs::metadata(folder.join(&name)).is_ok_and(|metadata| metadata.len() == 0);
        if name != file::LOCK && !own && !empty {
            return Err(StoreError::NotEmpty { path: folder.to_owned(), found: name });
        }
    }
    Ok(())
}

/// Refuses a run whose files are not those that were written: extending it would hide the change.
fn refuse_changed(folder: &Path, exam: &Exam, protocol: &[u8]) -> Result<(), StoreError> {
    let changed = |name: &str| StoreError::Changed { path: folder.join(name) };
    let questions = jsonl::write(&exam.questions);
    for (name, bytes) in [(file::EXAM, questions.as_bytes()), (file::PROTOCOL, protocol)] {
        if files::read(&folder.join(name))? != bytes {
            return Err(changed(name));
        }
    }
    let sums = folder.join(file::CHECKSUMS);
    if !sums.exists() {
        return Ok(());
    }
    let stored = String::from_utf8_lossy(&files::read(&sums)?).into_owned();
    match stored.lines().zip(checksums(folder)?.lines()).find(|(stored, now)| stored != now) {
        Some((_, now)) => Err(changed(now.split("  ").last().unwrap_or(file::CHECKSUMS))),
        None if stored == checksums(folder)? => Ok(()),
        None => Err(changed(file::CHECKSUMS)),
    }
}

/// Returns how many bytes of the timings belong to the attempts that stay.
fn kept_timings(path: &Path, attempts: &[AttemptRecord]) -> Result<u64, StoreError> {
    let stays: std::collections::BTreeSet<_> =
        attempts.iter().map(|attempt| (&attempt.question_id, attempt.attempt)).collect();
    let timings = journal::read_lines::<Timing>(path)?.records;
    let kept = timings
        .iter()
        .take_while(|(timing, _)| stays.contains(&(&timing.question_id, timing.attempt)))
        .last();
    Ok(kept.map_or(0, |(_, end)| *end))
}
