//! inspect's rule for a single answer: the last `ANSWER: X` on a line of its own, else anywhere.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use super::{PYTHON_SPACE, RuleReading, is_python_space, python_strip, unread};
use crate::{
    exam::{Letter, Question},
    protocol::Reason,
};

/// Letters, digits, blanks and commas: what may follow `ANSWER:`.
const ANSWERS: &str = r"[A-Za-z\d ,]";

/// ASCII letters and digits, and the four characters that Python's `re` takes for letters without
/// regard to case.
const SYMBOL: &str = r"[A-Za-z\d\u{130}\u{131}\u{17F}\u{212A}]";

/// Python's `\w`, for its complement.
const NO_WORD: &str = r"[^\p{L}\p{N}_]";

struct Patterns {
    wrapped: [Regex; 2],
    parenthesised: Regex,
    own_line: Regex,
    anywhere: Regex,
}

static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let s = PYTHON_SPACE;
    let symbols = ANSWERS.replace('[', "[\\u{130}\\u{131}\\u{17F}\\u{212A}");
    let pattern = |text: String| Regex::new(&text).expect("a constant pattern");
    let wrapped = |mark: &str| pattern(format!(r"{mark}{s}*([A-Za-z\d]{ANSWERS}*?){s}*{mark}"));
    Patterns {
        wrapped: [wrapped(r"\$"), wrapped(r"\*\*")],
        parenthesised: pattern(format!(r"(\A|[:,])({s}*)\(({SYMBOL})\)")),
        own_line: pattern(format!(r"(?im)^ANSWER{s}*:{s}*({symbols}+){s}*(?:$|\n|\.)")),
        anywhere: pattern(format!(r"(?i)ANSWER{s}*:{s}*({symbols}+)(?:{NO_WORD}|\z)")),
    }
});

/// Reads one letter of those offered, by position in the alphabet, in either case.
///
/// `$B$`, `**B**` and, after a colon, `(B)` count as `B`. The last line that is `ANSWER: …` alone
/// counts; only if there is none, the last `ANSWER: …` anywhere. What stands there must be exactly
/// one letter, stray commas aside: `ANSWER: A or B` is not read.
///
/// Source: inspect_ai, `solver/_multiple_choice.py`, `parse_answers` with `multiple_correct=False`,
/// version 0.3.285.
pub(super) fn inspect(question: &Question, reply: &str) -> RuleReading {
    let patterns = &*PATTERNS;
    let mut text = Cow::Borrowed(reply);
    for wrapped in &patterns.wrapped {
        text = Cow::Owned(wrapped.replace_all(&text, "$1").into_owned());
    }
    let text = without_parentheses(&patterns.parenthesised, &text);
    let last = |pattern: &Regex| {
        let found = pattern.captures_iter(&text).last()?;
        Some(found.get(1)?.as_str().to_owned())
    };
    let Some(found) = last(&patterns.own_line).or_else(|| last(&patterns.anywhere)) else {
        return unread(reply);
    };
    let found = python_strip(&found).to_uppercase();
    let mut parts = found.split(',').filter(|part| !part.is_empty());
    let letter = match (parts.next(), parts.next()) {
        (Some(part), None) if part.len() == 1 => part.chars().next(),
        _ => None,
    };
    match letter.and_then(Letter::from_char) {
        Some(letter) if question.option(letter).is_some() => {
            RuleReading::picked(question, letter.as_char())
        }
        Some(_) => RuleReading::nothing(Reason::LetterNotOffered),
        None => unread(reply),
    }
}

/// Takes the parentheses off a symbol that ends its clause: a comma, a period, a line end or the
/// end of the text follows, white space aside.
fn without_parentheses(pattern: &Regex, text: &str) -> String {
    let replaced = pattern.replace_all(text, |found: &Captures<'_>| {
        let whole = found.get(0).expect("group 0 is the match");
        if ends_clause(&text[whole.end()..]) {
            format!("{}{}{}", &found[1], &found[2], &found[3])
        } else {
            whole.as_str().to_owned()
        }
    });
    replaced.into_owned()
}

/// Whether `rest` is blank, or has a line end, comma or period as its next character but for white
/// space.
fn ends_clause(rest: &str) -> bool {
    for c in rest.chars() {
        match c {
            '\n' | ',' | '.' => return true,
            c if is_python_space(c) => {}
            _ => return false,
        }
    }
    true
}
