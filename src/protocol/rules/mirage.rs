//! MIRAGE's rule, which answers A where it finds nothing.

use std::sync::LazyLock;

use regex::Regex;

use super::{PYTHON_SPACE, RuleReading, python_strip};
use crate::{
    exam::{Letter, Question},
    protocol::{Reading, Reason},
};

/// What precedes the answer in the JSON that MIRAGE asks for; only what follows the last one is read.
const KEY: &str = "\"answer_choice\": \"";

/// Reads A to D by an ordered list of forms, each tried on the whole text:
///
/// 1. the text is the letter, or begins with it and ` or`, ` and`, `/` or `,`;
/// 2. the first `option X` or `Option X`;
/// 3. the first letter after a colon, so `: Carcinoma` is C;
/// 4. the text begins with the letter and `.`, `"` or `:`;
/// 5. A, here [`Reading::Default`].
///
/// E and later letters are never read: the benchmark's questions have at most four options.
///
/// Source: Teddy-XiongGZ/MIRAGE 392943a, `src/utils.py`, `locate_answer`, on the text that
/// `src/evaluate.py` hands it.
pub(super) fn mirage(question: &Question, reply: &str) -> RuleReading {
    static OPTION: LazyLock<Regex> = LazyLock::new(|| pattern("[Oo]ption ([A-D])"));
    static COLON: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(":{PYTHON_SPACE}*([A-D])")));

    let text = python_strip(reply.rsplit(KEY).next().unwrap_or(reply));
    let leading = text.chars().next().filter(|c| ('A'..='D').contains(c));
    let followed_by = |endings: &[&str]| {
        leading.filter(|_| endings.iter().any(|ending| text[1..].starts_with(ending)))
    };
    let letter = leading
        .filter(|_| text.len() == 1)
        .or_else(|| followed_by(&[" or", " and", "/", ","]))
        .or_else(|| first(&OPTION, text))
        .or_else(|| first(&COLON, text))
        .or_else(|| followed_by(&[".", "\"", ":"]));
    match letter {
        Some(letter) => RuleReading::picked(question, letter),
        None => by_default(question),
    }
}

/// The reading of a reply without an answer.
fn by_default(question: &Question) -> RuleReading {
    match Letter::from_char('A').filter(|letter| question.option(*letter).is_some()) {
        Some(letter) => {
            RuleReading { reading: Reading::Default { letter }, picked: Some('A'), stated: None }
        }
        None => RuleReading { picked: Some('A'), ..RuleReading::nothing(Reason::LetterNotOffered) },
    }
}

/// The first letter that `pattern` captures in `text`.
fn first(pattern: &Regex, text: &str) -> Option<char> {
    pattern.captures(text)?.get(1)?.as_str().chars().next()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant pattern")
}
