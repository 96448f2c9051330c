//! Where two runs part: the first question, attempt and place at which they are not the same.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    exam::QuestionId,
    store::{AttemptRecord, OptionScore, Run},
};

/// The first place at which two runs differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// The question, the first in the exam order of A.
    pub question_id: QuestionId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How many questions before it were the same in both.
    pub same_before: usize,
    /// How many of the questions in common are not the same.
    pub differing: usize,
    /// How many questions both asked.
    pub common: usize,
    /// What differs there.
    pub at: Parting,
}

/// What differs first in an attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Parting {
    /// The prompts: everything after is a consequence.
    Prompt {
        /// sha256 of the prompt, or its first ids where the text is the same.
        a: String,
        /// The same of B.
        b: String,
    },
    /// The replies.
    Text {
        /// Position of the first character that differs, from 0.
        character: usize,
        /// Position of the word it is in, from 0.
        word: usize,
        /// What both say before it, at most 40 characters.
        before: String,
        /// How A goes on, at most 40 characters; empty if it ends.
        a: String,
        /// How B goes on.
        b: String,
    },
    /// The scores of the options.
    Scores {
        /// The largest difference of a log-probability.
        largest_difference: f64,
        /// By how much the best option of A leads the second best.
        margin_a: f64,
        /// The same of B.
        margin_b: f64,
    },
    /// The same reply, but not the same record of it.
    Record {
        /// A's, e.g. its outcome, finish reason or error.
        a: String,
        /// B's.
        b: String,
    },
    /// One of them went on asking.
    Attempts {
        /// Attempts in A.
        a: usize,
        /// Attempts in B.
        b: usize,
    },
}

/// Characters shown on each side of a parting.
const SHOWN: usize = 40;

/// Returns where the runs part on the questions that both have answered; `None` if they do not.
pub fn diverge(a: &Run, b: &Run) -> Option<Divergence> {
    let in_b: BTreeMap<&QuestionId, &[AttemptRecord]> =
        b.answered().map(|(question, attempts)| (&question.id, attempts)).collect();
    let pairs: Vec<_> = a
        .answered()
        .filter_map(|(question, attempts)| Some((&question.id, attempts, *in_b.get(&question.id)?)))
        .collect();
    let differs = |(_, a, b): &(&QuestionId, &[AttemptRecord], &[AttemptRecord])| parting(a, b);
    let same_before = pairs.iter().take_while(|pair| differs(pair).is_none()).count();
    let first = pairs.get(same_before)?;
    let (attempt, at) = differs(first)?;
    let differing = pairs.iter().filter(|pair| differs(pair).is_some()).count();
    let question_id = first.0.clone();
    Some(Divergence { question_id, attempt, same_before, differing, common: pairs.len(), at })
}

fn parting(a: &[AttemptRecord], b: &[AttemptRecord]) -> Option<(u32, Parting)> {
    let first = a.iter().zip(b).find_map(|(a, b)| Some((a.attempt, attempt_parting(a, b)?)));
    first.or_else(|| {
        let shorter = a.len().min(b.len());
        let attempt = a.iter().chain(b).map(|record| record.attempt).nth(shorter)?;
        (a.len() != b.len()).then_some((attempt, Parting::Attempts { a: a.len(), b: b.len() }))
    })
}

fn attempt_parting(a: &AttemptRecord, b: &AttemptRecord) -> Option<Parting> {
    if a.prompt_sha256 != b.prompt_sha256 {
        let (a, b) = (a.prompt_sha256.clone(), b.prompt_sha256.clone());
        return Some(Parting::Prompt { a, b });
    }
    let ids = |record: &AttemptRecord| {
        (record.prompt_tokens, record.prompt_first_ids.clone(), record.prompt_last_ids.clone())
    };
    if ids(a) != ids(b) {
        let words = |record: &AttemptRecord| {
            let AttemptRecord { prompt_tokens, prompt_first_ids, prompt_last_ids, .. } = record;
            format!("{prompt_tokens} tokens {prompt_first_ids:?} … {prompt_last_ids:?}")
        };
        return Some(Parting::Prompt { a: words(a), b: words(b) });
    }
    if a.text != b.text {
        return Some(text_parting(&a.text, &b.text));
    }
    if a.scores != b.scores {
        return Some(Parting::Scores {
            largest_difference: largest_difference(&a.scores, &b.scores),
            margin_a: margin(&a.scores),
            margin_b: margin(&b.scores),
        });
    }
    let rest = |record: &AttemptRecord| {
        let AttemptRecord { reading, outcome, finish_reason, error, is_final, .. } = record;
        let last = if *is_final { "last" } else { "asked again" };
        format!("{outcome:?}, {reading:?}, {finish_reason:?}, {last}, error {error:?}")
    };
    (rest(a) != rest(b)).then(|| Parting::Record { a: rest(a), b: rest(b) })
}

fn text_parting(a: &str, b: &str) -> Parting {
    let character = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let common: String = a.chars().take(character).collect();
    let shown_from = character.saturating_sub(SHOWN);
    let rest = |text: &str| text.chars().skip(character).take(SHOWN).collect();
    let inside = common.ends_with(|c: char| !c.is_whitespace());
    Parting::Text {
        character,
        word: common.split_whitespace().count() - usize::from(inside),
        before: common.chars().skip(shown_from).collect(),
        a: rest(a),
        b: rest(b),
    }
}

fn largest_difference(a: &[OptionScore], b: &[OptionScore]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.log_prob - b.log_prob).abs()).fold(0.0, f64::max)
}

/// By how much the best score leads the second best; 0 for fewer than two.
fn margin(scores: &[OptionScore]) -> f64 {
    let mut sorted: Vec<f64> = scores.iter().map(|score| score.log_prob).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    match sorted[..] {
        [best, second, ..] => best - second,
        _ => 0.0,
    }
}
