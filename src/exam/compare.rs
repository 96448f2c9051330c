//! An exam's answers against another source of them: an official key, or another edition.
//!
//! A key is matched by question id. Another exam is matched by the questions' text, because editions
//! number differently: the most similar question counts if the two share at least
//! [`SAME_QUESTION`](super::SAME_QUESTION) of their five-word runs; the texts of the right options are then compared.

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{
    Defect, Exam, ExamError, FieldProblem, Finding, Letter, Place, Question, QuestionId,
    json::Json, normal::Shingled, normalized, source::Source,
};

/// What a comparison found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The other source.
    pub with: String,
    /// Questions found in both.
    pub compared: usize,
    /// Of these, with the same answer.
    pub agreeing: usize,
    /// Questions of the exam that the other source lacks.
    pub only_here: usize,
    /// Questions of the other source that the exam lacks.
    pub only_there: usize,
    /// The answers that differ, as errors.
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// An official answer key: `{"step1": {"1": "A", …}, …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerKey {
    path: std::path::PathBuf,
    answers: BTreeMap<QuestionId, (Letter, Place)>,
}

impl AnswerKey {
    /// Reads the key; an id is the two keys joined, `step1/1`.
    ///
    /// # Errors
    ///
    /// [`ExamError`] with file, line and field.
    pub fn read(path: &Path) -> Result<Self, ExamError> {
        let source = Source::read(path)?;
        let json = Json::parse(path, &source.text, 1)?;
        let mut answers = BTreeMap::new();
        for (part, numbers) in json.entries(path, "file")? {
            for (number, letter) in numbers.entries(path, part)? {
                let field = format!("{part}.{number}");
                let place = Place::new(path, letter.line, &field);
                let id = QuestionId(format!("{part}/{number}"));
                let answer = (letter.letter(path, &field)?, place.clone());
                if answers.insert(id, answer).is_some() {
                    return Err(ExamError::Field { place, problem: FieldProblem::Repeated });
                }
            }
        }
        Ok(Self { path: path.to_owned(), answers })
    }

    /// Compares the answers of `exam` with the key's.
    ///
    /// # Errors
    ///
    /// [`ExamError::ForeignKey`] if they have no question in common.
    pub fn compare(&self, exam: &Exam) -> Result<Comparison, ExamError> {
        let with = self.path.display().to_string();
        let mut comparison = Comparison::new(with.clone(), exam.questions.len());
        let mut seen = std::collections::BTreeSet::new();
        for question in &exam.questions {
            let Some((letter, place)) = self.answers.get(&question.id) else { continue };
            seen.insert(&question.id);
            let defect = Defect::AnswerDiffers {
                here: question.answer.to_string(),
                there: letter.to_string(),
                file: with.clone(),
                there_id: question.id.clone(),
            };
            comparison.count(*letter == question.answer, || {
                Finding::new(Some(&question.id), place.clone(), defect)
            });
        }
        if comparison.compared == 0 {
            let (keys, exam) = (self.answers.len(), exam.name.clone());
            return Err(ExamError::ForeignKey { path: self.path.clone(), keys, exam });
        }
        comparison.only_there = self.answers.len() - seen.len();
        Ok(comparison)
    }
}

impl Comparison {
    fn new(with: String, questions: usize) -> Self {
        let findings = Vec::new();
        Self { with, compared: 0, agreeing: 0, only_here: questions, only_there: 0, findings }
    }

    fn count(&mut self, agrees: bool, finding: impl FnOnce() -> Finding) {
        self.compared += 1;
        self.only_here -= 1;
        if agrees {
            self.agreeing += 1;
        } else {
            self.findings.push(finding());
        }
    }

    /// Compares the answers of the questions that `exam` and `other`, named `with`, share.
    pub fn of_exams(exam: &Exam, other: &Exam, with: &str) -> Self {
        let others = Shingled::new(&other.questions);
        let mut comparison = Self::new(with.to_owned(), exam.questions.len());
        let mut matched = std::collections::BTreeSet::new();
        for (index, question) in exam.questions.iter().enumerate() {
            let Some(twin) = others.most_similar(&question.text) else { continue };
            let twin = &other.questions[twin];
            matched.insert(&twin.id);
            let (here, there) = (answer_text(question), answer_text(twin));
            let agrees = normalized(&here) == normalized(&there);
            comparison.count(agrees, || {
                let place = exam.answer_places.get(index).cloned();
                let place = place.unwrap_or_else(|| Place::new(Path::new(&exam.name), 0, "answer"));
                let (file, there_id) = (with.to_owned(), twin.id.clone());
                let defect = Defect::AnswerDiffers { here, there, file, there_id };
                Finding::new(Some(&question.id), place, defect)
            });
        }
        comparison.only_there = other.questions.len() - matched.len();
        comparison
    }
}

/// Text of the right option; the letter alone where it is not offered.
fn answer_text(question: &Question) -> String {
    match question.option(question.answer) {
        Some(text) => text.to_owned(),
        None => format!("{}, not offered", question.answer),
    }
}
