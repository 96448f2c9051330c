//! What a report is made from: one run directory in memory, indexed by question.
//!
//! Reads nothing and judges nothing; the files are read and verified by `store`.

use std::{
    collections::HashMap,
    path::{Component, Path, PathBuf},
};

use super::ReportError;
use crate::{
    exam::{Question, QuestionId},
    protocol::Outcome,
    store::{AttemptRecord, Manifest, Run, Summary, Timing, summarise},
};

/// One run, as its directory holds it.
#[derive(Debug, Clone)]
pub struct RunRecords {
    /// Name of the run in tables: its directory's, made unique among the runs of a report.
    pub label: String,
    /// Identities and settings.
    pub manifest: Manifest,
    /// Every question of the exam, in its order, those not asked too.
    pub questions: Vec<Question>,
    /// The protocol's file, byte for byte.
    pub protocol_toml: String,
    /// What is known to differ between the protocol and its source.
    pub deviations: Vec<String>,
    /// Every attempt, in the order written.
    pub attempts: Vec<AttemptRecord>,
    /// Wall times; fewer than attempts where some were lost.
    pub timings: Vec<Timing>,
    /// The numbers, recomputed from the files above.
    pub summary: Summary,
}

/// What became of one question in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Asked, with this outcome.
    Asked(Outcome),
    /// Left out because it cannot be asked.
    Excluded,
    /// Not asked by this run, or not yet.
    NotRun,
}

/// One question with its attempts.
#[derive(Debug, Clone)]
pub struct Row<'a> {
    /// The question.
    pub question: &'a Question,
    /// What became of it.
    pub fate: Fate,
    /// Places of its attempts in [`RunRecords::attempts`], first attempt to last.
    pub attempts: Vec<usize>,
}

impl RunRecords {
    /// Reads complete run directories, in order, with their numbers worked out again.
    ///
    /// Labels are the folders' names, with as many parents as it takes to tell them apart.
    ///
    /// # Errors
    ///
    /// [`ReportError::Store`] for a run that cannot be read or is incomplete,
    /// [`ReportError::Summary`] if its summary is not what its attempts amount to.
    pub fn read(folders: &[PathBuf]) -> Result<Vec<Self>, ReportError> {
        let labels = labels(folders);
        folders.iter().zip(labels).map(|(folder, label)| Self::read_one(folder, label)).collect()
    }

    fn read_one(folder: &Path, label: String) -> Result<Self, ReportError> {
        let run = Run::open_complete(folder)?;
        let summary = summarise(&run)?;
        if run.summary.as_ref() != Some(&summary) {
            return Err(ReportError::Summary { label });
        }
        Ok(Self::of(label, run, summary))
    }

    /// Returns a run under a label; `summary` is what [`summarise`] makes of it.
    pub fn of(label: String, run: Run, summary: Summary) -> Self {
        Self {
            label,
            questions: run.exam.questions,
            protocol_toml: run.protocol.toml().to_owned(),
            deviations: run.protocol.departures,
            manifest: run.manifest,
            attempts: run.attempts,
            timings: run.timings,
            summary,
        }
    }

