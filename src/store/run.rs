//! Reads a run directory. Nothing is changed by reading, and nothing is believed unchecked:
//! attempts must belong to the questions asked, in exam order, each with one last attempt.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    AttemptRecord, FORMAT_VERSION, Manifest, StoreError, Summary, Timing, TornLine,
    files::{self, sha256_hex},
    journal::{self, Lines},
};
use crate::{
    exam::{Exam, Question, QuestionId},
    protocol::Protocol,
};

/// File names inside a run directory.
pub mod file {
    /// [`super::Manifest`].
    pub const MANIFEST: &str = "manifest.json";
    /// Every question of the exam, one a line, in the project's own format.
    pub const EXAM: &str = "exam.jsonl";
    /// The protocol, byte for byte.
    pub const PROTOCOL: &str = "protocol.toml";
    /// [`super::AttemptRecord`], one a line.
    pub const ATTEMPTS: &str = "attempts.jsonl";
    /// [`super::Timing`], one a line.
    pub const TIMINGS: &str = "timings.jsonl";
    /// [`super::Summary`].
    pub const SUMMARY: &str = "summary.json";
    /// sha256 of each file above, as `sha256sum` prints them; written last.
    pub const CHECKSUMS: &str = "SHA256SUMS";
    /// See [`super::super::RunLock`].
    pub const LOCK: &str = "lock";

    /// The files under [`CHECKSUMS`], in its order.
    pub const SUMMED: [&str; 6] = [ATTEMPTS, EXAM, MANIFEST, PROTOCOL, SUMMARY, TIMINGS];
}

/// A run directory, read.
#[derive(Debug, Clone)]
pub struct Run {
    /// Where it lies.
    pub folder: PathBuf,
    /// What its numbers depend on.
    pub manifest: Manifest,
    /// The exam, excluded questions too.
    pub exam: Exam,
    /// The protocol.
    pub protocol: Protocol,
    /// Every whole attempt, in exam order.
    pub attempts: Vec<AttemptRecord>,
    /// sha256 of `attempts.jsonl`.
    pub attempts_sha256: String,
    /// Wall times; some may be missing after a power failure.
    pub timings: Vec<Timing>,
    /// `None` until the run is complete.
    pub summary: Option<Summary>,
    /// What an interrupted write left behind.
    pub torn: Vec<TornLine>,
    /// Bytes of `attempts.jsonl` up to the last answered question, and number of attempts in them.
    pub(super) answered: Prefix,
}

/// The part of a journal that belongs to answered questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) bytes: u64,
    pub(super) records: usize,
    pub(super) questions: usize,
}

impl Run {
    /// Reads the run at `folder`, complete or not.
    ///
    /// # Errors
    ///
    /// [`StoreError`] names the file, and the line where there are lines.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let manifest = read_manifest(folder)?;
        let exam = read_exam(folder, &manifest)?;
        let protocol = read_protocol(folder)?;
        let path = folder.join(file::ATTEMPTS);
        let Lines { records, torn, bytes } = journal::read_lines::<AttemptRecord>(&path)?;
        let asked = asked_ids(&exam, &manifest);
        let answered = check_order(&path, &asked, &records)?;
        let attempts_sha256 = sha256_hex(&bytes);
        let attempts = records.into_iter().map(|(record, _)| record).collect();
        let timings = journal::read_lines::<Timing>(&folder.join(file::TIMINGS))?;
        let torn = torn.into_iter().chain(timings.torn).collect();
        let timings = timings.records.into_iter().map(|(timing, _)| timing).collect();
        let summary = read_summary(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            manifest,
            exam,
            protocol,
            attempts,
            attempts_sha256,
            timings,
            summary,
            torn,
            answered,
        })
    }

    /// Reads the run at `folder`, which must be complete.
    ///
    /// # Errors
    ///
    /// [`StoreError::Incomplete`], and as [`Run::open`].
    pub fn open_complete(folder: &Path) -> Result<Self, StoreError> {
        let run = Self::open(folder)?;
        let (answered, asked) = (run.answered.questions, run.asked().count());
        if run.summary.is_none() || answered < asked {
            return Err(StoreError::Incomplete { path: folder.to_owned(), answered, asked });
        }
        Ok(run)
    }

    /// Returns the questions that this run asks, in exam order.
    pub fn asked(&self) -> impl Iterator<Item = &Question> {
        let selection = &self.manifest.selection;
        self.exam.asked().filter(|question| !selection.not_run.contains_key(&question.id))
    }

    /// Returns how many questions both runs have answered.
    pub fn common_with(&self, other: &Self) -> usize {
        let ids: BTreeSet<_> = self.answered().map(|(question, _)| &question.id).collect();
        other.answered().filter(|(question, _)| ids.contains(&question.id)).count()
    }

    /// Returns each answered question with its attempts, in exam order. The last one is final.
    pub fn answered(&self) -> impl Iterator<Item = (&Question, &[AttemptRecord])> {
        let questions: BTreeMap<&QuestionId, &Question> =
            self.exam.questions.iter().map(|question| (&question.id, question)).collect();
        self.attempts[..self.answered.records]
            .chunk_by(|a, b| a.question_id == b.question_id)
            .map(move |attempts| (questions[&attempts[0].question_id], attempts))
    }
}

