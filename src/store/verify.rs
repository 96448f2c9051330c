//! Recomputes every number and hash of a run from what they were made of.
//!
//! Checked, in this order: the checksum of each file; the manifest against exam, protocol and model
//! files; each attempt's seed, prompt, reading, outcome and place; the timings; the summary, field
//! by field. A difference is listed, never repaired.

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    AttemptRecord, FileIdentity, Manifest, Run, Selection, StoreError, identify_file, journal,
    judge::{Judgement, judge},
    run::file,
    sha256_hex, summarise, writer,
};
use crate::{
    exam::Question,
    protocol::{Outcome, Protocol},
    stats::Seed,
};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file, with the line where there are lines.
    pub place: String,
    /// The field, or what is wrong.
    pub what: String,
    /// What the run holds; empty where nothing is compared.
    pub stored: String,
    /// What was recomputed.
    pub recomputed: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, stored, recomputed } = self;
        write!(f, "{place}: {what}")?;
        if stored.is_empty() && recomputed.is_empty() {
            return Ok(());
        }
        write!(f, " is {stored}, recomputed {recomputed}")
    }
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The run, `None` if its manifest cannot be read.
    pub run_id: Option<String>,
    /// Attempts read again.
    pub attempts: usize,
    /// Values compared, hashes included.
    pub compared: usize,
    /// Empty if everything is as recorded.
    pub differences: Vec<Difference>,
    /// What could not be checked here, and why.
    pub not_checked: Vec<String>,
}

impl Verification {
    /// Returns whether everything compared was equal.
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }

    fn compare(&mut self, place: &str, what: &str, stored: &str, recomputed: &str) {
        self.compared += 1;
        if stored != recomputed {
            self.differences.push(Difference {
                place: place.into(),
                what: what.into(),
                stored: stored.into(),
                recomputed: recomputed.into(),
            });
        }
    }

    fn fail(&mut self, place: &str, what: impl fmt::Display) {
        let (place, what) = (place.to_owned(), what.to_string());
        let (stored, recomputed) = (String::new(), String::new());
        self.differences.push(Difference { place, what, stored, recomputed });
    }
}

