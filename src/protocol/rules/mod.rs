//! Published reading rules, each as its source behaves, quirks included.
//!
//! The rules see a reply and the letters of the question, never the right answer. None of them is
//! improved here: where a rule reads nonsense, its score in the literature did so too.

mod author;
mod bare_letter;
mod first_match;
mod inspect;
mod meditron;
mod mirage;
mod opencompass;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FinishReason, Reading, Reason, read_strict};
use crate::exam::{Letter, Question};

/// A reading rule, by the name it has in protocols and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RuleId {
    /// Ours: see `strict.rs`.
    StrictV1,
    /// The author's retry rule, April 2023.
    Medalpaca,
    /// The author's first notebook.
    Startswith,
    /// MIRAGE.
    Mirage,
    /// Meditron.
    Meditron,
    /// OpenCompass, first option.
    Opencompass,
    /// simple-evals.
    SimpleEvals,
    /// inspect.
    Inspect,
    /// lm-eval, generative MMLU.
    LmEvalGenerative,
    /// HELM, multiple choice joint.
    HelmJoint,
    /// MMLU-Pro, first level.
    MmluPro,
    /// Options are scored; there is no reply to read.
    Argmax,
}

impl RuleId {
    /// Every rule that reads replies, in the order of tables.
    pub const ALL: [Self; 11] = [
        Self::StrictV1,
        Self::Medalpaca,
        Self::Startswith,
        Self::Mirage,
        Self::Meditron,
        Self::Opencompass,
        Self::SimpleEvals,
        Self::Inspect,
        Self::LmEvalGenerative,
        Self::HelmJoint,
        Self::MmluPro,
    ];

    /// Returns the name used in protocols and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::StrictV1 => "strict-v1",
            Self::Medalpaca => "medalpaca",
            Self::Startswith => "startswith",
            Self::Mirage => "mirage",
            Self::Meditron => "meditron",
            Self::Opencompass => "opencompass",
            Self::SimpleEvals => "simple-evals",
            Self::Inspect => "inspect",
            Self::LmEvalGenerative => "lm-eval-generative",
            Self::HelmJoint => "helm-joint",
            Self::MmluPro => "mmlu-pro",
            Self::Argmax => "argmax",
        }
    }

    /// Returns the rule with this name; `argmax`, which reads no reply, is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a rule makes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleReading {
    /// What counts.
    pub reading: Reading,
    /// The character that the rule's source compares with the right letter, even if no option has
    /// it, e.g. `(` under `startswith`; `None` where the source returns nothing.
    pub picked: Option<char>,
    /// The letter stated, whatever the text beside it; differs from the reading's letter under
    /// `strict-v1` alone, the one rule that reads the text.
    pub stated: Option<Letter>,
}

impl RuleReading {
    /// A rule that found nothing.
    fn nothing(reason: Reason) -> Self {
        Self { reading: Reading::Unparsed { reason }, picked: None, stated: None }
    }

    /// A rule that returned `picked`: an offered letter is read, anything else is not.
    fn picked(question: &Question, picked: char) -> Self {
        let reading = match Letter::from_char(picked) {
            Some(letter) if question.option(letter).is_some() => Reading::Letter { letter },
            Some(_) => Reading::Unparsed { reason: Reason::LetterNotOffered },
            None => Reading::Unparsed { reason: Reason::NoForm },
        };
        Self { reading, picked: Some(picked), stated: reading.letter() }
    }
}

/// Reads `reply` by `rule`. Total: never panics, whatever the text.
///
/// `finish` matters to `strict-v1` alone. [`RuleId::Argmax`] reads no reply: always
/// [`Reason::Empty`].
///
/// # Examples
///
/// ```
/// use medharness::{exam::Question, protocol::{read, FinishReason, RuleId}};
/// let question: Question = serde_json::from_str(r#"{
///     "id": "1", "step": null, "question": "Which drug?", "answer": "B", "has_image": false,
///     "options": [{"letter": "A", "text": "Aspirin"}, {"letter": "B", "text": "Penicillin"}],
///     "source": "example"
/// }"#)?;
/// let read = |rule| read(rule, &question, "Beta-lactam allergy", FinishReason::EndOfText);
/// assert_eq!(read(RuleId::Startswith).reading.letter(), Some(question.answer));
/// assert_eq!(read(RuleId::StrictV1).reading.letter(), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn read(rule: RuleId, question: &Question, reply: &str, finish: FinishReason) -> RuleReading {
    match rule {
        RuleId::StrictV1 => {
            let strict = read_strict(question, reply, finish);
            RuleReading {
                reading: strict.reading,
                picked: strict.reading.letter().map(Letter::as_char),
                stated: strict.stated,
            }
        }
        RuleId::Medalpaca => author::medalpaca(question, reply),
        RuleId::Startswith => author::startswith(question, reply),
        RuleId::Mirage => mirage::mirage(question, reply),
        RuleId::Meditron => meditron::meditron(question, reply),
        RuleId::Opencompass => opencompass::opencompass(question, reply),
        RuleId::SimpleEvals => first_match::simple_evals(question, reply),
        RuleId::Inspect => inspect::inspect(question, reply),
        RuleId::LmEvalGenerative => bare_letter::lm_eval_generative(question, reply),
        RuleId::HelmJoint => bare_letter::helm_joint(question, reply),
        RuleId::MmluPro => first_match::mmlu_pro(question, reply),
        RuleId::Argmax => RuleReading::nothing(Reason::Empty),
    }
}

/// The reading of a reply in which a rule found nothing.
fn unread(reply: &str) -> RuleReading {
    RuleReading::nothing(if reply.trim().is_empty() { Reason::Empty } else { Reason::NoForm })
}

/// Python's `\s` as a character class: Unicode's white space and U+001C to U+001F, which Unicode's
/// property leaves out.
const PYTHON_SPACE: &str = r"[\s\x1c-\x1f]";

/// Whether Python takes `c` for white space.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Removes white space at both ends as Python's `str.strip` does.
fn python_strip(text: &str) -> &str {
    text.trim_matches(is_python_space)
}
