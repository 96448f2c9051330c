//! Recorded answers in the place of a model: the evaluator reads them as if they were new.
//!
//! What is not recorded is an error of that attempt, counted as such and never as wrong.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Capabilities, Completion, LogLikelihood, Model, ModelError, ModelIdentity, Prompt, Request,
    Sampling,
};
use crate::{
    exam::{Exam, Letter, Question, QuestionId},
    protocol::FinishReason,
    store::identify_file,
};

/// One line of recorded answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedAnswer {
    /// The question.
    pub id: QuestionId,
    /// The attempt, 1 if left out.
    #[serde(default = "first")]
    pub attempt: u32,
    /// The reply; left out where only options were scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it ended, `unknown` if left out.
    #[serde(default = "unknown")]
    pub finish_reason: FinishReason,
    /// Natural-log probability of each option, for protocols that score options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub log_probs: BTreeMap<Letter, f64>,
}

fn first() -> u32 {
    1
}

fn unknown() -> FinishReason {
    FinishReason::Unknown
}

/// Why recorded answers cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// Not a [`RecordedAnswer`].
    #[error("line {line}")]
    Line {
        /// Line number, from 1.
        line: usize,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// Two answers to one attempt.
    #[error("line {line}: question `{id}`, attempt {attempt} is recorded twice")]
    Duplicate {
        /// Line number of the second, from 1.
        line: usize,
        /// The question.
        id: QuestionId,
        /// The attempt.
        attempt: u32,
    },
    /// An answer to a question that the exam does not have.
    #[error("line {line}: the exam `{exam}` has no question `{id}`")]
    NotInExam {
        /// Line number, from 1.
        line: usize,
        /// The question.
        id: QuestionId,
        /// The exam.
        exam: String,
    },
    /// No line holds an answer.
    #[error("no recorded answers")]
    Empty,
}

/// Recorded answers, by question and attempt.
#[derive(Debug, Clone)]
pub struct Replay {
    identity: ModelIdentity,
    answers: BTreeMap<(QuestionId, u32), RecordedAnswer>,
    questions: BTreeMap<QuestionId, Question>,
}

impl Replay {
    /// Reads recorded answers to the questions of `exam`, or to any where it is `None`. Blank lines
    /// are passed over.
    ///
    /// # Errors
    ///
    /// [`ModelError::Load`] names the file and the line.
    pub fn open(path: &Path, exam: Option<&Exam>) -> Result<Self, ModelError> {
        let load = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Load {
            path: path.display().to_string(),
            source,
        };
        let text = fs::read_to_string(path).map_err(|error| load(error.into()))?;
        let questions: BTreeMap<_, _> = exam
            .iter()
            .flat_map(|exam| &exam.questions)
            .map(|question| (question.id.clone(), question.clone()))
            .collect();
        let answers = parse(&text, exam.map(|exam| (&*exam.name, &questions)))
            .map_err(|error| load(error.into()))?;
        let file = identify_file(path).map_err(|error| load(error.into()))?;
        let name = path.file_stem().map(PathBuf::from).unwrap_or_default();
        let identity = ModelIdentity {
            sha256: Some(file.sha256.clone()),
            files: vec![file],
            ..ModelIdentity::new(name.display().to_string(), "replay")
        };
        Ok(Self { identity, answers, questions })
    }

    fn not_recorded(&self, id: &QuestionId, attempt: u32) -> ModelError {
        ModelError::NotRecorded { model: self.identity.name.clone(), id: id.clone(), attempt }
    }

    /// The recorded log-probability of a continuation: of the letter, or of that option's text.
    fn log_prob(&self, request: &Request) -> Option<(f64, bool)> {
        let recorded = &self.answers.get(&(request.id.clone(), 1))?.log_probs;
        let scored = request.continuation.trim();
        let letter =
            recorded.keys().copied().find(|letter| scored == letter.to_string()).or_else(|| {
                let options = &self.questions.get(&request.id)?.options;
                options.iter().find(|option| option.text.trim() == scored).map(|o| o.letter)
            })?;
        let log_prob = *recorded.get(&letter)?;
        Some((log_prob, recorded.values().all(|other| *other <= log_prob)))
    }
}

fn parse(
    text: &str,
    exam: Option<(&str, &BTreeMap<QuestionId, Question>)>,
) -> Result<BTreeMap<(QuestionId, u32), RecordedAnswer>, ReplayError> {
    let mut answers = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, json) in text.lines().enumerate().filter(|(_, json)| !json.trim().is_empty()) {
        let line = index + 1;
        let answer: RecordedAnswer =
            serde_json::from_str(json).map_err(|source| ReplayError::Line { line, source })?;
        let (id, attempt) = (answer.id.clone(), answer.attempt);
        if let Some((name, questions)) = exam
            && !questions.contains_key(&id)
        {
            return Err(ReplayError::NotInExam { line, id, exam: name.to_owned() });
        }
        if answers.insert((id.clone(), attempt), answer).is_some() {
            return Err(ReplayError::Duplicate { line, id, attempt });
        }
    }
    if answers.is_empty() { Err(ReplayError::Empty) } else { Ok(answers) }
}

impl Model for Replay {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            generate: self.answers.values().any(|answer| answer.text.is_some()),
            log_likelihood: self.answers.values().any(|answer| !answer.log_probs.is_empty()),
            tokens: false,
        }
    }

    fn generate(
        &mut self,
        prompts: &[Prompt],
        _sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        let completion = |prompt: &Prompt| {
            let answer = self.answers.get(&(prompt.id.clone(), prompt.attempt));
            let recorded =
                answer.and_then(|answer| Some((answer.text.clone()?, answer.finish_reason)));
            let error = recorded.is_none();
            let error = error.then(|| self.not_recorded(&prompt.id, prompt.attempt).to_string());
            let (text, finish_reason) = recorded.unwrap_or((String::new(), FinishReason::Unknown));
            Completion { text, finish_reason, prompt_ids: Vec::new(), completion_tokens: 0, error }
        };
        Ok(prompts.iter().map(completion).collect())
    }

    /// A question without recorded log-probabilities gets NaN, which is an error of that attempt.
    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        let score = |request: &Request| {
            let (log_prob, is_greedy) = self.log_prob(request).unwrap_or((f64::NAN, false));
            LogLikelihood { log_prob, tokens: 1, is_greedy, prompt_ids: Vec::new(), error: None }
        };
        Ok(requests.iter().map(score).collect())
    }
}
