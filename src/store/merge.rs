//! Puts the shards of one run together again.
//!
//! The merged `attempts.jsonl` and `summary.json` have the bytes of a run that was never split.
//! Of the manifest only times, machine, command line and the model's folder can differ from that
//! run's.

use std::{collections::BTreeMap, path::Path};

use super::{
    AttemptRecord, Manifest, Run, RunWriter, Selection, Shard, StoreError, Summary, Timing,
};
use crate::exam::QuestionId;

/// Merges the complete runs at `shards` into a run at `out`, new or begun before.
///
/// # Errors
///
/// [`StoreError::NotMergeable`] unless they are all the shards of one run, each once;
/// [`StoreError::Incomplete`] if one of them lacks answers.
pub fn merge_runs(
    out: &Path,
    shards: &[impl AsRef<Path>],
    command_line: Vec<String>,
) -> Result<Summary, StoreError> {
    let runs = shards
        .iter()
        .map(|folder| Run::open_complete(folder.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = runs.first() else {
        return Err(not_mergeable("there are none"));
    };
    every_shard_once(&runs)?;
    let mut whole = whole(&first.manifest);
    for run in &runs[1..] {
        let differences = whole.differences(&self::whole(&run.manifest));
        if !differences.is_empty() {
            let folder = run.folder.display();
            return Err(not_mergeable(format!("`{folder}`: {}", differences.join("; "))));
        }
    }
    whole.started_at =
        runs.iter().map(|run| run.manifest.started_at.clone()).min().unwrap_or_default();
    whole.command_line = command_line;
    let mut writer = RunWriter::open(out, whole, &first.exam, first.protocol.toml().as_bytes())?;
    let answers: BTreeMap<&QuestionId, (&[AttemptRecord], Vec<Timing>)> =
        runs.iter().flat_map(answers).collect();
    for id in writer.open_questions().to_vec() {
        let (attempts, timings) = &answers
            .get(&id)
            .ok_or_else(|| not_mergeable(format!("no shard asked question `{id}`")))?;
        writer.append(attempts, timings)?;
    }
    writer.finish()
}

/// The manifest of the run that a shard is part of.
fn whole(shard: &Manifest) -> Manifest {
    let mut not_run = shard.selection.not_run.clone();
    not_run.retain(|_, reason| reason != Shard::REASON);
    let selection = Selection { not_run, shard: None, excluded: shard.selection.excluded.clone() };
    Manifest { selection, ended_at: None, resumed_at: Vec::new(), ..shard.clone() }
}

fn every_shard_once(runs: &[Run]) -> Result<(), StoreError> {
    let mut seen: BTreeMap<usize, &Run> = BTreeMap::new();
    let mut parts = None;
    for run in runs {
        let folder = run.folder.display();
        let Some(shard) = run.manifest.selection.shard else {
            return Err(not_mergeable(format!("`{folder}` is a whole run, no shard")));
        };
        if *parts.get_or_insert(shard.of) != shard.of {
            let of = parts.unwrap_or_default();
            return Err(not_mergeable(format!("`{folder}` is shard {shard}, others are of {of}")));
        }
        if let Some(other) = seen.insert(shard.index, run) {
            let other = other.folder.display();
            return Err(not_mergeable(format!("`{other}` and `{folder}` are both shard {shard}")));
        }
    }
    let of = parts.unwrap_or_default();
    let missing: Vec<_> = (1..=of).filter(|index| !seen.contains_key(index)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing: Vec<_> = missing.iter().map(|index| format!("{index}/{of}")).collect();
    Err(not_mergeable(format!("shard {} is missing", missing.join(", "))))
}

fn answers(run: &Run) -> impl Iterator<Item = (&QuestionId, (&[AttemptRecord], Vec<Timing>))> {
    let mut timings: BTreeMap<&QuestionId, Vec<Timing>> = BTreeMap::new();
    for timing in &run.timings {
        timings.entry(&timing.question_id).or_default().push(timing.clone());
    }
    run.answered().map(move |(question, attempts)| {
        (&question.id, (attempts, timings.remove(&question.id).unwrap_or_default()))
    })
}

fn not_mergeable(problem: impl Into<String>) -> StoreError {
    StoreError::NotMergeable { problem: problem.into() }
}