/// Ids of the questions to ask, in exam order.
pub(super) fn asked_ids(exam: &Exam, manifest: &Manifest) -> Vec<QuestionId> {
    let not_run = &manifest.selection.not_run;
    exam.asked()
        .map(|question| &question.id)
        .filter(|id| !not_run.contains_key(id))
        .cloned()
        .collect()
}

/// Checks that attempts follow the questions asked, and returns how far the answered ones reach.
fn check_order(
    path: &Path,
    asked: &[QuestionId],
    records: &[(AttemptRecord, u64)],
) -> Result<Prefix, StoreError> {
    let mut prefix = Prefix::default();
    let mut attempt = 0;
    for (index, (record, end)) in records.iter().enumerate() {
        let wrong =
            |problem| Err(StoreError::Line { path: path.to_owned(), line: index + 1, problem });
        let Some(expected) = asked.get(prefix.questions) else {
            return wrong(format!("question `{}` is not asked any more", record.question_id));
        };
        attempt += 1;
        if (&record.question_id, record.attempt) != (expected, attempt) {
            let (id, got) = (&record.question_id, record.attempt);
            return wrong(format!(
                "question `{id}`, attempt {got} stands where question `{expected}`, attempt \
                 {attempt} should"
            ));
        }
        if record.is_final {
            prefix = Prefix { bytes: *end, records: index + 1, questions: prefix.questions + 1 };
            attempt = 0;
        }
    }
    Ok(prefix)
}

/// Reads the manifest, refusing one of a newer program before looking at its fields.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(file::MANIFEST);
    if !path.exists() {
        return Err(StoreError::NotARun { path: folder.to_owned() });
    }
    read_versioned(&path, "manifest")
}

fn read_summary(folder: &Path) -> Result<Option<Summary>, StoreError> {
    let path = folder.join(file::SUMMARY);
    if path.exists() { read_versioned(&path, "summary").map(Some) } else { Ok(None) }
}

fn read_versioned<T: serde::de::DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<T, StoreError> {
    #[derive(serde::Deserialize)]
    struct Version {
        format_version: u32,
    }
    let bytes = files::read(path)?;
    let invalid = |source| StoreError::Json { path: path.to_owned(), what, source };
    let Version { format_version: got } = serde_json::from_slice(&bytes).map_err(invalid)?;
    if got > FORMAT_VERSION {
        return Err(StoreError::NewerFormat { path: path.to_owned(), got, known: FORMAT_VERSION });
    }
    serde_json::from_slice(&bytes).map_err(invalid)
}

fn read_exam(folder: &Path, manifest: &Manifest) -> Result<Exam, StoreError> {
    let path = folder.join(file::EXAM);
    let lines = journal::read_lines::<Question>(&path)?;
    if let Some(torn) = lines.torn {
        let problem = format!("torn after {} bytes", torn.bytes);
        return Err(StoreError::Line { path, line: torn.line, problem });
    }
    let mut questions = Vec::with_capacity(lines.records.len());
    let mut seen = BTreeSet::new();
    for (index, (question, _)) in lines.records.into_iter().enumerate() {
        if !seen.insert(question.id.clone()) {
            let problem = format!("question `{}` is there twice", question.id);
            return Err(StoreError::Line { path, line: index + 1, problem });
        }
        questions.push(question);
    }
    let excluded = manifest.selection.excluded.clone();
    Ok(Exam { excluded, ..Exam::new(manifest.exam.name.clone(), questions) })
}

fn read_protocol(folder: &Path) -> Result<Protocol, StoreError> {
    let path = folder.join(file::PROTOCOL);
    let kept = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Kept {
        what: "protocol",
        path: path.clone(),
        source,
    };
    let text = String::from_utf8(files::read(&path)?).map_err(|error| kept(Box::new(error)))?;
    Protocol::parse(&text, file::PROTOCOL).map_err(|error| kept(Box::new(error)))
}
