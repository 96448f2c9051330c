//! MedAlpaca's folder. The input is cut at zero bytes into questions, answers and image list.

#![no_main]

use medharness::exam::Format;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let names = ["step1.json", "step1_solutions.json", "question_with_images.json"];
    let files: Vec<_> = names.into_iter().zip(bytes.split(|&byte| byte == 0)).collect();
    medharness_fuzz::exam(Format::Medalpaca, &files);
});
