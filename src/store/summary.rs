//! From attempts to the numbers of a run. Everything is recomputed; nothing is carried along.

use std::collections::BTreeMap;

use super::{
    Accuracies, AttemptRecord, FORMAT_VERSION, Ledger, Part, Proportion, RetryEffect, Run,
    StoreError, Summary,
};
use crate::{
    exam::{Baselines, Question, Step},
    protocol::Outcome,
    stats::{Confidence, Share},
};

impl Proportion {
    /// Returns `successes` of `trials` with its intervals; `None` if there were no trials, or
    /// fewer than successes.
    pub fn of(successes: usize, trials: usize) -> Option<Self> {
        let share = Share::new(successes, trials).ok()?;
        Some(Self {
            successes,
            trials,
            value: share.value(),
            wilson: share.wilson(Confidence::P95).into(),
            clopper_pearson: share.clopper_pearson(Confidence::P95).into(),
        })
    }
}

/// The steps in the order of every table; questions without a step come last.
pub const STEPS: [Option<Step>; 5] =
    [Some(Step::One), Some(Step::Two), Some(Step::Three), Some(Step::TwoOrThree), None];

/// Returns the name of a part: the step, or `none` where the source names none.
pub fn part_name(step: Option<Step>) -> String {
    step.map_or_else(|| "none".to_owned(), |step| step.to_string())
}

/// Returns the summary of a run: the whole first, then each step that its exam has.
///
/// # Errors
///
/// [`StoreError::Incomplete`] while a question lacks its final attempt, and
/// [`StoreError::Ledger`] if the counts of a part do not add up.
pub fn summarise(run: &Run) -> Result<Summary, StoreError> {
    let (answered, asked) = (run.answered.questions, run.asked().count());
    if answered < asked {
        return Err(StoreError::Incomplete { path: run.folder.clone(), answered, asked });
    }
    let has = |step| run.exam.questions.iter().any(|question| question.step == step);
    let mut parts = vec![part(run, "all".into(), |_| true)?];
    for step in STEPS.into_iter().filter(|&step| has(step)) {
        parts.push(part(run, part_name(step), |question| question.step == step)?);
    }
    Ok(Summary {
        format_version: FORMAT_VERSION,
        run_id: run.manifest.run_id.clone(),
        attempts_sha256: run.attempts_sha256.clone(),
        protocol: run.manifest.protocol.clone(),
        parts,
    })
}

fn part(run: &Run, name: String, includes: impl Fn(&Question) -> bool) -> Result<Part, StoreError> {
    let selection = &run.manifest.selection;
    let questions = || run.exam.questions.iter().filter(|question| includes(question));
    let answered: Vec<_> = run.answered().filter(|(question, _)| includes(question)).collect();
    let left_out =
        |reasons: &BTreeMap<_, _>| questions().filter(|q| reasons.contains_key(&q.id)).count();
    let mut ledger = Ledger {
        total: questions().count(),
        excluded: left_out(&selection.excluded),
        not_run: left_out(&selection.not_run),
        ..Ledger::default()
    };
    let mut letters = 0;
    for (question, attempts) in &answered {
        let last = last(attempts);
        ledger.count(last.outcome);
        letters += usize::from(last.letter == Some(question.answer));
    }
    let accuracies = Accuracies::of(&ledger, letters, run.protocol.reading.denominator)
        .map_err(|source| StoreError::Ledger { path: run.folder.clone(), source })?;
    Ok(Part {
        name,
        ledger,
        accuracies,
        baselines: Baselines::of(answered.iter().map(|(question, _)| *question)),
        accuracy_at_attempt: accuracy_at_attempt(&answered),
        attempts_histogram: histogram(&answered),
        retries: retry_effect(&answered),
    })
}

type Answered<'a> = [(&'a Question, &'a [AttemptRecord])];

fn last(attempts: &[AttemptRecord]) -> &AttemptRecord {
    attempts.last().expect("an answered question has a final attempt")
}

fn is_correct(attempt: &AttemptRecord) -> bool {
    attempt.outcome == Outcome::Correct
}

/// What the score would be with at most 1, 2, … attempts, up to the most that were taken.
fn accuracy_at_attempt(answered: &Answered<'_>) -> Vec<Proportion> {
    let most = answered.iter().map(|(_, attempts)| attempts.len()).max().unwrap_or(0);
    (1..=most)
        .filter_map(|k| {
            let right = answered
                .iter()
                .filter(|(_, attempts)| is_correct(&attempts[k.min(attempts.len()) - 1]))
                .count();
            Proportion::of(right, answered.len())
        })
        .collect()
}

fn histogram(answered: &Answered<'_>) -> Vec<usize> {
    let mut counts = Vec::new();
    for (_, attempts) in answered {
        if counts.len() < attempts.len() {
            counts.resize(attempts.len(), 0);
        }
        counts[attempts.len() - 1] += 1;
    }
    counts
}

fn retry_effect(answered: &Answered<'_>) -> RetryEffect {
    let mut effect = RetryEffect::default();
    for (_, attempts) in answered.iter().filter(|(_, attempts)| attempts.len() > 1) {
        let (first, last) = (is_correct(&attempts[0]), is_correct(last(attempts)));
        effect.retried += 1;
        effect.gained += usize::from(last && !first);
        effect.lost += usize::from(first && !last);
    }
    effect
}
