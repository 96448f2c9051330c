//! Every exam format is read, and what cannot be read says where and why.

use std::path::{Path, PathBuf};

use medharness::exam::{Defect, Exam, ExamError, Format, LoadOptions, Question, Severity, Step};

use crate::support::medharness;

/// Path of a file in `golden/exams`, relative to the project as the tests' messages show it.
fn golden(name: &str) -> PathBuf {
    Path::new("golden/exams").join(name)
}

fn read(name: &str) -> Exam {
    Exam::read(&golden(name), &LoadOptions::default()).expect(name)
}

fn error(name: &str) -> String {
    Exam::read(&golden(name), &LoadOptions::default()).expect_err(name).to_string()
}

fn ids(exam: &Exam) -> Vec<&str> {
    exam.questions.iter().map(|question| question.id.0.as_str()).collect()
}

fn options(question: &Question) -> Vec<String> {
    question.options.iter().map(|choice| format!("{}: {}", choice.letter, choice.text)).collect()
}

#[test]
fn own_format_keeps_every_field() {
    let exam = Exam::load(&golden("own.jsonl")).unwrap();
    assert_eq!((exam.format, exam.name.as_str()), (Format::Jsonl, "own"));
    assert_eq!(ids(&exam), ["step1/1", "step1/2", "step2/1", "step2&3/1", "extra/µ-1"]);
    let steps: Vec<_> = exam.questions.iter().map(|question| question.step).collect();
    let (one, two) = (Some(Step::One), Some(Step::Two));
    assert_eq!(steps, [one, one, two, Some(Step::TwoOrThree), None]);
    assert_eq!(exam.excluded.keys().map(|id| id.0.as_str()).collect::<Vec<_>>(), ["step2/1"]);
    assert_eq!(exam.asked().count(), 4);
    assert_eq!(exam.findings, []);
    // The file is its own canonical form.
    assert_eq!(exam.sha256(), exam.files[0].sha256);
}

#[test]
fn medalpaca_folder_is_read_with_its_image_items() {
    let exam = Exam::load(&golden("medalpaca")).unwrap();
    assert_eq!(exam.format, Format::Medalpaca);
    assert_eq!(
        ids(&exam),
        ["step1/1", "step1/2", "step1/3", "step1/4", "step3/1", "step3/2", "step3/5"]
    );
    assert_eq!(options(&exam.questions[3])[2], "C: Treponema pallidum");
    assert_eq!(exam.questions[1].answer.as_char(), 'C');
    let excluded: Vec<_> = exam.excluded.keys().map(|id| id.0.as_str()).collect();
    assert_eq!(excluded, ["step1/4", "step3/2", "step3/5"]);
    let found: Vec<String> = exam.findings.iter().map(ToString::to_string).collect();
    let folder = "golden/exams/medalpaca";
    assert_eq!(
        found,
        [
            format!(
                "step3/2: excluded by question_with_images.json, which the other list of image \
                 items does not ({folder}/step3.json, line 13, field `no`)"
            ),
            format!(
                "the list of image items is of 119 questions, step 1 has 4 here \
                 ({folder}/step1.json, line 1, field `no`)"
            ),
            format!(
                "the list of image items is of 137 questions, step 3 has 3 here \
                 ({folder}/step3.json, line 1, field `no`)"
            ),
        ]
    );
}

#[test]
fn one_step_of_medalpaca_finds_its_solutions() {
    let exam = Exam::load(&golden("medalpaca/step3.json")).unwrap();
    assert_eq!(ids(&exam), ["step3/1", "step3/2", "step3/5"]);
    let names: Vec<_> = exam.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["step3.json", "step3_solutions.json", "question_with_images.json"]);
}

#[test]
fn notebooks_list_can_be_left_off() {
    let options = LoadOptions { notebook_list: false, ..LoadOptions::default() };
    let exam = Exam::load_with(&golden("medalpaca"), &options).unwrap();
    let excluded: Vec<_> = exam.excluded.keys().map(|id| id.0.as_str()).collect();
    assert_eq!(excluded, ["step1/4", "step3/2", "step3/5"], "the folder's own list stays");
    assert_eq!(exam.findings, []);
}

#[test]
fn sample_exam_2023_is_read_by_step() {
    let exam = Exam::load(&golden("usmle2023")).unwrap();
    assert_eq!(ids(&exam), ["step1/1", "step1/2", "step2/1"]);
    let one = Exam::load(&golden("usmle2023/step2_questions.json")).unwrap();
    assert_eq!((ids(&one), one.questions[0].step), (vec!["step2/1"], Some(Step::Two)));
}

