//! What `exam check` says about an exam, as data: counts, defects, identity, baselines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    Baselines, Comparison, Exam, ExamFile, Finding, Format, Letter, Question, QuestionId, Severity,
    Step,
};

/// Everything known about an exam without asking a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// The layout it was read from.
    pub format: Format,
    /// The files read.
    pub files: Vec<ExamFile>,
    /// sha256 of the canonical form: the digest of the converted file.
    pub sha256: String,
    /// The whole exam first, then each step that occurs, then the questions without a step.
    pub parts: Vec<Part>,
    /// Excluded questions, with the reason.
    pub excluded: BTreeMap<QuestionId, String>,
    /// Findings of severity error, those on excluded questions too.
    pub errors: usize,
    /// Errors that forbid to ask the exam: those not on an excluded question.
    pub blocking: usize,
    /// Findings of severity warning.
    pub warnings: usize,
    /// Every defect, errors first.
    pub findings: Vec<Finding>,
    /// Comparisons with keys and other exams, in the order they were asked for.
    pub comparisons: Vec<Comparison>,
}

/// The exam as a whole or one step. All but the first three counts are over the questions asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// `all`, or the step: `1`, `2`, `3`, `2&3`, `none`.
    pub name: String,
    /// Questions of the source.
    pub total: usize,
    /// Left out.
    pub excluded: usize,
    /// Asked: total less excluded.
    pub asked: usize,
    /// Questions by their number of options.
    pub option_counts: BTreeMap<usize, usize>,
    /// Questions by the letter of their answer.
    pub answers: BTreeMap<Letter, usize>,
    /// Questions with a character beyond ASCII in question or options.
    pub non_ascii: usize,
    /// `None` if nothing is asked.
    pub baselines: Option<Baselines>,
}

impl Report {
    /// Returns the report of `exam`, its findings followed by those of `comparisons`.
    pub fn new(exam: &Exam, comparisons: Vec<Comparison>) -> Self {
        let compared = comparisons.iter().flat_map(|comparison| &comparison.findings);
        let mut findings: Vec<Finding> = exam.findings.iter().chain(compared).cloned().collect();
        findings.sort_by_key(|finding| finding.severity);
        let count = |severity| findings.iter().filter(|found| found.severity == severity).count();
        Self {
            name: exam.name.clone(),
            format: exam.format,
            files: exam.files.clone(),
            sha256: exam.sha256(),
            parts: parts(exam),
            excluded: exam.excluded.clone(),
            errors: count(Severity::Error),
            blocking: findings.iter().filter(|finding| exam.is_blocked_by(finding)).count(),
            warnings: count(Severity::Warning),
            findings,
            comparisons,
        }
    }
}

fn parts(exam: &Exam) -> Vec<Part> {
    let steps = Step::ALL.into_iter().map(Some).chain([None]);
    let mut parts = vec![part("all".into(), exam, |_| true)];
    for step in steps {
        let name = step.map_or("none".into(), |step| step.to_string());
        let part = part(name, exam, |question| question.step == step);
        parts.extend(Some(part).filter(|part| part.total > 0));
    }
    parts
}

fn part(name: String, exam: &Exam, belongs: impl Fn(&Question) -> bool) -> Part {
    let total = exam.questions.iter().filter(|question| belongs(question)).count();
    let asked: Vec<&Question> = exam.asked().filter(|question| belongs(question)).collect();
    let mut option_counts = BTreeMap::new();
    let mut answers = BTreeMap::new();
    for question in &asked {
        *option_counts.entry(question.options.len()).or_default() += 1;
        *answers.entry(question.answer).or_default() += 1;
    }
    Part {
        name,
        total,
        excluded: total - asked.len(),
        asked: asked.len(),
        option_counts,
        answers,
        non_ascii: asked.iter().filter(|question| !is_ascii(question)).count(),
        baselines: Baselines::of(asked.iter().copied()),
    }
}

fn is_ascii(question: &Question) -> bool {
    question.text.is_ascii() && question.options.iter().all(|choice| choice.text.is_ascii())
}
