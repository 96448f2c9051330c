//! The strict rule: golden cases by hand, and properties over arbitrary replies.

use medharness::{
    exam::{Letter, Question},
    protocol::{FinishReason, Reading, read_strict},
};
use proptest::prelude::*;
use serde::Deserialize;

use crate::support::question;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    reply: String,
    finish: Option<FinishReason>,
    reading: String,
    stated: Option<Letter>,
}

#[test]
fn golden_cases_are_read_as_recorded() {
    let cases: Cases =
        toml::from_str(include_str!("../../golden/replies/strict-v1.toml")).expect("a golden file");
    let mut question = question(&[
        "Aspirin",
        "Penicillin G",
        "Penicillin",
        "Vitamin B12 (I.M.).",
        "missing",
        "Äpfel ½",
    ]);
    question.options.remove(4);
    let mut wrong = Vec::new();
    for case in &cases.case {
        let finish = case.finish.unwrap_or(FinishReason::EndOfText);
        let strict = read_strict(&question, &case.reply, finish);
        let got = (name(strict.reading), strict.stated);
        if got != (case.reading.clone(), case.stated) {
            wrong.push(format!(
                "{}: got {got:?}, recorded {} {:?}",
                case.id, case.reading, case.stated
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases.case.len(), 35);
}

/// The letter, or the reason's name.
fn name(reading: Reading) -> String {
    match reading {
        Reading::Unparsed { reason } => {
            serde_json::to_value(reason).expect("a name").as_str().expect("a name").to_owned()
        }
        other => other.letter().map(|letter| letter.to_string()).unwrap_or_default(),
    }
}

/// Replies that come near the form, among arbitrary ones.
fn reply() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[ \n]{0,3}[A-H][:.) ]{0,2}[ \u{a0}]?[a-zA-Z .Ä½\n]{0,12}",
        "[A-H]: (Aspirin|penicillin g|PENICILLIN|Vit|½)[. \n]{0,3}",
    ]
}

fn finish() -> impl Strategy<Value = FinishReason> {
    prop_oneof![Just(FinishReason::EndOfText), Just(FinishReason::Length)]
}

/// Options as exams have them: one line, visible.
fn options() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec("[^\n]{0,20}", 1..8)
}

fn asked() -> Question {
    question(&["Aspirin", "Penicillin G", "Penicillin", "Äpfel ½", "Vitamin B12."])
}

proptest! {
    #[test]
    fn any_bytes_have_one_reading(bytes: Vec<u8>, finish in finish()) {
        let strict = read_strict(&asked(), &String::from_utf8_lossy(&bytes), finish);
        if let Some(letter) = strict.reading.letter() {
            prop_assert!(asked().option(letter).is_some());
            prop_assert_eq!(strict.stated, Some(letter));
        }
    }

    #[test]
    fn white_space_at_the_end_changes_nothing(
        reply in reply(), space in "[ \t\r\n\u{a0}\u{3000}]{1,5}", finish in finish()
    ) {
        let question = asked();
        let padded = format!("{reply}{space}");
        prop_assert_eq!(
            read_strict(&question, &reply, finish), read_strict(&question, &padded, finish)
        );
    }

    #[test]
    fn the_order_of_options_changes_nothing(
        reply in reply(), finish in finish(), by in 0usize..5
    ) {
        let mut turned = asked();
        turned.options.rotate_left(by);
        prop_assert_eq!(
            read_strict(&asked(), &reply, finish), read_strict(&turned, &reply, finish)
        );
    }

    #[test]
    fn new_letters_for_the_options_give_the_new_reading(
        own in 0usize..5, text in 0usize..5, by in 1usize..5
    ) {
        let question = asked();
        let mut renamed = asked();
        let new = |index: usize| Letter::from_index((index + by) % 5).expect("five letters");
        for (index, choice) in renamed.options.iter_mut().enumerate() {
            choice.letter = new(index);
        }
        let text = &question.options[text].text;
        let before = format!("{}: {text}", question.options[own].letter);
        let after = format!("{}: {text}", new(own));
        let before = read_strict(&question, &before, FinishReason::EndOfText).reading;
        let after = read_strict(&renamed, &after, FinishReason::EndOfText).reading;
        let expected = match before {
            Reading::Letter { letter } => Reading::Letter { letter: new(letter.index()) },
            other => other,
        };
        prop_assert_eq!(after, expected);
    }

    #[test]
    fn every_options_own_line_reads_as_that_option(
        texts in options(), finish in finish(), rest in "(\n.{0,9})?"
    ) {
        let question = question(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for choice in &question.options {
            if choice.text.trim().is_empty() {
                continue;
            }
            let line = format!("{}: {}{rest}", choice.letter, choice.text);
            let strict = read_strict(&question, &line, finish);
            prop_assert_eq!(strict.reading, Reading::Letter { letter: choice.letter });
        }
    }

    #[test]
    fn a_cut_answer_is_never_another_outcome_than_truncated(cut in 1usize..26) {
        let question = asked();
        let line = "E: Vitamin B12";
        if let Some(part) = line.get(..cut).filter(|part| part.len() < line.len()) {
            prop_assert_eq!(
                name(read_strict(&question, part, FinishReason::Length).reading), "truncated"
            );
        }
    }
}
