//! The data island of the page: questions, replies and readings as JSON inside the HTML file.
//!
//! The page draws questions from it a screen at a time, so that 100,000 attempts open as fast as
//! ten. Every `<` is written as an escape, so no reply can end the element it lies in.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Fate, Pair, ReportError, RunReport};
use crate::{
    exam::Question,
    protocol::{Outcome, Reading},
    store::AttemptRecord,
};

#[derive(Serialize)]
struct Island<'a> {
    rules: &'a [String],
    exams: Vec<ExamData<'a>>,
    runs: Vec<RunData<'a>>,
    pairs: &'a [Pair],
}

#[derive(Serialize)]
struct ExamData<'a> {
    #[serde(skip)]
    sha256: &'a str,
    questions: Vec<QuestionData<'a>>,
}

#[derive(Serialize)]
struct QuestionData<'a> {
    id: &'a str,
    step: String,
    text: &'a str,
    options: Vec<(char, &'a str)>,
    answer: char,
}

#[derive(Serialize)]
struct RunData<'a> {
    label: &'a str,
    exam: usize,
    why: BTreeMap<&'a str, &'a str>,
    /// One per question of the exam, in its order.
    rows: Vec<(char, Vec<AttemptData<'a>>)>,
}

#[derive(Serialize)]
struct AttemptData<'a> {
    text: &'a str,
    outcome: char,
    rules: &'a str,
    finish: String,
    #[serde(skip_serializing_if = "is_zero")]
    tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    letter: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<Vec<(char, f64, usize)>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Returns the island's JSON, safe inside a `script` element.
pub(super) fn island(runs: &[RunReport<'_>], pairs: &[Pair]) -> Result<String, ReportError> {
    let mut exams: Vec<ExamData<'_>> = Vec::new();
    let mut data = Vec::with_capacity(runs.len());
    for run in runs {
        let sha256 = &*run.records.manifest.exam.sha256;
        let exam = exams.iter().position(|exam| exam.sha256 == sha256).unwrap_or_else(|| {
            let questions = run.records.questions.iter().map(question).collect();
            exams.push(ExamData { sha256, questions });
            exams.len() - 1
        });
        data.push(run_data(run, exam));
    }
    let rules = runs.first().map_or(&[][..], |run| &run.readings.rules);
    let json = serde_json::to_string(&Island { rules, exams, runs: data, pairs })?;
    Ok(escaped(&json))
}

/// Writes `<` as an escape; in JSON it only occurs inside strings, where that means the same.
pub(super) fn escaped(json: &str) -> String {
    json.replace('<', "\\u003c")
}

fn question(question: &Question) -> QuestionData<'_> {
    QuestionData {
        id: &question.id.0,
        step: question.step.map_or_else(|| "none".to_owned(), |step| step.to_string()),
        text: &question.text,
        options: question.options.iter().map(|o| (o.letter.as_char(), &*o.text)).collect(),
        answer: question.answer.as_char(),
    }
}

fn run_data<'a>(run: &'a RunReport<'_>, exam: usize) -> RunData<'a> {
    let records = run.records;
    let rows = records.rows().into_iter().map(|row| {
        let attempts = row.attempts.iter().map(|&index| {
            let codes = run.readings.codes.get(index).map_or("", String::as_str);
            attempt_data(&records.attempts[index], codes)
        });
        (fate_code(row.fate), attempts.collect())
    });
    let rows = rows.collect();
    let why = records
        .questions
        .iter()
        .filter_map(|question| Some((&*question.id.0, records.why_not_asked(&question.id)?)));
    RunData { label: &records.label, exam, why: why.collect(), rows }
}

fn attempt_data<'a>(attempt: &'a AttemptRecord, rules: &'a str) -> AttemptData<'a> {
    let scores = attempt.scores.iter().map(|s| (s.letter.as_char(), s.log_prob, s.tokens));
    AttemptData {
        text: &attempt.text,
        outcome: outcome_code(attempt.outcome),
        rules,
        finish: name(&attempt.finish_reason),
        tokens: attempt.completion_tokens,
        letter: match attempt.reading {
            Reading::Letter { letter } | Reading::Default { letter } => Some(letter.as_char()),
            _ => None,
        },
        reason: match attempt.outcome {
            Outcome::Unparsed { reason } => Some(name(&reason)),
            _ => None,
        },
        error: attempt.error.as_deref(),
        scores: (!attempt.scores.is_empty()).then(|| scores.collect()),
    }
}

fn fate_code(fate: Fate) -> char {
    match fate {
        Fate::Asked(outcome) => outcome_code(outcome),
        Fate::Excluded => 'x',
        Fate::NotRun => 'n',
    }
}

fn outcome_code(outcome: Outcome) -> char {
    match outcome {
        Outcome::Correct => 'c',
        Outcome::Wrong => 'w',
        Outcome::Unparsed { .. } => 'u',
        _ => 'e',
    }
}

/// The name of a plain variant in records, e.g. `end_of_text`.
fn name(variant: &impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}
