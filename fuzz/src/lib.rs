//! What the targets share: the properties that must hold for any bytes.

use std::path::PathBuf;

use medharness::exam::{Exam, Format, LoadOptions, Report, jsonl};

/// Reads `files` as an exam of `format`. Whatever is read can be reported on, and written and read
/// back without change.
///
/// # Panics
///
/// If a property does not hold; that is what the fuzzer looks for.
pub fn exam(format: Format, files: &[(&str, &[u8])]) {
    let files: Vec<(PathBuf, Vec<u8>)> =
        files.iter().map(|(name, bytes)| (PathBuf::from(name), bytes.to_vec())).collect();
    let Ok(exam) = Exam::from_bytes(format, &files, &LoadOptions::default()) else { return };
    serde_json::to_string(&Report::new(&exam, Vec::new())).expect("a report is JSON");
    let text = jsonl::write(&exam.questions);
    let files = [(PathBuf::from("exam.jsonl"), text.into_bytes())];
    let again = Exam::from_bytes(Format::Jsonl, &files, &LoadOptions::default());
    assert_eq!(again.expect("what was written can be read").questions, exam.questions);
}
