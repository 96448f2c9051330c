//! Checks of one row's text.

use std::sync::LazyLock;

use regex::Regex;

use super::Check;
use crate::corpus::{
    Row,
    words::{folded, words},
};

/// Words of a question below which its standing in an answer means nothing.
const LEAST_QUESTION_WORDS: usize = 4;
/// Letters of an answer below which its standing in a question means nothing.
const LEAST_ANSWER_LETTERS: usize = 4;
/// Words from which an answer is long.
const LONG_ANSWER_WORDS: usize = 20;
/// Letters from which a word carries meaning.
const CONTENT_LETTERS: usize = 4;

static MARKUP: LazyLock<Regex> = LazyLock::new(|| {
    let tags = "p|br|div|span|b|i|em|strong|a|li|ul|ol|table|tr|td|th|h[1-6]|sup|sub|img|code|pre|\
                blockquote|script|style|font|ref";
    let pattern = format!(
        r"(?i)</?(?:{tags})(?:\s[^<>]*)?/?>|&(?:[a-z]{{2,8}}|#\d{{1,6}}|#x[0-9a-f]{{1,5}});|\\(?:begin|end|frac|textbf|textit|mathrm|cite|ref|section|item)\b|\$\$|\{{\{{|\]\]"
    );
    Regex::new(&pattern).expect("a fixed pattern")
});

static ASSISTANT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)\bas an? (?:ai|artificial intelligence)\b|\bas a (?:large )?language model\b|\bi(?: am|'m|’m) (?:just )?an ai\b|\bopenai\b|\bmy (?:knowledge|training) cut-?off\b";
    Regex::new(pattern).expect("a fixed pattern")
});

static OPTIONS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?s)\b[Aa][.):'].*\b[Bb][.):'].*\b[Cc][.):']").expect("a fixed pattern")
});

/// Returns what is wrong with the text of `row`.
pub(super) fn checks(row: &Row) -> Vec<Check> {
    let mut found = Vec::new();
    let mut note = |check, holds: bool| {
        if holds {
            found.push(check);
        }
    };
    let fields = [&row.instruction, &row.input, &row.output];
    let is_blank = |text: &str| text.trim().is_empty();
    let has_question = !is_blank(&row.instruction) || !is_blank(&row.input);
    note(Check::EmptyQuestion, !has_question);
    note(Check::EmptyAnswer, is_blank(&row.output));
    let any = |test: &dyn Fn(&str) -> bool| fields.iter().any(|field| test(field));
    note(Check::ControlCharacters, any(&|text| text.contains(is_stray_control)));
    note(Check::EncodingDamage, any(&is_damaged));
    note(Check::Markup, any(&|text| MARKUP.is_match(text)));
    note(Check::Assistant, ASSISTANT.is_match(&row.output));
    // The instruction is often one sentence for a whole source; the question is what changes.
    let question = if is_blank(&row.input) { &row.instruction } else { &row.input };
    let (asked, answered) = (folded(question), folded(&row.output));
    let asked: Vec<&str> = words(&asked).collect();
    let answered: Vec<&str> = words(&answered).collect();
    let repeats = asked.len() >= LEAST_QUESTION_WORDS && has_run(&answered, &asked);
    note(Check::QuestionInAnswer, repeats || (!asked.is_empty() && asked == answered));
    let letters: usize = answered.iter().map(|word| word.chars().count()).sum();
    note(
        Check::AnswerInQuestion,
        letters >= LEAST_ANSWER_LETTERS
            && has_run(&asked, &answered)
            && !OPTIONS.is_match(question),
    );
    let is_long = answered.len() >= LONG_ANSWER_WORDS;
    note(Check::Unrelated, is_long && shares_nothing(&asked, &answered));
    note(Check::Unfinished, is_long && !ends(&row.output));
    found
}

fn is_stray_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\r' | '\t')
}

fn has_run(text: &[&str], run: &[&str]) -> bool {
    !run.is_empty() && text.windows(run.len()).any(|window| window == run)
}

/// Whether both have words that carry meaning and none is in both, plurals and endings aside.
fn shares_nothing(asked: &[&str], answered: &[&str]) -> bool {
    let content = |words: &[&str]| -> std::collections::HashSet<String> {
        let long = words.iter().filter(|word| word.chars().count() >= CONTENT_LETTERS);
        long.map(|word| word.chars().take(CONTENT_LETTERS).collect()).collect()
    };
    let asked = content(asked);
    !asked.is_empty() && asked.is_disjoint(&content(answered))
}