    /// Returns one row per question of the exam, in its order.
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut places: HashMap<&QuestionId, Vec<usize>> = HashMap::new();
        for (place, attempt) in self.attempts.iter().enumerate() {
            places.entry(&attempt.question_id).or_default().push(place);
        }
        self.questions
            .iter()
            .map(|question| {
                let mut attempts = places.remove(&question.id).unwrap_or_default();
                attempts.sort_by_key(|&place| self.attempts[place].attempt);
                let last = attempts.iter().rfind(|&&place| self.attempts[place].is_final);
                let fate = match last {
                    Some(&place) => Fate::Asked(self.attempts[place].outcome),
                    None if self.manifest.selection.excluded.contains_key(&question.id) => {
                        Fate::Excluded
                    }
                    None => Fate::NotRun,
                };
                Row { question, fate, attempts }
            })
            .collect()
    }

    /// Returns why a question was not asked, if the manifest says.
    pub fn why_not_asked(&self, id: &QuestionId) -> Option<&str> {
        let selection = &self.manifest.selection;
        selection.excluded.get(id).or_else(|| selection.not_run.get(id)).map(String::as_str)
    }

    /// Returns the protocol as it is printed beside every number: its id and eight hex digits of
    /// its hash.
    pub fn protocol_label(&self) -> String {
        short_label(&self.manifest.protocol.id, &self.manifest.protocol.sha256)
    }

    /// Returns the exam as it is printed: its name and eight hex digits of its hash.
    pub fn exam_label(&self) -> String {
        short_label(&self.manifest.exam.name, &self.manifest.exam.sha256)
    }

    /// Returns who was asked what, and how, in one line.
    pub fn sentence(&self) -> String {
        let model = &self.manifest.model;
        format!(
            "{}: {} ({}) on exam {} by protocol {}, seed {}",
            self.label,
            model.name,
            model.backend,
            self.exam_label(),
            self.protocol_label(),
            self.manifest.seed
        )
    }
}

/// Returns `id@12345678`, how a protocol (or an exam) is named beside a number.
pub fn short_label(id: &str, sha256: &str) -> String {
    format!("{id}@{}", sha256.get(..8).unwrap_or(sha256))
}

/// Checks that the counts of every part add up, so that no accuracy is printed from lost questions.
pub(super) fn check_ledgers(run: &RunRecords) -> Result<(), ReportError> {
    for part in &run.summary.parts {
        let ledger = &part.ledger;
        let answered = ledger.correct + ledger.wrong + ledger.unparsed + ledger.errored;
        let all = ledger.asked + ledger.excluded + ledger.not_run;
        let reasons: usize = ledger.unparsed_by_reason.values().sum();
        let sums = [(answered, ledger.asked), (all, ledger.total), (reasons, ledger.unparsed)];
        if let Some(&(got, expected)) = sums.iter().find(|(got, expected)| got != expected) {
            let (label, part) = (run.label.clone(), part.name.clone());
            return Err(ReportError::Ledger { label, part, got, expected });
        }
    }
    Ok(())
}

/// The shortest ends of the paths that tell them apart; equal paths are numbered.
fn labels(folders: &[PathBuf]) -> Vec<String> {
    let parts: Vec<Vec<String>> = folders
        .iter()
        .map(|folder| {
            let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
            let parts = folder.components().filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            });
            parts.collect()
        })
        .collect();
    let end = |parts: &[String], depth: usize| parts[parts.len().saturating_sub(depth)..].join("/");
    let plain: Vec<String> = parts
        .iter()
        .enumerate()
        .map(|(own, path)| {
            let alone = |depth: usize| {
                let mut others = parts.iter().enumerate().filter(|(other, _)| *other != own);
                others.all(|(_, other)| end(other, depth) != end(path, depth))
            };
            let depth = (1..=path.len()).find(|depth| alone(*depth)).unwrap_or(1);
            end(path, depth)
        })
        .collect();
    let numbered = plain.iter().enumerate().map(|(place, label)| {
        match plain[..place].iter().filter(|earlier| *earlier == label).count() {
            0 => label.clone(),
            before => format!("{label} ({})", before + 1),
        }
    });
    numbered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels_of(folders: &[&str]) -> Vec<String> {
        labels(&folders.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn labels_are_as_short_as_tells_runs_apart() {
        assert_eq!(
            labels_of(&["/r/a/strict", "/r/b/strict", "/r/c"]),
            ["a/strict", "b/strict", "c"]
        );
    }

    #[test]
    fn the_same_run_twice_is_numbered() {
        assert_eq!(labels_of(&["/r/a", "/r/a", "/r/a"]), ["a", "a (2)", "a (3)"]);
    }
}
