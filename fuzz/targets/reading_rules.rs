//! Every reading rule on any bytes: none panics, and what is read is offered.

#![no_main]

use libfuzzer_sys::fuzz_target;
use medharness::{
    exam::Question,
    protocol::{FinishReason, RuleId, read, repetition},
};

const QUESTION: &str = r#"{"id": "1", "step": null, "question": "Which drug?", "answer": "B",
    "has_image": false, "source": "fuzz", "options": [{"letter": "A", "text": "Aspirin"},
    {"letter": "B", "text": "Penicillin G."}, {"letter": "D", "text": "Äpfel ½"}]}"#;

fuzz_target!(|bytes: &[u8]| {
    let question: Question = serde_json::from_str(QUESTION).expect("a constant question");
    let reply = String::from_utf8_lossy(bytes);
    for finish in [FinishReason::EndOfText, FinishReason::Length] {
        for rule in RuleId::ALL {
            let read = read(rule, &question, &reply, finish);
            if let Some(letter) = read.reading.letter() {
                assert!(question.option(letter).is_some(), "{rule}: {letter} is not offered");
            }
        }
    }
    if let Some(found) = repetition(&reply) {
        assert!(found.times >= 4 && !found.unit.is_empty());
    }
});