/// Whether a text ends as a sentence, a list or a formula may end.
fn ends(text: &str) -> bool {
    text.trim_end().chars().next_back().is_some_and(|last| {
        matches!(
            last,
            '.' | '!'
                | '?'
                | ':'
                | ';'
                | '"'
                | '\''
                | '”'
                | '’'
                | ')'
                | ']'
                | '}'
                | '…'
                | '。'
                | '>'
                | '*'
        ) || last.is_ascii_digit()
    })
}

/// Returns whether `text` holds U+FFFD, or characters that are UTF-8 read as Windows-1252.
///
/// Two or more neighbouring characters outside ASCII are written back as Windows-1252; if that is
/// valid UTF-8 they were read wrongly: hardly any text has such neighbours otherwise.
fn is_damaged(text: &str) -> bool {
    if text.is_ascii() {
        return false;
    }
    // Characters that Windows-1252 lacks part runs as ASCII does: the damage may stand beside them.
    let runs = text.split(|c: char| c.is_ascii() || windows_1252(c).is_none());
    text.contains('\u{fffd}') || runs.filter(|run| !run.is_empty()).any(is_mojibake)
}

fn is_mojibake(run: &str) -> bool {
    let bytes: Option<Vec<u8>> = run.chars().map(windows_1252).collect();
    // A part of a run may be sound, so every start is tried.
    bytes.is_some_and(|bytes| {
        (0..bytes.len()).any(|start| {
            let (lead, rest) = (bytes[start], &bytes[start + 1..]);
            let behind = match lead {
                0xC2..=0xDF => 1,
                0xE0..=0xEF => 2,
                0xF0..=0xF4 => 3,
                _ => return false,
            };
            rest.len() >= behind && std::str::from_utf8(&bytes[start..=start + behind]).is_ok()
        })
    })
}

/// The byte that Windows-1252 reads as `c`; the five bytes it leaves out stand for themselves.
fn windows_1252(c: char) -> Option<u8> {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž',
        '\u{8f}', '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}',
        'ž', 'Ÿ',
    ];
    if let Some(place) = HIGH.iter().position(|high| *high == c) {
        return u8::try_from(0x80 + place).ok();
    }
    u8::try_from(u32::from(c)).ok().filter(|byte| *byte >= 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(input: &str, output: &str) -> Vec<Check> {
        let instruction = "Answer this question truthfully".into();
        checks(&Row { instruction, input: input.into(), output: output.into(), ..Row::default() })
    }

    #[test]
    fn a_sound_row_has_no_defect() {
        let answer =
            "Scurvy comes of a lack of vitamin C, at -5 °C as at 37 °C (naïve café, 10 µg).";
        assert_eq!(found("What causes scurvy?", answer), []);
        assert_eq!(found("Is 5 < 6?", "Yes"), []);
        assert_eq!(found("Q: Which? A: Iron B: Zinc C: Lead", "Zinc"), []);
    }

    #[test]
    fn utf8_read_as_windows_1252_is_damage_and_accents_are_not() {
        for damaged in [
            "cafÃ©",
            "the patientâ€™s",
            "patientâ€™α",
            "αÂµ",
            "5 Âµg",
            "na\u{fffd}ve",
            "90Â°",
            "ðŸ˜€ smile",
            "Ã¼ber",
        ] {
            assert_eq!(found("What is it?", damaged), [Check::EncodingDamage], "{damaged}");
        }
        for sound in [
            "café",
            "“quoted” – dash…",
            "Ménière’s",
            "37 °C",
            "Übergröße",
            "α-Fetoprotein ≥ 5",
            "naïveté É",
        ] {
            assert_eq!(found("What is it?", sound), [], "{sound}");
        }
    }

    #[test]
    fn each_defect_is_found() {
        let cases = [
            (found("", ""), vec![Check::EmptyAnswer]),
            (found("What is it?", "bell\u{7}"), vec![Check::ControlCharacters]),
            (found("What is it?", "<p>Iron</p>"), vec![Check::Markup]),
            (found("What is it?", "5 &lt; 6"), vec![Check::Markup]),
            (found("What is it?", "As an AI, I cannot say"), vec![Check::Assistant]),
            (found("What causes scurvy?", "What causes SCURVY? A lack of vitamin C"), vec![]),
            (
                found("What can cause scurvy?", "What can cause SCURVY? A lack of it"),
                vec![Check::QuestionInAnswer],
            ),
            (
                found("Scurvy comes of a lack of vitamin C. Why scurvy?", "Lack of vitamin C"),
                vec![Check::AnswerInQuestion],
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
        let long = "horses ".repeat(20);
        assert_eq!(found("What causes scurvy?", &long), [Check::Unrelated, Check::Unfinished]);
        let nothing = Row { output: "x".into(), ..Row::default() };
        assert_eq!(checks(&nothing), [Check::EmptyQuestion]);
    }
}
