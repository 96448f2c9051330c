//! Recorded answers under any reading rule, or under all of them side by side.
//!
//! Guarantees that every answer of the file is counted in one place: left out by a label, another
//! attempt at a question that counts once, missing, or read; and under each rule right, wrong or
//! unparsed. Nothing is counted over zero answers. Which rule is right is left to the reader.
//!
//! [`Rescoring`] is also the JSON of `medharness rescore --format json`; its fields are stable:
//!
//! | field | what |
//! |---|---|
//! | `format_version` | [`FORMAT_VERSION`] |
//! | `source` | [`Source`]: layout, name and digest of the file |
//! | `selection` | [`Selection`]: what was chosen, what was left out |
//! | `replies` | [`Replies`]: what there is to read |
//! | `marks` | [`Marks`]: what the file itself says; null if it says nothing |
//! | `rules[]` | [`RuleResult`], one a rule, in the order of [`RuleId::ALL`] |
//! | `published` | [`Published`]: a printed accuracy against them; null without one |
//! | `agreement[]` | [`Agreement`], one a pair of rules that apply |
//! | `groups[]` | [`Group`], one a combination of the labels asked for |
//! | `flips[]` | [`Flip`], one an answer that two rules read differently; empty unless asked for |
//!
//! A share is `{successes, trials, value, wilson, clopper_pearson}` with 95 % intervals; it is null
//! where `trials` would be 0.

mod readings;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use thiserror::Error;

use self::readings::{Readings, loops, marks};
use crate::{
    models::{Recorded, Shape, Transcript},
    protocol::RuleId,
    stats::PrintedShare,
};
pub use readings::{Agreement, Counts, Flip, Loops, Marked, Marks, RuleResult};

/// Version of the JSON.
pub const FORMAT_VERSION: u32 = 1;

/// What to rescore, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The rules, without repetition.
    pub rules: Vec<RuleId>,
    /// Labels that an answer must have, e.g. `category` `health`; all of them.
    pub only: Vec<(String, String)>,
    /// Labels to group by.
    pub by: Vec<String>,
    /// Which attempt at a question counts.
    pub attempt: WhichAttempt,
    /// Whether to list the answers that two rules read differently.
    pub flips: bool,
    /// An accuracy that somebody printed for these answers.
    pub published: Option<PrintedShare>,
}

/// Which of several attempts at a question counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WhichAttempt {
    /// The first.
    First,
    /// The last recorded: the one that counts in the run.
    #[default]
    Last,
}

/// Answers under rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rescoring {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// What was read.
    pub source: Source,
    /// What was chosen out of it.
    pub selection: Selection,
    /// What there is to read.
    pub replies: Replies,
    /// What the file itself says.
    pub marks: Option<Marks>,
    /// Each rule's counts and accuracies.
    pub rules: Vec<RuleResult>,
    /// A printed accuracy against them.
    pub published: Option<Published>,
    /// How far each pair of rules reads the same.
    pub agreement: Vec<Agreement>,
    /// The same by labels.
    pub groups: Vec<Group>,
    /// Answers that two rules read differently.
    pub flips: Vec<Flip>,
}

/// Which file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Source {
    /// Its layout.
    pub shape: Shape,
    /// Its name without folders.
    pub name: String,
    /// Hex sha256 of its bytes; of `attempts.jsonl` for a run.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Selection {
    /// Labels asked for, `name=value`.
    pub only: Vec<String>,
    /// Which attempt counts.
    pub attempt: WhichAttempt,
    /// Answers in the file: the sum of the next three.
    pub recorded: usize,
    /// Answers without the labels asked for.
    pub left_out: usize,
    /// Other attempts at questions that are counted.
    pub other_attempts: usize,
    /// Answers that count.
    pub answers: usize,
}

/// What there is to read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replies {
    /// Answers without any reply, by id, with the reason.
    pub missing: BTreeMap<String, String>,
    /// Answers whose reply has no visible character, by id.
    pub empty: Vec<String>,
    /// Answers without a right letter: read, but in no accuracy.
    pub without_gold: usize,
    /// Questions of the exam or run that have no answer at all.
    pub not_recorded: Vec<String>,
    /// Letters that questions without recorded options are taken to offer; null where all have them.
    pub assumed_letters: Option<String>,
    /// What was done to tell answers apart.
    pub notes: Vec<String>,
    /// Replies that end in a loop.
    pub loops: Loops,
}

/// A printed accuracy against the rules.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// As printed, in percent.
    pub percent: String,
    /// Answers it is taken to be a share of.
    pub asked: usize,
    /// Numbers of right answers that print so.
    pub counts: Vec<usize>,
    /// Rules whose strict count is one of them.
    pub equal: Vec<RuleId>,
    /// Rules that reach one of them if some of the missing replies were right.
    pub with_missing: Vec<RuleId>,
}

/// One combination of labels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The labels asked for, an absent one as an empty text.
    pub labels: BTreeMap<String, String>,
    /// Its answers.
    pub answers: usize,
    /// What the file itself says of them.
    pub marks: Option<Marks>,
    /// Counts by rule; null as in [`RuleResult::counts`].
    pub rules: BTreeMap<RuleId, Option<Counts>>,
}

/// Why there is nothing to show.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RescoreError {
    /// No answer has this label.
    #[error("no answer has the label `{label}`; there are {known}")]
    UnknownLabel {
        /// As given.
        label: String,
        /// Labels there are.
        known: String,
    },
    /// No answer has all labels asked for.
    #[error("none of {recorded} answers has {only}")]
    NothingSelected {
        /// Answers of the file.
        recorded: usize,
        /// Labels asked for.
        only: String,
    },
}