/// Verifies the run at `folder`.
///
/// # Errors
///
/// [`StoreError::NotARun`], [`StoreError::NewerFormat`], and whatever cannot be read where the
/// checksums gave no reason for it.
pub fn verify(folder: &Path) -> Result<Verification, StoreError> {
    if !folder.join(file::MANIFEST).exists() {
        return Err(StoreError::NotARun { path: folder.to_owned() });
    }
    let mut found = Verification {
        run_id: None,
        attempts: 0,
        compared: 0,
        differences: Vec::new(),
        not_checked: Vec::new(),
    };
    checksums(folder, &mut found)?;
    let run = match Run::open(folder) {
        Ok(run) => run,
        // The checksums have already said that something was changed; this says what it broke.
        Err(error) if !found.holds() => {
            found.fail(&folder.display().to_string(), describe(&error));
            return Ok(found);
        }
        Err(error) => return Err(error),
    };
    found.run_id = Some(run.manifest.run_id.clone());
    for torn in &run.torn {
        found.fail(&file_name(&torn.path), format_args!("line {} is torn", torn.line));
    }
    manifest(&run, &mut found)?;
    attempts(&run, &mut found);
    timings(&run, &mut found);
    summary(&run, &mut found)?;
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Compares each file with its line of `SHA256SUMS`.
fn checksums(folder: &Path, found: &mut Verification) -> Result<(), StoreError> {
    let path = folder.join(file::CHECKSUMS);
    let Ok(stored) = fs::read(&path) else {
        found.fail(file::CHECKSUMS, "missing: the run is not complete");
        return Ok(());
    };
    let stored = String::from_utf8_lossy(&stored);
    let mut lines = stored.split_inclusive('\n');
    for name in file::SUMMED {
        let recomputed = match fs::read(folder.join(name)) {
            Ok(bytes) => format!("{}  {name}\n", sha256_hex(&bytes)),
            Err(_) => {
                found.fail(name, "missing");
                lines.next();
                continue;
            }
        };
        found.compare(
            name,
            "sha256",
            lines.next().unwrap_or("absent").trim_end_matches('\n'),
            recomputed.trim_end(),
        );
    }
    if stored.lines().count() != file::SUMMED.len() || !stored.ends_with('\n') {
        found.fail(file::CHECKSUMS, "not one line for each file");
    }
    Ok(())
}

fn manifest(run: &Run, found: &mut Verification) -> Result<(), StoreError> {
    let Run { manifest, exam, protocol, .. } = run;
    let place = file::MANIFEST;
    found.compare(place, "run_id", &manifest.run_id, &manifest.derive_run_id());
    found.compare(place, "exam.sha256", &manifest.exam.sha256, &exam.sha256());
    let total = |n: usize| n.to_string();
    found.compare(place, "exam.total", &total(manifest.exam.total), &total(exam.questions.len()));
    let kept = sha256_hex(&fs_read(run, file::EXAM)?);
    found.compare(file::EXAM, "sha256 of its questions", &kept, &exam.sha256());
    found.compare(place, "protocol.sha256", &manifest.protocol.sha256, protocol.sha256());
    found.compare(place, "protocol.id", &manifest.protocol.id, &protocol.id);
    selection(run, found);
    if manifest.ended_at.is_none() {
        found.fail(place, "ended_at is missing: the run is not complete");
    }
    // Bytes too: a field that this program does not know is lost in reading.
    let (stored, known) = (fs_read(run, place)?, writer::json(manifest));
    found.compare(place, "sha256 of its fields", &sha256_hex(&stored), &sha256_hex(&known));
    model_files(manifest, found);
    Ok(())
}

fn fs_read(run: &Run, name: &str) -> Result<Vec<u8>, StoreError> {
    super::files::read(&run.folder.join(name))
}

/// Whatever is left out must be part of the exam, in one list only, and the shard must be right.
fn selection(run: &Run, found: &mut Verification) {
    let Selection { excluded, not_run, shard } = &run.manifest.selection;
    let ids: BTreeSet<_> = run.exam.questions.iter().map(|question| &question.id).collect();
    for id in excluded.keys().chain(not_run.keys()).filter(|id| !ids.contains(id)) {
        found.fail(file::MANIFEST, format_args!("`{id}` is left out, but not in the exam"));
    }
    for id in excluded.keys().filter(|id| not_run.contains_key(id)) {
        found.fail(file::MANIFEST, format_args!("`{id}` is both excluded and not run"));
    }
    for (id, reason) in run.protocol.not_asked(&run.exam) {
        if !excluded.contains_key(&id) && not_run.get(&id) != Some(&reason) {
            found.fail(file::MANIFEST, format_args!("`{id}` should be not run: {reason}"));
        }
    }
    let in_any_shard = run.exam.asked().filter(|question| {
        not_run.get(&question.id).is_none_or(|reason| reason == super::Shard::REASON)
    });
    for (position, question) in in_any_shard.enumerate() {
        let asked = !not_run.contains_key(&question.id);
        if asked != shard.is_none_or(|shard| shard.holds(position)) {
            found.fail(file::MANIFEST, format_args!("`{}` is in the wrong shard", question.id));
        }
    }
}

/// Hashes the model's files again where they still lie.
fn model_files(manifest: &Manifest, found: &mut Verification) {
    let Manifest { model, model_path, adapter_path, .. } = manifest;
    files_of("model", &model.files, model_path.as_deref(), found);
    files_of("adapter", &model.adapter_files, adapter_path.as_deref(), found);
}

fn files_of(what: &str, files: &[FileIdentity], folder: Option<&Path>, found: &mut Verification) {
    let Some(folder) = folder else {
        if !files.is_empty() {
            found.not_checked.push(format!("the {what}'s files: the run names no folder"));
        }
        return;
    };
    for stored in files {
        let path: PathBuf = folder.join(&stored.name);
        match identify_file(&path) {
            Ok(now) => {
                found.compare(&path.display().to_string(), "sha256", &stored.sha256, &now.sha256)
            }
            Err(error) => {
                found.not_checked.push(format!("a file of the {what}: {}", describe(&error)))
            }
        }
    }
}

fn attempts(run: &Run, found: &mut Verification) {
    let asked = run.asked().count();
    if run.answered.questions < asked {
        let what = format!("{} of {asked} questions are answered", run.answered.questions);
        found.fail(file::ATTEMPTS, what);
    }
    let known: Vec<u8> = run.attempts.iter().flat_map(journal::line).collect();
    found.compare(
        file::ATTEMPTS,
        "sha256 of its fields",
        &run.attempts_sha256,
        &sha256_hex(&known),
    );
    let mut line = 0;
    for (question, attempts) in run.answered() {
        for record in attempts {
            line += 1;
            found.attempts += 1;
            let seed = Seed(run.manifest.seed);
            let recomputed = again(&run.protocol, seed, question, record);
            let place = format!("{}, line {line}", file::ATTEMPTS);
            differing(&place, "", &value(record), &value(&recomputed), found);
        }
    }
}

/// The record as it must be, given what the model returned.
fn again(
    protocol: &Protocol,
    run_seed: Seed,
    question: &Question,
    record: &AttemptRecord,
) -> AttemptRecord {
    let Judgement { reading, letter, outcome, is_final } =
        judge(protocol, question, record.attempt, record.into());
    // Only an attempt that failed has an error, and a failed one says why.
    let error = record.error.clone().filter(|_| outcome == Outcome::Errored);
    AttemptRecord {
        seed: run_seed.derive(&record.question_id.0, record.attempt).0,
        prompt_sha256: sha256_hex(protocol.render(question).as_bytes()),
        reading,
        letter,
        outcome,
        is_final,
        error,
        ..record.clone()
    }
}

fn timings(run: &Run, found: &mut Verification) {
    let mut attempts = run.attempts.iter();
    for (index, timing) in run.timings.iter().enumerate() {
        let place = format!("{}, line {}", file::TIMINGS, index + 1);
        let belongs = attempts.any(|attempt| {
            (&attempt.question_id, attempt.attempt) == (&timing.question_id, timing.attempt)
        });
        if !belongs {
            found.fail(&place, "belongs to no attempt, or stands out of order");
            return;
        }
        if !(timing.wall_s.is_finite() && timing.wall_s >= 0.0) {
            found.fail(&place, "wall_s is no time");
        }
    }
    let missing = run.attempts.len() - run.timings.len().min(run.attempts.len());
    if missing > 0 {
        found.not_checked.push(format!("{missing} attempts have no wall time"));
    }
}

fn summary(run: &Run, found: &mut Verification) -> Result<(), StoreError> {
    let Some(stored) = &run.summary else {
        found.fail(file::SUMMARY, "missing: the run is not complete");
        return Ok(());
    };
    match summarise(run) {
        Ok(recomputed) => {
            differing(file::SUMMARY, "", &value(stored), &value(&recomputed), found);
            let (stored, known) = (fs_read(run, file::SUMMARY)?, writer::json(&recomputed));
            found.compare(file::SUMMARY, "sha256", &sha256_hex(&stored), &sha256_hex(&known));
        }
        Err(error) => found.fail(file::SUMMARY, describe(&error)),
    }
    Ok(())
}

fn value<T: Serialize>(record: &T) -> Value {
    serde_json::to_value(record).expect("records are JSON")
}

/// Compares two trees of JSON leaf by leaf.
fn differing(place: &str, name: &str, stored: &Value, now: &Value, found: &mut Verification) {
    let child = |field: &str| {
        if name.is_empty() { field.to_owned() } else { format!("{name}.{field}") }
    };
    match (stored, now) {
        (Value::Object(a), Value::Object(b)) => {
            let fields: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for field in fields {
                let of =
                    |map: &serde_json::Map<_, _>| map.get(field).cloned().unwrap_or(Value::Null);
                differing(place, &child(field), &of(a), &of(b), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                differing(place, &child(&index.to_string()), a, b, found);
            }
        }
        _ => found.compare(place, name, &stored.to_string(), &now.to_string()),
    }
}
