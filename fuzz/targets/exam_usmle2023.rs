//! The 2023 sample exams.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    medharness_fuzz::exam(medharness::exam::Format::Usmle2023, &[("step1_questions.json", bytes)]);
});