#[test]
fn clinical_camel_options_are_cut_out_of_the_text() {
    let exam = read("clinical_camel.jsonl");
    let [first, indented, in_stem, nine] = exam.questions.as_slice() else { panic!("four rows") };
    assert_eq!(first.text, "Which vessel supplies the sinoatrial node\nin most people?");
    assert_eq!(
        indented.text,
        "A man has crushing chest pain for an hour. Troponin is raised.\nWhat is given first,\n\
         if nothing speaks against it?"
    );
    assert_eq!(options(indented)[1], "B: Clopidogrel and, where there is no bleeding, heparin");
    assert_eq!(in_stem.text, "The physician (A) listens and (B) asks. Which remark is best?");
    assert_eq!(options(in_stem), ["A: \"I am sorry to hear that.\"", "B: \"You are wrong.\""]);
    assert_eq!((nine.options.len(), nine.step), (9, None));
    assert_eq!(options(nine)[2], "C: None of these");
    let found: Vec<String> = exam.findings.iter().map(ToString::to_string).collect();
    let file = "golden/exams/clinical_camel.jsonl, line 4";
    assert_eq!(
        found,
        [
            format!(
                "3b: the answer's text `↓ K⁺` differs from option B `K+ falls` \
                 ({file}, field `answer`)"
            ),
            format!(
                "3b: the options are single letters (DEFGHI), as labels of a picture \
                 ({file}, field `text`)"
            ),
        ]
    );
}

#[test]
fn medqa_and_mmlu_are_numbered_from_0() {
    let medqa = Exam::load(&golden("medqa.jsonl")).unwrap();
    assert_eq!(ids(&medqa), ["medqa/0000", "medqa/0001"]);
    assert_eq!(medqa.questions[1].step, Some(Step::TwoOrThree));
    assert_eq!(medqa.findings, [], "metamap_phrases is known");
    let mmlu = Exam::load(&golden("mmlu.csv")).unwrap();
    assert_eq!(ids(&mmlu), ["mmlu/0000", "mmlu/0001"]);
    assert_eq!(mmlu.questions[0].text.lines().count(), 3);
    assert_eq!(options(&mmlu.questions[1])[2], "C: Carbon monoxide, above all");
    assert_eq!(mmlu.answer_places[1].line, 4);
}

#[test]
fn byte_order_mark_and_crlf_lose_nothing() {
    for (format, name) in [
        (Format::Jsonl, "own.jsonl"),
        (Format::ClinicalCamel, "clinical_camel.jsonl"),
        (Format::Medqa, "medqa.jsonl"),
        (Format::Mmlu, "mmlu.csv"),
        (Format::Usmle2023, "usmle2023/step1_questions.json"),
    ] {
        let plain = read(name);
        let text = std::fs::read_to_string(golden(name)).unwrap();
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n")).into_bytes();
        let files = [(golden(name), windows)];
        let exam = Exam::from_bytes(format, &files, &LoadOptions::default()).unwrap();
        assert_eq!(exam.questions, plain.questions, "{name}");
        assert_eq!(exam.findings, plain.findings, "{name}");
    }
}

#[test]
fn what_cannot_be_read_names_file_line_and_field() {
    let cases = [
        ("malformed.jsonl", ", line 3, column 334: EOF while parsing a string"),
        ("missing_field.jsonl", ", line 2, field `has_image`: missing"),
        ("unknown_field.jsonl", ", line 2, field `reviewed`: not a field of this format"),
        ("repeated_field.jsonl", ", line 2, field `answer`: given twice"),
        ("unknown_step.jsonl", ", line 1, field `step`: expected 1, 2, 3, \"2&3\" or null, got 4"),
        ("unclosed_quote.csv", ", line 2: field 2: the quote is never closed"),
        ("five_columns.csv", ", line 1: expected 6 fields, got 5"),
        ("latin1.csv", ", line 2, byte 2: 0xe9 is not UTF-8"),
        ("empty.jsonl", ": no question in it"),
        (
            "key.json",
            ": not an exam in a known format (found one JSON object, not a list of questions)",
        ),
        ("not-there.jsonl", ""),
    ];
    for (name, want) in cases {
        let name = format!("broken/{name}");
        assert_eq!(error(&name), format!("golden/exams/{name}{want}"));
        let arguments = ["exam", "check", &format!("golden/exams/{name}")];
        medharness().args(arguments).assert().code(2).stdout("");
    }
}