impl Rescoring {
    /// Reads the chosen answers of `transcript` by the rules asked for.
    ///
    /// # Errors
    ///
    /// [`RescoreError`] if a label does not exist or nothing is chosen.
    pub fn new(transcript: &Transcript, request: &Request) -> Result<Self, RescoreError> {
        check_labels(transcript, request)?;
        let has_labels = |answer: &&Recorded| {
            request.only.iter().all(|(name, value)| answer.labels.get(name) == Some(value))
        };
        let labelled: Vec<&Recorded> = transcript.answers.iter().filter(has_labels).collect();
        let answers = one_attempt(&labelled, request.attempt);
        let only: Vec<_> =
            request.only.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let recorded = transcript.answers.len();
        if answers.is_empty() {
            return Err(RescoreError::NothingSelected { recorded, only: only.join(" and ") });
        }
        let readings = Readings::new(&answers, &request.rules);
        let rules = readings.results();
        let file = transcript.file.clone();
        Ok(Self {
            format_version: FORMAT_VERSION,
            source: Source {
                shape: transcript.shape,
                name: file.name,
                sha256: file.sha256,
                bytes: file.bytes,
            },
            selection: Selection {
                only,
                attempt: request.attempt,
                recorded,
                left_out: recorded - labelled.len(),
                other_attempts: labelled.len() - answers.len(),
                answers: answers.len(),
            },
            replies: Replies::new(transcript, &answers),
            marks: marks(&answers),
            published: request
                .published
                .as_ref()
                .and_then(|printed| Published::new(printed, &rules)),
            agreement: readings.agreement(),
            groups: groups(&answers, request),
            flips: if request.flips { readings.flips() } else { Vec::new() },
            rules,
        })
    }
}

impl Replies {
    fn new(transcript: &Transcript, answers: &[&Recorded]) -> Self {
        let missing = answers.iter().filter_map(|answer| {
            answer.reply.as_ref().err().map(|reason| (answer.id.clone(), reason.clone()))
        });
        let is_empty =
            |answer: &&&Recorded| answer.reply.as_ref().is_ok_and(|reply| reply.trim().is_empty());
        Self {
            missing: missing.collect(),
            empty: answers.iter().filter(is_empty).map(|answer| answer.id.clone()).collect(),
            without_gold: answers.iter().filter(|answer| answer.gold.is_none()).count(),
            not_recorded: transcript.not_recorded.iter().map(|id| id.0.clone()).collect(),
            assumed_letters: transcript.assumed_letters.clone(),
            notes: transcript.notes.clone(),
            loops: loops(answers),
        }
    }
}

impl Published {
    /// `None` where no answer has a right letter.
    fn new(printed: &PrintedShare, rules: &[RuleResult]) -> Option<Self> {
        let asked = rules.iter().find_map(|rule| rule.counts)?.asked;
        let counts: Vec<usize> = printed.counts(asked).collect();
        let with = |holds: &dyn Fn(Counts, usize) -> bool| {
            let fits = |rule: &&RuleResult| {
                rule.counts.is_some_and(|own| counts.iter().any(|count| holds(own, *count)))
            };
            rules.iter().filter(fits).map(|rule| rule.rule).collect()
        };
        Some(Self {
            percent: printed.text().to_owned(),
            asked,
            equal: with(&|own, count| own.right == count),
            with_missing: with(&|own, count| {
                own.missing > 0 && (own.right..=own.right + own.missing).contains(&count)
            }),
            counts,
        })
    }
}

/// Refuses labels that no answer has.
fn check_labels(transcript: &Transcript, request: &Request) -> Result<(), RescoreError> {
    let known: BTreeSet<&str> = transcript
        .answers
        .iter()
        .flat_map(|answer| answer.labels.keys())
        .map(|name| &**name)
        .collect();
    let asked = request.only.iter().map(|(name, _)| name).chain(&request.by);
    for label in asked {
        if !known.contains(&**label) {
            let known = match known.is_empty() {
                true => "none".into(),
                false => known.into_iter().collect::<Vec<_>>().join(", "),
            };
            return Err(RescoreError::UnknownLabel { label: label.clone(), known });
        }
    }
    Ok(())
}

/// One answer per id, in the order in which ids first occur.
fn one_attempt<'a>(answers: &[&'a Recorded], which: WhichAttempt) -> Vec<&'a Recorded> {
    let mut chosen: Vec<&Recorded> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for answer in answers {
        match places.get(&*answer.id) {
            None => {
                places.insert(&answer.id, chosen.len());
                chosen.push(answer);
            }
            Some(place) => {
                let better = match which {
                    WhichAttempt::First => answer.attempt < chosen[*place].attempt,
                    WhichAttempt::Last => answer.attempt > chosen[*place].attempt,
                };
                if better {
                    chosen[*place] = answer;
                }
            }
        }
    }
    chosen
}

/// The answers by the labels asked for, in the order of their values.
fn groups(answers: &[&Recorded], request: &Request) -> Vec<Group> {
    if request.by.is_empty() {
        return Vec::new();
    }
    let mut parts: BTreeMap<Vec<&str>, Vec<&Recorded>> = BTreeMap::new();
    for answer in answers {
        let value = |name: &String| answer.labels.get(name).map_or("", |value| &**value);
        parts.entry(request.by.iter().map(value).collect()).or_default().push(answer);
    }
    let group = |(values, answers): (Vec<&str>, Vec<&Recorded>)| {
        let labels = request.by.iter().cloned().zip(values.into_iter().map(str::to_owned));
        let results = Readings::new(&answers, &request.rules).results();
        Group {
            labels: labels.collect(),
            answers: answers.len(),
            marks: marks(&answers),
            rules: results.into_iter().map(|result| (result.rule, result.counts)).collect(),
        }
    };
    parts.into_iter().map(group).collect()
}
