//! Published reading rules, each as its source behaves, quirks included.
//!
//! The rules see a reply and the letters of the question, never the right answer. None of them is
//! improved here: where a rule reads nonsense, its score in the literature did so too.

mod author;

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
    /// Options are scored; there is no reply to read.
    Argmax,
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
        RuleId::Argmax => RuleReading::nothing(Reason::Empty),
    }
}

/// Removes white space at both ends as Python's `str.strip` does: Unicode's, and the four
/// separators U+001C to U+001F, which Unicode's property leaves out.
fn python_strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}
