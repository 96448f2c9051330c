//! The project's own exam format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    medharness_fuzz::exam(medharness::exam::Format::Jsonl, &[("exam.jsonl", bytes)]);
});
