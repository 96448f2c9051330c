//! A protocol's file: its fields, its checks, its identity.
//!
//! Guarantees that a [`Protocol`] in hand is consistent and that its [`Protocol::sha256`] is the
//! digest of the very bytes it was read from, which every number carries. What a reply means is
//! left to [`read`].

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    Bos, FinishReason, Normalisation, PromptTemplate, Reading, RuleId, RuleReading, Sampling,
    Score, argmax, read,
};
use crate::exam::{Exam, Question, QuestionId, Step};

/// The protocols that are part of the program, by id.
const BUILTIN: [(&str, &str); 7] = [
    ("paper-2023-04", include_str!("../../golden/protocols/paper-2023-04.toml")),
    ("medalpaca-fixed", include_str!("../../golden/protocols/medalpaca-fixed.toml")),
    ("notebook-2023-04-02", include_str!("../../golden/protocols/notebook-2023-04-02.toml")),
    ("strict-v1", include_str!("../../golden/protocols/strict-v1.toml")),
    ("mmlu-letter", include_str!("../../golden/protocols/mmlu-letter.toml")),
    ("medqa-text", include_str!("../../golden/protocols/medqa-text.toml")),
    ("medqa-text-norm", include_str!("../../golden/protocols/medqa-text-norm.toml")),
];

/// How an exam is asked and its replies are read: one TOML file, every field required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocol {
    /// Names the protocol in tables and on the command line.
    pub id: String,
    /// One line for people.
    pub title: String,
    /// Where it is from, and which parts of it are inferred.
    pub source: String,
    /// What is known to differ from that source.
    pub departures: Vec<String>,
    /// What stands before a prompt's first token.
    pub bos: Bos,
    /// Whether the first question of each step is left out, as the paper's script did.
    pub skip_first_question_of_step: bool,
    /// The prompt.
    pub prompt: PromptTemplate,
    /// How a reply or a score comes about.
    pub decoding: Decoding,
    /// How often a question is asked.
    pub attempts: Attempts,
    /// How a reply is read and what it counts over.
    pub reading: ReadingRule,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    sha256: String,
}

/// How an answer is obtained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Decoding {
    /// The most likely token each time.
    Greedy {
        /// Upper bound on new tokens.
        max_new_tokens: usize,
        /// Strings that end the reply and are no part of it.
        stop: Vec<String>,
    },
    /// Tokens are drawn.
    Sampling {
        /// Softmax temperature, > 0.
        temperature: f64,
        /// Keep the `k` most likely tokens; 0 keeps all.
        top_k: usize,
        /// Keep the smallest set of tokens with this mass, in (0, 1].
        top_p: f64,
        /// Upper bound on new tokens.
        max_new_tokens: usize,
        /// Strings that end the reply and are no part of it.
        stop: Vec<String>,
    },
    /// Nothing is generated: one continuation per option is scored after the prompt.
    LogLikelihood {
        /// What is scored.
        continuation: Continuation,
        /// What stands between the prompt and it, usually one blank.
        lead: String,
        /// How scores are made comparable.
        normalisation: Normalisation,
    },
}

/// What is scored for an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuation {
    /// Its letter.
    Letter,
    /// Its text.
    Text,
}

/// How often a question is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempts {
    /// Upper bound, at least 1.
    pub max: u32,
    /// When another attempt follows.
    pub again: AskAgain,
}

/// When a question is asked again. The last reply counts, whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskAgain {
    /// Never.
    Never,
    /// While the rule itself refuses the reply ([`super::Reason::RetriesSpent`]).
    WhileRefused,
    /// While no option can be read.
    WhileUnparsed,
}

/// How a reply is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingRule {
    /// The rule; `argmax` exactly where options are scored.
    pub rule: RuleId,
    /// Only what follows the last occurrence of this string is read; empty reads everything.
    pub after_last: String,
    /// What the headline accuracy is a share of.
    pub denominator: Denominator,
}

/// What the headline accuracy is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Denominator {
    /// Every question asked: unparsed counts as wrong.
    Asked,
    /// Only those with an option read.
    Parsed,
}

