//! MedAlpaca's folder. The input is cut at zero bytes into questions, answers and image list; with
//! no answers it gets some, so that the golden files are seeds.

#![no_main]

use medharness::exam::Format;

const ANSWERS: &[u8] = br#"{"1": "B", "2": "C", "3": "d", "4": "A", "5": "C"}"#;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|&byte| byte == 0);
    let mut files = vec![("step1.json", parts.next().unwrap_or_default())];
    files.push(("step1_solutions.json", parts.next().unwrap_or(ANSWERS)));
    files.extend(parts.next().map(|images| ("question_with_images.json", images)));
    medharness_fuzz::exam(Format::Medalpaca, &files);
});