#[test]
fn folder_without_an_exam_says_what_it_looked_for() {
    assert_eq!(
        error("broken"),
        "golden/exams/broken: not an exam in a known format (found a folder with neither \
         step1.json nor step1_questions.json)"
    );
}

#[test]
fn question_without_a_solution_is_refused_by_number() {
    let item =
        |no: u32| format!(r#"{{"no": {no}, "question": "?", "options": {{"A": "a", "B": "b"}}}}"#);
    let files = [
        (PathBuf::from("step2.json"), format!("[{},\n{},\n{}]", item(1), item(2), item(3)).into()),
        (PathBuf::from("step2_solutions.json"), br#"{"2": "A", "9": "B"}"#.to_vec()),
    ];
    let read = |files: &[_]| Exam::from_bytes(Format::Medalpaca, files, &LoadOptions::default());
    assert_eq!(read(&files).unwrap_err().to_string(), "step2_solutions.json: no answer for 1, 3");
    let alone = read(&files[..1]).unwrap_err();
    assert!(matches!(alone, ExamError::Read { .. }), "{alone}");
    assert_eq!(alone.to_string(), "step2_solutions.json");
}

#[test]
fn answer_without_a_question_is_a_warning() {
    let files = [
        (
            PathBuf::from("step2.json"),
            br#"[{"no": 1, "question": "?", "options": {"A": "a", "B": "b"}}]"#.to_vec(),
        ),
        (PathBuf::from("step2_solutions.json"), b"{\"1\": \"A\",\n\"9\": \"B\"}".to_vec()),
    ];
    let exam = Exam::from_bytes(Format::Medalpaca, &files, &LoadOptions::default()).unwrap();
    let [finding, _size] = exam.findings.as_slice() else { panic!("{:?}", exam.findings) };
    assert!(matches!(finding.defect, Defect::AnswerWithoutQuestion { .. }));
    assert_eq!((finding.severity, finding.place.line), (Severity::Warning, 2));
}

#[test]
fn small_letter_in_the_solutions_is_read_with_a_warning() {
    let item = br#"[{"no": "7", "question": "?", "options": {"A": "a", "B": "b"}}]"#.to_vec();
    let files = |answer: &str| {
        let solutions = format!("{{\"7\": \"{answer}\"}}").into_bytes();
        [(PathBuf::from("step2.json"), item.clone()), ("step2_solutions.json".into(), solutions)]
    };
    let options = LoadOptions { notebook_list: false, ..LoadOptions::default() };
    let exam = Exam::from_bytes(Format::Medalpaca, &files("b"), &options).unwrap();
    assert_eq!(exam.questions[0].answer.as_char(), 'B');
    assert_eq!(
        exam.findings[0].to_string(),
        "step2/7: the answer is given as a small letter, read as B \
         (step2_solutions.json, line 1, field `7`)"
    );
    assert_eq!(exam.blocking().count(), 0);
    for answer in ["", "BC", "1", "ß", "none"] {
        assert!(Exam::from_bytes(Format::Medalpaca, &files(answer), &options).is_err(), "{answer}");
    }
}

#[test]
fn option_given_twice_is_found_not_dropped() {
    let exam = Exam::read(
        &golden("broken/option_given_twice.json"),
        &LoadOptions { format: Some(Format::Usmle2023), ..LoadOptions::default() },
    );
    let exam = exam.unwrap();
    assert_eq!(options(&exam.questions[0]), ["A: Furosemide", "B: Metoprolol", "A: Ramipril"]);
    assert_eq!(
        exam.findings[0].defect,
        Defect::OptionRepeated { letter: exam.questions[0].answer }
    );
    assert_eq!(exam.findings[0].place.line, 5);
}

#[test]
fn exam_of_image_items_alone_has_nothing_to_ask() {
    let exam = Exam::load(&golden("broken/only_images.jsonl")).unwrap();
    assert_eq!(
        exam.require_asked().unwrap_err().to_string(),
        "exam `only_images` has nothing to ask: all 1 questions are excluded"
    );
    let arguments = ["exam", "check", "golden/exams/broken/only_images.jsonl"];
    medharness().args(arguments).assert().code(1);
}

#[test]
fn transcripts_are_no_exams() {
    let folder = shared!("transcripts");
    for name in
        ["mmlu_pro_llama2_7b.jsonl", "mirage_medqa_cot_gpt4.jsonl", "medical_reasoning_usmle.jsonl"]
    {
        let error = Exam::read(&folder.join(name), &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, ExamError::UnknownFormat { .. }), "{name}: {error}");
    }
}
