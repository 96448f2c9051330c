//! MedQA.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    medharness_fuzz::exam(medharness::exam::Format::Medqa, &[("exam.jsonl", bytes)]);
});