impl Protocol {
    /// Returns the ids of the protocols that are part of the program.
    pub fn builtin_ids() -> impl Iterator<Item = &'static str> {
        BUILTIN.iter().map(|(id, _)| *id)
    }

    /// Returns a protocol that is part of the program, `None` if `id` is none of
    /// [`Protocol::builtin_ids`].
    ///
    /// # Examples
    ///
    /// ```
    /// let protocol = medharness::protocol::Protocol::builtin("paper-2023-04").expect("shipped");
    /// assert_eq!(protocol.attempts.max, 5);
    /// assert!(protocol.skip_first_question_of_step);
    /// ```
    #[expect(clippy::missing_panics_doc, reason = "a test reads every file in question")]
    pub fn builtin(id: &str) -> Option<Self> {
        let (_, text) = BUILTIN.iter().find(|(known, _)| *known == id)?;
        Some(Self::parse(text, id).expect("a test reads every protocol of the program"))
    }

    /// Returns the protocol with this id, or the one in this file.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unknown`] if it is neither; otherwise as [`Protocol::load`].
    pub fn find(id_or_path: &str) -> Result<Self, ProtocolError> {
        if let Some(protocol) = Self::builtin(id_or_path) {
            return Ok(protocol);
        }
        let path = PathBuf::from(id_or_path);
        if !path.exists() {
            return Err(ProtocolError::Unknown {
                name: id_or_path.to_owned(),
                known: Self::builtin_ids().collect::<Vec<_>>().join(", "),
            });
        }
        Self::load(path)
    }

    /// Reads a protocol's file.
    ///
    /// # Errors
    ///
    /// [`ProtocolError`] that names the file and, where there is one, the line and the field.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, ProtocolError> {
        let path = path.into();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(source) => Err(ProtocolError::Read { path, source }),
        }
    }

    /// Reads a protocol's text; `name` stands for its file in errors.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Field`] for bad TOML, an unknown or missing field, a value out of range.
    pub fn parse(text: &str, name: &str) -> Result<Self, ProtocolError> {
        let mut protocol: Self = toml::from_str(text).map_err(|error| ProtocolError::Field {
            path: name.to_owned(),
            line: error.span().map_or(1, |span| line_at(text, span.start)),
            problem: error.message().to_owned(),
        })?;
        if let Some((field, problem)) = protocol.contradiction() {
            let key = field.rsplit('.').next().unwrap_or(field);
            return Err(ProtocolError::Field {
                path: name.to_owned(),
                line: line_of(text, key),
                problem: format!("`{field}` {problem}"),
            });
        }
        text.clone_into(&mut protocol.text);
        protocol.sha256 = hex(&Sha256::digest(text.as_bytes()));
        Ok(protocol)
    }

    /// Returns the hex sha256 of the file's bytes, as `sha256sum` prints it.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the file, byte for byte.
    pub fn toml(&self) -> &str {
        &self.text
    }

    /// Returns the prompt of `question`.
    pub fn render(&self, question: &Question) -> String {
        self.prompt.render(question)
    }

    /// Returns the continuation to score for each option, in printed order, lead included; empty
    /// where replies are generated.
    pub fn continuations(&self, question: &Question) -> Vec<String> {
        let Decoding::LogLikelihood { continuation, lead, .. } = &self.decoding else {
            return Vec::new();
        };
        scored(question, *continuation).map(|text| format!("{lead}{text}")).collect()
    }

    /// Returns how tokens are picked in a run with this seed; `None` where options are scored.
    pub fn sampling(&self, seed: u64) -> Option<Sampling> {
        let bos = self.bos;
        Some(match self.decoding.clone() {
            Decoding::Greedy { max_new_tokens, stop } => Sampling {
                greedy: true,
                temperature: 1.0,
                top_k: 0,
                top_p: 1.0,
                max_new_tokens,
                stop,
                seed,
                bos,
            },
            Decoding::Sampling { temperature, top_k, top_p, max_new_tokens, stop } => Sampling {
                greedy: false,
                temperature,
                top_k,
                top_p,
                max_new_tokens,
                stop,
                seed,
                bos,
            },
            Decoding::LogLikelihood { .. } => return None,
        })
    }

    /// Returns the part of a reply that is read: what follows the last `after_last`.
    pub fn part_read<'t>(&self, reply: &'t str) -> &'t str {
        match &*self.reading.after_last {
            "" => reply,
            marker => reply.rsplit(marker).next().unwrap_or(reply),
        }
    }

    /// Reads a reply by the protocol's rule.
    pub fn read(&self, question: &Question, reply: &str, finish: FinishReason) -> RuleReading {
        read(self.reading.rule, question, self.part_read(reply), finish)
    }

    /// Reads the scores of a question's options, one per option in printed order.
    ///
    /// A score is missing or not a number: no option is read. See [`argmax()`].
    pub fn choose(&self, question: &Question, scores: &[Score]) -> Reading {
        let Decoding::LogLikelihood { continuation, normalisation, .. } = self.decoding else {
            return argmax([]);
        };
        let values =
            question.options.iter().zip(scored(question, continuation)).map(|(choice, text)| {
                match scores.iter().find(|score| score.letter == choice.letter) {
                    Some(score) => {
                        (choice.letter, normalisation.apply(score.log_prob, score.tokens, &text))
                    }
                    None => (choice.letter, f64::NAN),
                }
            });
        argmax(values)
    }

    /// Returns whether the question is asked once more after this reading of attempt `attempt`,
    /// counted from 1.
    pub fn asks_again(&self, reading: Reading, attempt: u32) -> bool {
        attempt < self.attempts.max
            && match self.attempts.again {
                AskAgain::Never => false,
                AskAgain::WhileRefused => {
                    matches!(reading, Reading::Unparsed { reason: super::Reason::RetriesSpent })
                }
                AskAgain::WhileUnparsed => matches!(reading, Reading::Unparsed { .. }),
            }
    }

    /// Returns the questions that the protocol leaves out, each with the reason.
    ///
    /// With `skip_first_question_of_step` that is the first question of each step in the exam's own
    /// order, excluded ones counted, as the script met them in its files. Questions without a step
    /// are left alone, unless the whole exam has none and so is one file.
    pub fn not_asked(&self, exam: &Exam) -> BTreeMap<QuestionId, String> {
        let mut left_out = BTreeMap::new();
        if !self.skip_first_question_of_step {
            return left_out;
        }
        let no_steps = exam.questions.iter().all(|question| question.step.is_none());
        let mut seen: Vec<Option<Step>> = Vec::new();
        for question in &exam.questions {
            if (question.step.is_some() || no_steps) && !seen.contains(&question.step) {
                seen.push(question.step);
                left_out.insert(
                    question.id.clone(),
                    format!("first question of its step, never asked under {}", self.id),
                );
            }
        }
        left_out
    }

    /// The first field whose value cannot be meant, and why.
    fn contradiction(&self) -> Option<(&'static str, String)> {
        let scores = matches!(self.decoding, Decoding::LogLikelihood { .. });
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if self.id.is_empty() || !self.id.chars().all(plain) {
            return Some(("id", "must be letters, digits, `-`, `.` or `_`".into()));
        }
        if !self.prompt.has_both_placeholders() {
            let problem = "must hold `{letter}` and `{text}` once each".into();
            return Some(("prompt.option_line", problem));
        }
        if let Decoding::Sampling { temperature, top_p, .. } = self.decoding {
            if !(temperature.is_finite() && temperature > 0.0) {
                let problem = format!("is {temperature}, must be above 0");
                return Some(("decoding.sampling.temperature", problem));
            }
            if !(top_p > 0.0 && top_p <= 1.0) {
                let problem = format!("is {top_p}, must be above 0 and at most 1");
                return Some(("decoding.sampling.top_p", problem));
            }
        }
        if let Decoding::Greedy { max_new_tokens: 0, .. }
        | Decoding::Sampling { max_new_tokens: 0, .. } = self.decoding
        {
            return Some(("decoding.max_new_tokens", "is 0, must be at least 1".into()));
        }
        if let Decoding::Greedy { stop, .. } | Decoding::Sampling { stop, .. } = &self.decoding
            && stop.iter().any(String::is_empty)
        {
            return Some(("decoding.stop", "holds an empty string".into()));
        }
        if self.attempts.max == 0 {
            return Some(("attempts.max", "is 0, must be at least 1".into()));
        }
        if self.attempts.max > 1 && !matches!(self.decoding, Decoding::Sampling { .. }) {
            let problem = "is above 1, but every attempt would give the same reply".into();
            return Some(("attempts.max", problem));
        }
        if scores != (self.reading.rule == RuleId::Argmax) {
            return Some((
                "reading.rule",
                "must be `argmax` exactly where options are scored".into(),
            ));
        }
        None
    }
}

/// Why there is no protocol.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// Neither an id nor a file.
    #[error("`{name}` is neither a file nor one of the protocols {known}")]
    Unknown {
        /// As given.
        name: String,
        /// The ids there are.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A field is missing, unknown, or has a value that cannot be meant.
    #[error("{path}:{line}: {problem}")]
    Field {
        /// The file, or the id.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong, with the field's name.
        problem: String,
    },
}

/// What is scored for each option, without the lead.
fn scored(question: &Question, of: Continuation) -> impl Iterator<Item = String> {
    question.options.iter().map(move |choice| match of {
        Continuation::Letter => choice.letter.to_string(),
        Continuation::Text => choice.text.clone(),
    })
}

/// The number, from 1, of the line that byte `at` is on.
fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The number of the line that sets `key`; 1 if none does.
fn line_of(text: &str, key: &str) -> usize {
    let sets = |line: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(sets).map_or(1, |index| index + 1)
}

/// Lower-case hex digits of a digest.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
