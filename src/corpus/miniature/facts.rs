//! Medical facts with the wordings that turn them into text, and the promises they keep.
//!
//! A fact is a subject and its one right answer among the answers of its topic; answers that could
//! be defended as well are named, so that they are never offered beside it.

use std::collections::BTreeSet;

use serde::Deserialize;
use thiserror::Error;

/// Fewest wrong answers a fact must leave, for an item with four options.
const FEWEST_WRONG: usize = 3;

/// Facts by topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The topics in the order of the file.
    #[serde(rename = "topic")]
    pub topics: Vec<Topic>,
}

/// Facts that answer the same kind of question, so that each answer is a plausible wrong answer to
/// the other subjects.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// Unique name.
    pub name: String,
    /// Step of the exam, 1 to 3; `None` for what is never examined.
    pub step: Option<u8>,
    /// Lowest and highest age of a patient, in years.
    pub ages: [u32; 2],
    /// Sentences that state a fact.
    pub read: Vec<String>,
    /// Questions of the training data.
    pub ask: Vec<String>,
    /// Fronts of flashcards.
    pub card: Vec<String>,
    /// Stems of exam items, never used in training text.
    pub exam: Vec<String>,
    /// The facts.
    pub facts: Vec<Fact>,
}

/// A subject and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// What is asked about; unique within the topic.
    pub subject: String,
    /// The right answer.
    pub answer: String,
    /// Answers of the topic that could be defended too.
    #[serde(default)]
    pub also: Vec<String>,
    /// Ages for this fact; the topic's where `None`.
    pub ages: Option<[u32; 2]>,
    /// Facts of the same group lie nearer to each other than to the rest of the topic.
    pub group: Option<String>,
}

/// The kinds of wording a topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wording {
    /// A sentence that states the fact.
    Read,
    /// A question of the training data.
    Ask,
    /// The front of a flashcard.
    Card,
    /// The stem of an exam item.
    Exam,
}

/// Why facts cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactsError {
    /// Not TOML, or not these fields.
    #[error("not a file of facts")]
    Malformed(#[from] toml::de::Error),
    /// A topic has no name of its own.
    #[error("topic `{topic}` is given twice")]
    TopicTwice {
        /// Its name.
        topic: String,
    },
    /// A topic's step is none of the exam's.
    #[error("topic `{topic}`: step {step} is not 1, 2 or 3")]
    Step {
        /// Its name.
        topic: String,
        /// The step.
        step: u8,
    },
    /// The ages are not a range.
    #[error("topic `{topic}`: ages {ages:?} are no range")]
    Ages {
        /// Its name.
        topic: String,
        /// Lowest and highest.
        ages: [u32; 2],
    },
    /// A topic lacks a kind of wording.
    #[error("topic `{topic}` has no wording to {wording:?}")]
    NoWording {
        /// Its name.
        topic: String,
        /// The kind.
        wording: Wording,
    },
    /// A wording does not hold what it must, or holds what it must not.
    #[error("topic `{topic}`: `{text}` must hold {expected}")]
    Slots {
        /// Its name.
        topic: String,
        /// The wording.
        text: String,
        /// The slots it must hold, each once.
        expected: &'static str,
    },
    /// A subject is asked about twice in one topic.
    #[error("topic `{topic}`: `{subject}` is given twice")]
    SubjectTwice {
        /// Its name.
        topic: String,
        /// The subject.
        subject: String,
    },
    /// A further answer is the right one, or none of the topic's.
    #[error("topic `{topic}`: `{also}` is no other answer that `{subject}` could have")]
    Also {
        /// Its name.
        topic: String,
        /// The subject.
        subject: String,
        /// The further answer.
        also: String,
    },
    /// Too few answers are wrong for a subject.
    #[error(
        "topic `{topic}`: only {wrong} answers are wrong for `{subject}`, at least {FEWEST_WRONG} are needed"
    )]
    TooFewWrong {
        /// Its name.
        topic: String,
        /// The subject.
        subject: String,
        /// Answers that are wrong for it.
        wrong: usize,
    },
}

impl Facts {
    /// Returns the medical facts of the miniature study.
    pub fn medical() -> Self {
        Self::parse(include_str!("../../../golden/mini/facts.toml"))
            .expect("a test reads the embedded file")
    }

