//! Recorded answers from any bytes: an error that names its place, or every answer of the file.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use medharness::{
    eval::rescore::{Request, Rescoring},
    models::Transcript,
    protocol::RuleId,
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(transcript) = Transcript::from_bytes(bytes, Path::new("fuzz.jsonl"), None) else {
        return;
    };
    let request = Request { rules: RuleId::ALL.to_vec(), flips: true, ..Request::default() };
    let rescoring = Rescoring::new(&transcript, &request).expect("no labels were asked for");
    let selection = &rescoring.selection;
    assert_eq!(selection.recorded, selection.answers + selection.other_attempts);
    serde_json::to_string(&rescoring).expect("JSON");
});
