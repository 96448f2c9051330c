//! Whatever the bytes, a loader answers; whatever the exam, writing and reading give it back.

use std::path::PathBuf;

use medharness::exam::{
    Baselines, Choice, Exam, ExcludedItems, Format, Letter, LoadOptions, Question, QuestionId,
    Step, jsonl, normalized,
};
use proptest::prelude::*;

fn letter() -> impl Strategy<Value = Letter> {
    (0..26_usize).prop_map(|index| Letter::from_index(index).expect("below 26"))
}

/// Any question that the types allow, sound or not.
fn question() -> impl Strategy<Value = Question> {
    let choice = (letter(), any::<String>()).prop_map(|(letter, text)| Choice { letter, text });
    let step = prop::option::of(prop::sample::select(&Step::ALL[..]));
    let options = prop::collection::vec(choice, 0..6);
    (any::<String>(), step, any::<String>(), options, letter(), any::<bool>(), any::<String>())
        .prop_map(|(id, step, text, options, answer, has_image, source)| Question {
            id: QuestionId(id),
            step,
            text,
            options,
            answer,
            has_image,
            source,
        })
}

/// The answers that stand beside `step1.json`.
const SOLUTIONS: &[u8] = br#"{"1": "B", "2": "C", "3": "D", "4": "A"}"#;

fn read(format: Format, name: &str, bytes: &[u8]) -> Option<Exam> {
    let mut files = vec![(PathBuf::from(name), bytes.to_vec())];
    if format == Format::Medalpaca {
        files.push((PathBuf::from("step1_solutions.json"), SOLUTIONS.into()));
    }
    Exam::from_bytes(format, &files, &LoadOptions::default()).ok()
}

/// Name under which a format's loader takes a file.
fn file_name(format: Format) -> &'static str {
    match format {
        Format::Medalpaca => "step1.json",
        Format::Usmle2023 => "step1_questions.json",
        Format::Mmlu => "exam.csv",
        _ => "exam.jsonl",
    }
}

/// A sound file of each format, to break.
fn sound(format: Format) -> Vec<u8> {
    let path = match format {
        Format::Jsonl => "own.jsonl",
        Format::Medalpaca => "medalpaca/step1.json",
        Format::Usmle2023 => "usmle2023/step1_questions.json",
        Format::ClinicalCamel => "clinical_camel.jsonl",
        Format::Medqa => "medqa.jsonl",
        Format::Mmlu => "mmlu.csv",
    };
    std::fs::read(format!("golden/exams/{path}")).expect("a golden")
}

proptest! {
    #[test]
    fn written_exam_reads_back_the_same(questions in prop::collection::vec(question(), 1..5)) {
        let text = jsonl::write(&questions);
        let exam = read(Format::Jsonl, "exam.jsonl", text.as_bytes()).expect("readable");
        prop_assert_eq!(&exam.questions, &questions);
        prop_assert_eq!(jsonl::write(&exam.questions), text);
    }

    #[test]
    fn no_bytes_make_a_loader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in Format::ALL {
            read(format, file_name(format), &bytes);
        }
    }

    #[test]
    fn no_damage_makes_a_loader_panic(
        format in prop::sample::select(&Format::ALL[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sound(format);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read(format, file_name(format), &bytes);
        bytes.truncate(cut.index(bytes.len()));
        read(format, file_name(format), &bytes);
    }

    #[test]
    fn damaged_exam_that_is_read_still_reports_and_converts(
        format in prop::sample::select(&Format::ALL[..]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = sound(format);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(exam) = read(format, file_name(format), &bytes) {
            let report = medharness::exam::Report::new(&exam, Vec::new());
            prop_assert!(serde_json::to_string(&report).is_ok());
            let again = read(Format::Jsonl, "x.jsonl", jsonl::write(&exam.questions).as_bytes());
            prop_assert_eq!(again.expect("readable").questions, exam.questions);
        }
    }

    #[test]
    fn normalising_twice_changes_nothing(text in any::<String>()) {
        let once = normalized(&text);
        prop_assert_eq!(normalized(&once), once);
    }

    #[test]
    fn baselines_are_shares(questions in prop::collection::vec(question(), 1..8)) {
        let baselines = Baselines::of(&questions).expect("questions");
        let shares = [baselines.uniform, baselines.best_constant.1, baselines.longest_option];
        prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{:?}", shares);
        let most = questions.iter().filter(|q| q.answer == baselines.best_constant.0).count();
        for letter in questions.iter().map(|question| question.answer) {
            prop_assert!(questions.iter().filter(|q| q.answer == letter).count() <= most);
        }
    }
}

#[test]
fn intact_golden_of_every_format_is_read() {
    for format in Format::ALL {
        assert_eq!(serde_json::to_value(format).unwrap(), format.name());
        assert_eq!(Format::parse(format.name()), Some(format));
        let exam = read(format, file_name(format), &sound(format));
        assert!(exam.is_some(), "{}: the properties above would prove nothing", format.name());
    }
}

#[test]
fn notebooks_list_has_27_10_and_13_image_items_and_never_question_1() {
    let list = ExcludedItems::notebook();
    let sizes: Vec<_> =
        list.list.iter().map(|part| (part.step, part.numbers.len(), part.of)).collect();
    assert_eq!(
        sizes,
        [
            (Some(Step::One), 27, Some(119)),
            (Some(Step::Two), 10, Some(120)),
            (Some(Step::Three), 13, Some(137)),
        ]
    );
    for part in &list.list {
        let of = part.of.expect("stated");
        assert!(part.numbers.is_sorted() && !part.numbers.contains(&1));
        assert!(part.numbers.iter().all(|number| (1..=of).contains(&(*number as usize))));
    }
}

#[test]
fn nothing_to_ask_has_no_baselines() {
    assert_eq!(Baselines::of([]), None);
}