    /// Returns the facts of everyday life, which no exam asks for.
    pub fn general() -> Self {
        Self::parse(include_str!("../../../golden/mini/general.toml"))
            .expect("a test reads the embedded file")
    }

    /// Returns the facts written as `text`.
    ///
    /// # Errors
    ///
    /// [`FactsError`] for the first promise of the format that does not hold.
    pub fn parse(text: &str) -> Result<Self, FactsError> {
        let facts: Self = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for topic in &facts.topics {
            if !names.insert(&topic.name) {
                return Err(FactsError::TopicTwice { topic: topic.name.clone() });
            }
            topic.check()?;
        }
        Ok(facts)
    }
}

impl Facts {
    /// Returns every fact with its topic, in the order of the file.
    pub fn each(&self) -> impl Iterator<Item = (&Topic, &Fact)> {
        self.topics.iter().flat_map(|topic| topic.facts.iter().map(move |fact| (topic, fact)))
    }
}

impl Topic {
    /// Returns the wordings of one kind.
    pub fn wordings(&self, wording: Wording) -> &[String] {
        match wording {
            Wording::Read => &self.read,
            Wording::Ask => &self.ask,
            Wording::Card => &self.card,
            Wording::Exam => &self.exam,
        }
    }

    /// Returns the answers that are wrong for `fact`, each once, in the order of the file: first
    /// those of its group, then the others.
    pub fn wrong_answers(&self, fact: &Fact) -> (Vec<&str>, Vec<&str>) {
        let mut near: Vec<&str> = Vec::new();
        let mut far: Vec<&str> = Vec::new();
        for other in &self.facts {
            let wrong = other.answer != fact.answer && !fact.also.contains(&other.answer);
            let list = if other.group == fact.group { &mut near } else { &mut far };
            if wrong && !list.contains(&other.answer.as_str()) {
                list.push(&other.answer);
            }
        }
        far.retain(|answer| !near.contains(answer));
        (near, far)
    }

    fn check(&self) -> Result<(), FactsError> {
        let topic = || self.name.clone();
        if let Some(step) = self.step.filter(|step| !(1..=3).contains(step)) {
            return Err(FactsError::Step { topic: topic(), step });
        }
        for wording in [Wording::Read, Wording::Ask, Wording::Card, Wording::Exam] {
            self.check_wordings(wording)?;
        }
        let answers: BTreeSet<&String> = self.facts.iter().map(|fact| &fact.answer).collect();
        let mut subjects = BTreeSet::new();
        for fact in &self.facts {
            let ages = fact.ages.unwrap_or(self.ages);
            if ages[0] > ages[1] {
                return Err(FactsError::Ages { topic: topic(), ages });
            }
            let subject = || fact.subject.clone();
            if !subjects.insert(&fact.subject) {
                return Err(FactsError::SubjectTwice { topic: topic(), subject: subject() });
            }
            let stray = |also: &&String| **also == fact.answer || !answers.contains(also);
            if let Some(also) = fact.also.iter().find(stray) {
                let also = also.clone();
                return Err(FactsError::Also { topic: topic(), subject: subject(), also });
            }
            let (near, far) = self.wrong_answers(fact);
            let wrong = near.len() + far.len();
            if wrong < FEWEST_WRONG {
                return Err(FactsError::TooFewWrong { topic: topic(), subject: subject(), wrong });
            }
        }
        Ok(())
    }

    fn check_wordings(&self, wording: Wording) -> Result<(), FactsError> {
        if self.wordings(wording).is_empty() {
            return Err(FactsError::NoWording { topic: self.name.clone(), wording });
        }
        let answers = usize::from(wording == Wording::Read);
        let ages = usize::from(wording == Wording::Exam);
        for text in self.wordings(wording) {
            let count = |slot: &str| text.matches(slot).count();
            let right = count("{subject}") == 1
                && count("{answer}") == answers
                && count("{age}") <= ages
                && count("{") == 1 + answers + count("{age}");
            if !right {
                let expected = match wording {
                    Wording::Read => "{subject} and {answer}",
                    Wording::Ask | Wording::Card => "{subject}",
                    Wording::Exam => "{subject}, and {age} at most once",
                };
                return Err(FactsError::Slots {
                    topic: self.name.clone(),
                    text: text.clone(),
                    expected,
                });
            }
        }
        Ok(())
    }
}
