//! The rule `strict-v1`: a small total grammar, by hand, with one reading for every reply.
//!
//! ```text
//! reply  = { blank line } answer { any text }
//! answer = [ ws ] letter ":" ws text [ ws ]          on one line
//! letter = an ASCII capital that the question offers
//! text   = the text of that option, after normalisation on both sides
//! ```
//!
//! A line ends at a line feed; `ws` is Unicode white space. Normalisation, in this order: NFKC,
//! full Unicode lower-casing, runs of white space to one blank, blanks at both ends off, one final
//! period off with the blanks before it.
//!
//! Anything else is unparsed. The first reason that fits is given:
//!
//! | reason | the first line that is not blank |
//! |---|---|
//! | `empty` | there is none |
//! | `truncated` | the reply was ended by the token limit, nothing visible follows this line, and the line is a proper beginning of `LETTER: text` for an option: the letter alone, with its colon, or with a normalised text that is a proper prefix of that option's |
//! | `letter_only` | a capital, alone or with `:` or `.` behind it |
//! | `no_form` | not `LETTER: text` |
//! | `letter_not_offered` | of the form, with a letter that the question lacks |
//! | `text_of_another_option` | of the form, with the text of an option that has another letter |
//! | `text_of_no_option` | of the form, with any other text |
//!
//! An option whose own text runs over several lines can be stated only on one line: white space is
//! normalised, line ends are not part of the text.

use unicode_normalization::UnicodeNormalization;

use super::{FinishReason, Reading, Reason};
use crate::exam::{Letter, Question};

/// What the strict rule finds in a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StrictReading {
    /// The reading that counts.
    pub reading: Reading,
    /// The letter of a line `LETTER: text` whatever its text, offered or not; `None` without the
    /// form. Letter-level accuracy is the share of questions where it is the right one.
    pub stated: Option<Letter>,
}

/// Reads `reply` by the strict rule.
///
/// Never panics; white space at the end of the reply changes nothing, nor does the order of the
/// question's options.
///
/// # Examples
///
/// ```
/// use medharness::{exam::Question, protocol::{read_strict, FinishReason, Reading, Reason}};
/// let question: Question = serde_json::from_str(r#"{
///     "id": "1", "step": null, "question": "Which drug?", "answer": "B", "has_image": false,
///     "options": [{"letter": "A", "text": "Aspirin"}, {"letter": "B", "text": "Penicillin"}],
///     "source": "example"
/// }"#)?;
/// let read = |reply| read_strict(&question, reply, FinishReason::EndOfText);
/// assert_eq!(read("\n B: penicillin.\nBecause …").reading.letter(), Some(question.answer));
/// assert_eq!(read("B").reading, Reading::Unparsed { reason: Reason::LetterOnly });
/// let other = read("B: Aspirin");
/// assert_eq!(other.reading, Reading::Unparsed { reason: Reason::TextOfAnotherOption });
/// assert_eq!(other.stated, Some(question.answer));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn read_strict(question: &Question, reply: &str, finish: FinishReason) -> StrictReading {
    let unparsed = |reason| Reading::Unparsed { reason };
    let Some((line, rest)) = first_line(reply) else {
        return StrictReading { reading: unparsed(Reason::Empty), stated: None };
    };
    let cut = finish == FinishReason::Length && rest.trim().is_empty();
    let (letter, text) = match split(line) {
        Line::Form { letter, text } => (letter, text),
        Line::LetterOnly { letter, open } => {
            let reason = match question.option(letter) {
                Some(_) if cut && open => Reason::Truncated,
                _ => Reason::LetterOnly,
            };
            return StrictReading { reading: unparsed(reason), stated: None };
        }
        Line::Other => return StrictReading { reading: unparsed(Reason::NoForm), stated: None },
    };
    let text = normalise(text);
    let reading = match question.option(letter).map(normalise) {
        Some(own) if own == text => Reading::Letter { letter },
        Some(own) if cut && own.starts_with(&text) => unparsed(Reason::Truncated),
        None => unparsed(Reason::LetterNotOffered),
        Some(_) if question.options.iter().any(|choice| normalise(&choice.text) == text) => {
            unparsed(Reason::TextOfAnotherOption)
        }
        Some(_) => unparsed(Reason::TextOfNoOption),
    };
    StrictReading { reading, stated: Some(letter) }
}

/// How a line stands to the form.
enum Line<'t> {
    /// `LETTER: text`.
    Form { letter: Letter, text: &'t str },
    /// `LETTER`, `LETTER:` or `LETTER.`; `open` unless a period closes it.
    LetterOnly { letter: Letter, open: bool },
    /// Anything else.
    Other,
}

/// The first line that is not blank, trimmed, and what follows it.
fn first_line(reply: &str) -> Option<(&str, &str)> {
    let mut rest = reply;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        if !line.trim().is_empty() {
            return Some((line.trim(), after));
        }
        rest = after;
    }
    None
}

/// Splits a trimmed line that is not empty.
fn split(line: &str) -> Line<'_> {
    let mut chars = line.chars();
    let Some(letter) = chars.next().and_then(Letter::from_char) else { return Line::Other };
    match chars.as_str() {
        "" | ":" => Line::LetterOnly { letter, open: true },
        "." => Line::LetterOnly { letter, open: false },
        after => match after.strip_prefix(':') {
            Some(text) if text.starts_with(char::is_whitespace) => Line::Form { letter, text },
            _ => Line::Other,
        },
    }
}

/// Normalises an option's text, on both sides of the comparison alike.
fn normalise(text: &str) -> String {
    let folded = text.nfkc().collect::<String>().to_lowercase();
    let mut words = folded.split_whitespace();
    let mut joined = words.next().unwrap_or_default().to_owned();
    for word in words {
        joined.push(' ');
        joined.push_str(word);
    }
    match joined.strip_suffix('.') {
        Some(without) => without.trim_end().to_owned(),
        None => joined,
    }
}
