//! Canned replies: for tests, for setting up a CI before there is a model, and as baselines.

use std::{collections::BTreeMap, fmt, str::FromStr, thread, time::Duration};

use super::{
    Capabilities, Completion, LogLikelihood, Model, ModelError, ModelIdentity, Prompt, Request,
    Sampling,
};
use crate::{
    exam::{Exam, Letter, Question, QuestionId},
    protocol::FinishReason,
    stats::{Generator, Seed},
};

/// What a stub replies. `B: text` below stands for a letter and that option's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// `always-X`: option X with its text, X alone where it is not offered.
    Always(Letter),
    /// `letter-X`: the letter X and nothing else.
    LetterOnly(Letter),
    /// `gold`: the right option with its text.
    Gold,
    /// `longest`: the longest option with its text, the first of several.
    Longest,
    /// `noisy`: by the seed of the attempt, 55 % right, 15 % another option, the rest unreadable.
    Noisy,
    /// `empty`: nothing.
    Empty,
    /// `loop`: one word repeated to the token limit.
    Loop,
    /// `error`: no reply, but an error, for every question.
    Error,
}

impl FromStr for Behaviour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let letter = |prefix| {
            let mut chars = text.strip_prefix(prefix)?.chars();
            let letter = chars.next().and_then(Letter::from_char)?;
            chars.next().is_none().then_some(letter)
        };
        match text {
            "gold" => Ok(Self::Gold),
            "longest" => Ok(Self::Longest),
            "noisy" => Ok(Self::Noisy),
            "empty" => Ok(Self::Empty),
            "loop" => Ok(Self::Loop),
            "error" => Ok(Self::Error),
            _ => letter("always-")
                .map(Self::Always)
                .or_else(|| letter("letter-").map(Self::LetterOnly))
                .ok_or_else(|| {
                    format!(
                        "`{text}` is no stub: use gold, longest, always-X, letter-X, noisy, \
                         empty, loop or error, X being a capital letter"
                    )
                }),
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(letter) => write!(f, "always-{letter}"),
            Self::LetterOnly(letter) => write!(f, "letter-{letter}"),
            Self::Gold => f.write_str("gold"),
            Self::Longest => f.write_str("longest"),
            Self::Noisy => f.write_str("noisy"),
            Self::Empty => f.write_str("empty"),
            Self::Loop => f.write_str("loop"),
            Self::Error => f.write_str("error"),
        }
    }
}

/// A model that does not read the question.
#[derive(Debug, Clone)]
pub struct Stub {
    behaviour: Behaviour,
    delay: Duration,
    questions: BTreeMap<QuestionId, Question>,
    identity: ModelIdentity,
}

impl Stub {
    /// Returns a stub that answers the questions of `exam`.
    pub fn new(behaviour: Behaviour, exam: &Exam) -> Self {
        Self {
            behaviour,
            delay: Duration::ZERO,
            questions: exam.questions.iter().map(|q| (q.id.clone(), q.clone())).collect(),
            identity: ModelIdentity::new(format!("stub:{behaviour}"), "stub"),
        }
    }

    /// Reads `BEHAVIOUR[?delay_ms=N]`; the delay slows each reply and changes nothing else.
    ///
    /// # Errors
    ///
    /// Says what is not understood.
    pub fn parse(text: &str, exam: &Exam) -> Result<Self, String> {
        let (behaviour, delay) = match text.split_once('?') {
            None => (text, Duration::ZERO),
            Some((behaviour, option)) => {
                let ms = option.strip_prefix("delay_ms=").and_then(|ms| ms.parse().ok());
                let ms = ms.ok_or_else(|| format!("`{option}` is not `delay_ms=N`"))?;
                (behaviour, Duration::from_millis(ms))
            }
        };
        Ok(Self { delay, ..Self::new(behaviour.parse()?, exam) })
    }

    fn question(&self, id: &QuestionId, attempt: u32) -> Result<&Question, ModelError> {
        self.questions.get(id).ok_or_else(|| ModelError::NotRecorded {
            model: self.identity.name.clone(),
            id: id.clone(),
            attempt,
        })
    }

    /// The option it goes for; `None` where it goes for none.
    fn option(&self, question: &Question, seed: Seed) -> Option<Letter> {
        match self.behaviour {
            Behaviour::Always(letter) | Behaviour::LetterOnly(letter) => Some(letter),
            Behaviour::Gold => Some(question.answer),
            Behaviour::Longest => {
                // `max_by_key` would take the last of several.
                let longest = question.options.iter().map(|o| o.text.chars().count()).max()?;
                let is_longest = |text: &str| text.chars().count() == longest;
                question.options.iter().find(|o| is_longest(&o.text)).map(|o| o.letter)
            }
            Behaviour::Noisy => {
                let mut draws = Generator::new(seed);
                match draws.uniform() {
                    x if x < 0.55 => Some(question.answer),
                    x if x < 0.7 => {
                        question.options.get(draws.index(question.options.len())).map(|o| o.letter)
                    }
                    _ => None,
                }
            }
            Behaviour::Empty | Behaviour::Loop | Behaviour::Error => None,
        }
    }

    fn reply(&self, question: &Question, seed: Seed, sampling: &Sampling) -> Completion {
        let (text, finish_reason) = match self.behaviour {
            Behaviour::Loop => {
                let text = vec!["fever"; sampling.max_new_tokens].join(" ");
                (text, FinishReason::Length)
            }
            Behaviour::LetterOnly(letter) => (letter.to_string(), FinishReason::EndOfText),
            _ => (self.sentence(question, seed), FinishReason::EndOfText),
        };
        let error = (self.behaviour == Behaviour::Error).then(|| "a stub that fails".to_owned());
        Completion { text, finish_reason, prompt_ids: Vec::new(), completion_tokens: 0, error }
    }

    fn sentence(&self, question: &Question, seed: Seed) -> String {
        match self.option(question, seed) {
            Some(letter) => match question.option(letter) {
                Some(text) => format!("{letter}: {text}"),
                None => letter.to_string(),
            },
            None if self.behaviour == Behaviour::Noisy => "the findings are consistent".into(),
            None => String::new(),
        }
    }
}

impl Model for Stub {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, log_likelihood: true, tokens: false }
    }

    fn generate(
        &mut self,
        prompts: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        prompts
            .iter()
            .map(|prompt| {
                thread::sleep(self.delay);
                let question = self.question(&prompt.id, prompt.attempt)?;
                let seed = Seed(sampling.seed).derive(&prompt.id.0, prompt.attempt);
                Ok(self.reply(question, seed, sampling))
            })
            .collect()
    }

    /// -1 for the option it goes for, -2 for every other, as one token.
    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        requests
            .iter()
            .map(|request| {
                let question = self.question(&request.id, 1)?;
                let wanted = self.option(question, Seed(0).derive(&request.id.0, 1));
                let is_greedy = wanted.is_some_and(|letter| {
                    let scored = request.continuation.trim();
                    scored == letter.to_string()
                        || question.option(letter).map(str::trim) == Some(scored)
                });
                let log_prob = match self.behaviour {
                    Behaviour::Error => f64::NAN,
                    _ if is_greedy => -1.0,
                    _ => -2.0,
                };
                Ok(LogLikelihood {
                    log_prob,
                    tokens: 1,
                    is_greedy,
                    prompt_ids: Vec::new(),
                    error: None,
                })
            })
            .collect()
    }
}
