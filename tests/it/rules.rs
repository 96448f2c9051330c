//! The published reading rules against their sources: the extractor matrix cell by cell, and what
//! the sources' own code picked in several hundred replies.

use std::{collections::BTreeMap, time::Instant};

use medharness::protocol::{FinishReason, Reading, Reason, RuleId, RuleReading, read};
use proptest::prelude::*;
use serde::Deserialize;

use crate::support::question;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    rules: Vec<RuleId>,
    row: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    reply: String,
    picked: Vec<String>,
    #[serde(default)]
    mirage_default: bool,
}

#[test]
fn the_extractor_matrix_is_reproduced_cell_by_cell() {
    let matrix: Matrix =
        toml::from_str(include_str!("../../golden/replies/extractor_matrix.toml")).expect("golden");
    let question = question(&["Aspirin", "Penicillin", "Ceftriaxone", "Doxycycline", "Heparin"]);
    let mut wrong = Vec::new();
    let mut cells = 0;
    for row in &matrix.row {
        assert_eq!(row.picked.len(), matrix.rules.len(), "{:?}", row.reply);
        for (rule, expected) in matrix.rules.iter().zip(&row.picked) {
            let got = read(*rule, &question, &row.reply, FinishReason::Unknown);
            let cell = cell(got);
            cells += 1;
            if cell != *expected {
                wrong.push(format!("{rule} on {:?}: {cell}, recorded {expected}", row.reply));
            }
            let silent = matches!(got.reading, Reading::Default { .. });
            if silent != (*rule == RuleId::Mirage && row.mirage_default) {
                wrong.push(format!("{rule} on {:?}: silent default {silent}", row.reply));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cells, 17 * 9);
}

/// A reading as the matrix writes it.
fn cell(reading: RuleReading) -> String {
    match reading {
        RuleReading { picked: Some(picked), .. } => picked.to_string(),
        RuleReading { reading: Reading::Unparsed { reason: Reason::RetriesSpent }, .. } => {
            "retry".into()
        }
        _ => "none".into(),
    }
}

#[derive(Deserialize)]
struct Published {
    letters: String,
    reply: String,
    picked: BTreeMap<RuleId, Option<char>>,
}

#[test]
fn rules_pick_what_their_sources_pick() {
    let lines = include_str!("../../golden/replies/published_rules.jsonl").lines().skip(1);
    let mut wrong = Vec::new();
    let mut replies = 0;
    for line in lines {
        let published: Published = serde_json::from_str(line).expect("golden");
        let question = question(&vec!["text"; published.letters.len()]);
        replies += 1;
        for (rule, expected) in published.picked {
            let got = read(rule, &question, &published.reply, FinishReason::Unknown).picked;
            if got != expected {
                wrong.push(format!(
                    "{rule} of {} on {:?}: {got:?}, its source {expected:?}",
                    published.letters, published.reply
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(replies >= 400, "{replies}");
}

#[test]
fn a_long_reply_costs_no_more_than_its_length() {
    /// Far above what a linear rule needs for 1 MB, far below what a quadratic one takes.
    const LIMIT_S: f64 = 5.0;
    let question = question(&["Aspirin", "Penicillin", "Ceftriaxone", "Doxycycline"]);
    let pieces = [
        "a",
        " ",
        "\n",
        "1",
        "Answer: ",
        "ANSWER: a",
        "ANSWER :",
        "$a ",
        "**a ",
        ": ",
        "(b)",
        ":(A)x",
        "the correct answer is ",
        "答案是",
        "选",
        "\n##",
        "\"answer_choice\": \"",
        "ſ",
        "\u{3000}",
    ];
    for piece in pieces {
        let reply = piece.repeat(1_000_000 / piece.len());
        for rule in RuleId::ALL {
            let start = Instant::now();
            read(rule, &question, &reply, FinishReason::Length);
            let wall_s = start.elapsed().as_secs_f64();
            assert!(wall_s < LIMIT_S, "{rule} on 1 MB of {piece:?}: {wall_s:.1} s");
        }
    }
}

#[test]
fn names_lead_back_to_their_rules() {
    for rule in RuleId::ALL {
        assert_eq!(RuleId::from_name(rule.name()), Some(rule));
        assert_eq!(serde_json::to_value(rule).expect("a name"), rule.name());
    }
    assert_eq!(RuleId::from_name("argmax"), None);
}

#[test]
fn letters_beyond_a_rules_design_are_never_read() {
    let question = question(&["text"; 10]);
    let read = |rule, reply| read(rule, &question, reply, FinishReason::Unknown).reading.letter();
    assert_eq!(read(RuleId::SimpleEvals, "Answer: E"), None);
    assert_eq!(read(RuleId::Meditron, "F"), None);
    assert_eq!(read(RuleId::MmluPro, "answer is J").map(|letter| letter.as_char()), Some('J'));
    assert_eq!(read(RuleId::HelmJoint, "J").map(|letter| letter.as_char()), Some('J'));
    assert_eq!(read(RuleId::Mirage, "E").map(|letter| letter.as_char()), Some('A'));
}

proptest! {
    #[test]
    fn every_rule_reads_any_bytes_once(bytes: Vec<u8>, near in "[A-F]?[:. ]?(answer|ANSWER|option)? ?:? ?[A-Ea-e(*$]{0,3}") {
        let question = question(&["Aspirin", "Penicillin", "Ceftriaxone"]);
        for reply in [String::from_utf8_lossy(&bytes).into_owned(), near] {
            for rule in RuleId::ALL {
                let got = read(rule, &question, &reply, FinishReason::Length);
                if let Some(letter) = got.reading.letter() {
                    prop_assert!(question.option(letter).is_some());
                    prop_assert_eq!(got.picked, Some(letter.as_char()));
                }
            }
        }
    }
}
