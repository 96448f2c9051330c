//! Clinical Camel's exam.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    medharness_fuzz::exam(medharness::exam::Format::ClinicalCamel, &[("exam.jsonl", bytes)]);
});
