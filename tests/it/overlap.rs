//! Exam questions planted in training rows are found, and what is none is not.

use std::{collections::BTreeMap, fs};

use medharness::{
    corpus::{Overlap, OverlapLevel, OverlapSearch, OverlapSettings, Row},
    exam::{Choice, Exam, Letter, LoadOptions, Question, QuestionId},
};
use proptest::prelude::*;

use crate::support::medharness;

const VIGNETTE: &str = "A 54-year-old gardener comes to the clinic because of three weeks of \
    numbness in both feet. She takes metformin for type 2 diabetes mellitus. Her haemoglobin is \
    9.8 g/dL, and the smear shows hypersegmented neutrophils. A deficiency of which of the \
    following is the most likely cause?";

fn question(id: &str, text: &str, options: &[&str]) -> Question {
    let letter = |index| Letter::from_index(index).expect("at most 26 options");
    let option =
        |(index, text): (usize, &&str)| Choice { letter: letter(index), text: (*text).into() };
    Question {
        id: QuestionId(id.into()),
        step: None,
        text: text.into(),
        options: options.iter().enumerate().map(option).collect(),
        answer: letter(0),
        has_image: false,
        source: "made for tests".into(),
    }
}

fn exam() -> Exam {
    let vitamins = ["Cobalamin", "Folate", "Iron", "Thiamine"];
    Exam::new(
        "planted",
        vec![
            question("long", VIGNETTE, &vitamins),
            question("short", "Which vitamin prevents scurvy?", &["Ascorbic acid", "Retinol"]),
            question("brief", "Most common?", &["Otitis media", "Mastoiditis"]),
            question("twin/1", "What is the best next step in the care of him?", &["Rest", "Ice"]),
            question("twin/2", "What is the best next step in the care of him?", &["Heat", "X"]),
        ],
    )
}

fn row(input: &str, output: &str) -> Row {
    let instruction = "Answer this question truthfully".into();
    Row { instruction, input: input.into(), output: output.into(), ..Row::default() }
}

fn search(exam: &Exam, rows: &[Row]) -> Overlap {
    let mut search = OverlapSearch::new(exam, OverlapSettings::default());
    for (number, row) in (1..).zip(rows) {
        search.add("train.jsonl", number, row);
    }
    search.finish()
}

/// Level of each question of [`exam`] for one row.
fn levels(row: &Row) -> Vec<OverlapLevel> {
    search(&exam(), std::slice::from_ref(row)).items.iter().map(|item| item.level).collect()
}

const C: OverlapLevel = OverlapLevel::Clean;

#[test]
fn exact_copies_are_found_whatever_their_case_blanks_and_punctuation() {
    let plain = row(VIGNETTE, "Cobalamin");
    let loud = row(&VIGNETTE.to_uppercase().replace(' ', "\n  "), "Cobalamin");
    let other = VIGNETTE
        .replace([',', '?'], "")
        .replace(". ", "! ")
        .replace('-', "\u{2011}")
        .replace("m", "ｍ");
    let hidden = VIGNETTE.replace("diabetes", "dia\u{ad}be\u{200b}tes");
    for row in [plain, loud, row(&other, ""), row(&hidden, "")] {
        assert_eq!(levels(&row)[0], OverlapLevel::Copied, "{}", row.input);
    }
}

#[test]
fn a_copy_inside_a_longer_row_or_across_its_fields_is_a_copy() {
    let inside = row(&format!("Exam question 7. {VIGNETTE} A: Cobalamin B: Iron"), "A");
    assert_eq!(levels(&inside)[0], OverlapLevel::Copied);
    let (first, second) = VIGNETTE.split_at(VIGNETTE.find(" She").unwrap());
    let across =
        Row { instruction: first.into(), input: second.into(), output: "x".into(), ..row("", "") };
    assert_eq!(levels(&across)[0], OverlapLevel::Copied);
}

#[test]
fn thirteen_words_inside_a_longer_row_overlap_and_twelve_do_not() {
    let words: Vec<&str> = VIGNETTE.split_whitespace().collect();
    let with = |words: &[&str]| {
        row(&format!("The note ends here, then {} and so it went on.", words.join(" ")), "Yes")
    };
    // Two of these are two words each: "54-year-old" is three, "three weeks" two.
    let thirteen = &words[13..26];
    let found = search(&exam(), &[with(thirteen)]);
    assert_eq!(found.items[0].level, OverlapLevel::Overlapping);
    assert_eq!(found.items[0].longest_run.as_ref().unwrap().words, 13);
    assert_eq!(found.items[0].grams_13_found, 1);
    let found = search(&exam(), &[with(&thirteen[..12])]);
    assert_eq!(found.items[0].level, OverlapLevel::Touched);
    assert_eq!((found.items[0].grams_13_found, found.items[0].grams_8_found), (0, 5));
    let found = search(&exam(), &[with(&thirteen[..7])]);
    assert_eq!(found.items[0].level, C);
    assert_eq!(found.items[0].longest_run.as_ref().unwrap().words, 7);
}

#[test]
fn a_paraphrase_is_no_overlap() {
    let paraphrase = "A woman in her fifties who works in a garden has had tingling soles for most \
        of a month. Metformin is her only drug. She is anaemic, with neutrophils of many lobes. \
        What is she most likely short of?";
    let found = search(&exam(), &[row(paraphrase, "Vitamin B12")]);
    assert_eq!(found.items[0].level, C);
    assert!(found.require_none().is_ok());
    assert_eq!(found.overlapping_rows, []);
}

#[test]
fn a_changed_number_leaves_a_near_duplicate() {
    let found = search(&exam(), &[row(&VIGNETTE.replace("54", "37").replace("9.8", "7.1"), "")]);
    assert_eq!(found.items[0].level, OverlapLevel::Overlapping);
    assert!(found.items[0].nearest.as_ref().unwrap().jaccard > 0.6);
}

#[test]
fn a_short_question_is_copied_by_a_field_of_its_own_or_with_all_its_options() {
    let short = |row: &Row| levels(row)[1];
    assert_eq!(short(&row("which VITAMIN prevents scurvy", "Ascorbic acid")), OverlapLevel::Copied);
    let all = "Q: Which vitamin prevents scurvy? A: Ascorbic acid B: Retinol";
    assert_eq!(short(&row(all, "A")), OverlapLevel::Copied);
    let told = "Please tell me, doctor, which vitamin prevents scurvy? I sail tomorrow.";
    assert_eq!(short(&row(told, "Ascorbic acid")), OverlapLevel::Copied);
    assert_eq!(short(&row(told, "Ask the cook")), C);
    let stem = "Which drug best treats acute gout?";
    let shared = "What is the diagnosis?";
    let questions = vec![
        question("a", stem, &["Colchicine", "Penicillin"]),
        question("b", shared, &["Gout", "Sprain"]),
        question("c", shared, &["Flu", "Cold"]),
    ];
    let questions = Exam::new("short", questions);
    let level = |text: &str, answer: &str| {
        let found = search(&questions, &[row(text, answer)]);
        found.items.iter().map(|item| item.level).max().unwrap()
    };
    let told = format!("Please tell me, doctor, {stem} I sail tomorrow.");
    assert_eq!(level(&told, "Colchicine"), OverlapLevel::Copied);
    assert_ne!(level(&told, "Rest"), OverlapLevel::Copied);
    // Any case may end so.
    assert_eq!(level(&format!("His toe is red. {shared}"), "Gout"), C);
    // Five words in a row, as any text about scurvy may have them.
    assert_eq!(short(&row("He asked which vitamin prevents scurvy and left", "")), C);
    let brief = |row: &Row| levels(row)[2];
    assert_eq!(brief(&row("Most common? Otitis media or mastoiditis", "")), OverlapLevel::Copied);
    assert_eq!(brief(&row("The most common cause is otitis media", "")), C);
}

/// A field that says no more than "Most common?" made a row a copy of the question.
#[test]
fn a_stem_of_few_words_is_no_evidence_without_its_answer() {
    let brief = |row: &Row| levels(row)[2];
    assert_eq!(brief(&row("Most common?", "Iron deficiency")), C);
    assert_eq!(brief(&row("Most common?", "Mastoiditis, here")), C);
    assert_eq!(brief(&row("Most common?", "It is otitis media")), OverlapLevel::Copied);
    assert_eq!(brief(&row("Most common?", "Mastoiditis? Otitis media?")), OverlapLevel::Copied);
}

#[test]
fn a_stem_of_two_questions_is_evidence_about_the_one_whose_options_are_there() {
    let found = levels(&row("What is the best next step in the care of him? Rest? Ice?", "Ice"));
    assert_eq!(found[3], OverlapLevel::Copied);
    assert!(found[4] < OverlapLevel::Copied);
}

#[test]
fn turns_of_phrase_of_the_exam_are_no_evidence() {
    let tail = "His temperature is 37 C and the rest of the examination shows no abnormalities \
        at all, so what is the diagnosis?";
    let cases = (0..12).map(|n| {
        let text = format!("Case {n} concerns a {} year old porter with rash {n}. {tail}", 20 + n);
        question(&n.to_string(), &text, &["Measles", "Mumps"])
    });
    let exam = Exam::new("phrases", cases.collect());
    let rows = [row(&format!("Another man fell off his horse yesterday morning. {tail}"), "")];
    let found = search(&exam, &rows);
    assert!(found.items.iter().all(|item| item.grams_13_found == 0 && item.copies == 0));
    assert!(found.common_grams_13 > 0);
    let strict = OverlapSettings { common_items: 12, ..OverlapSettings::default() };
    let mut search = OverlapSearch::new(&exam, strict);
    search.add("x", 1, &rows[0]);
    let found = search.finish();
    assert!(found.items.iter().all(|item| item.level == OverlapLevel::Overlapping));
}

#[test]
fn the_refusal_names_question_file_and_row() {
    let rows = [row("What is rest?", "Rest"), row(VIGNETTE, "Cobalamin"), row(VIGNETTE, "Iron")];
    let found = search(&exam(), &rows);
    assert_eq!(
        found.require_none().unwrap_err().to_string(),
        "1 of 5 questions of `planted` stand in 2 training row(s), the first being `long` in \
         train.jsonl, row 2"
    );
    assert_eq!((found.items[0].copies, found.items[0].rows, found.rows), (2, 2, 3));
}

#[test]
fn clean_accuracy_leaves_out_what_was_found() {
    let found = search(&exam(), &[row(VIGNETTE, "Cobalamin")]);
    let answered: BTreeMap<QuestionId, bool> =
        [("long", true), ("short", false), ("brief", true), ("elsewhere", true)]
            .map(|(id, right)| (QuestionId(id.into()), right))
            .into();
    let [_, line, _] = found.accuracies(&answered);
    let of = |a: Option<medharness::corpus::overlap::SubsetAccuracy>| {
        a.map(|a| (a.correct, a.questions)).unwrap()
    };
    assert_eq!((of(line.full), of(line.clean), of(line.dirty)), ((2, 3), (1, 2), (1, 1)));
    assert_eq!(line.difference, Some(0.5));
    let none = search(&exam(), &[]).accuracies(&answered);
    assert!(none.iter().all(|line| line.dirty.is_none() && line.p.is_none()));
}

/// Id, level, copies, rows, 13-grams, found, 8-grams, found, longest run, similarity.
type GoldenItem = (String, String, usize, usize, usize, usize, usize, usize, usize, f64);

#[derive(serde::Deserialize)]
struct Golden {
    items: Vec<GoldenItem>,
}

#[test]
fn two_real_exams_overlap_as_brute_force_finds() {
    let exam = Exam::read(&shared!("exams/usmle_2023"), &LoadOptions::default()).unwrap();
    let camel = fs::read_to_string(shared!("exams/clinical_camel_step_exams.jsonl")).unwrap();
    let rows: Vec<Row> = camel
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            let instruction = "Answer the question.".into();
            Row { instruction, input: text("text"), output: text("answer"), ..Row::default() }
        })
        .collect();
    let golden = fs::read_to_string("golden/corpus/overlap.json").unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let found = search(&exam, &rows);
    assert_eq!(found.items.len(), golden.items.len());
    for (item, golden) in found.items.iter().zip(golden.items) {
        let run = item.longest_run.as_ref().map_or(0, |run| run.words);
        let jaccard = item.nearest.as_ref().map_or(0.0, |nearest| nearest.jaccard);
        let ours = (
            item.id.0.clone(),
            item.level.name().to_owned(),
            item.copies,
            item.rows,
            item.grams_13,
            item.grams_13_found,
            item.grams_8,
            item.grams_8_found,
            run,
            jaccard,
        );
        assert_eq!(ours, golden);
    }
}

/// A text of few words, so that runs in common are frequent.
fn text(words: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = String> {
    prop::collection::vec("[abc]", words).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn longest_run_and_similarity_equal_their_definitions(
        stem in text(0..30), option in text(0..20), input in text(0..40), output in text(0..10)
    ) {
        let exam = Exam::new("random", vec![question("q", &stem, &[&option])]);
        let row = Row { input: input.clone(), output: output.clone(), ..Row::default() };
        let found = search(&exam, std::slice::from_ref(&row));
        let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let whole = [split(&input), split(&output)].concat();
        let parts = [split(&stem), split(&option)];
        let longest = parts.iter().flat_map(|part| (0..part.len()).flat_map(move |from| {
            (from + 1..=part.len()).map(move |to| &part[from..to])
        })).filter(|run| whole.windows(run.len()).any(|window| window == *run)).map(<[_]>::len).max();
        let ours = found.items[0].longest_run.as_ref().map(|run| run.words);
        prop_assert_eq!(ours, longest.filter(|longest| *longest >= 5));

        let shingles = |text: &[String]| text.windows(5).map(<[_]>::to_vec).collect::<std::collections::BTreeSet<_>>();
        let stem = shingles(&parts[0]);
        let all = &stem | &shingles(&parts[1]);
        let texts = [shingles(&split(&input)), shingles(&split(&output)), shingles(&whole)];
        let similarity = |a: &std::collections::BTreeSet<Vec<String>>, b: &std::collections::BTreeSet<Vec<String>>| {
            (a & b).len() as f64 / (a | b).len().max(1) as f64
        };
        let best = texts.iter().flat_map(|text| [similarity(text, &stem), similarity(text, &all)]);
        let best = best.fold(0.0, f64::max);
        prop_assert_eq!(found.items[0].nearest.as_ref().map_or(0.0, |near| near.jaccard), best);
    }
}

#[test]
fn the_command_reports_fails_and_scores_the_clean_subset() {
    let folder = tempfile::tempdir().unwrap();
    let exam = crate::runs::exam_file(folder.path(), 40);
    let run = crate::runs::run(folder.path(), "gold", 1, 40);
    let data = folder.path().join("train.jsonl");
    let planted = r#"{"input": "Which finding is WRITTEN down in case 7", "output": "Finding 2"}"#;
    fs::write(&data, format!("{{\"output\": \"nothing\"}}\n{planted}\n")).unwrap();
    let command = || {
        let mut command = medharness();
        command.args(["corpus", "overlap", "--exam"]).arg(&exam).arg("--data").arg(&data);
        command
    };
    let output = command().arg("--run").arg(&run).args(["--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["items"][7]["level"], "copied");
    assert_eq!(json["overlapping_rows"][0]["row"], 2);
    let clean = &json["accuracy"][2]["clean"];
    assert_eq!(clean["questions"].as_u64().unwrap() + 1, json["accuracy"][2]["full"]["questions"]);
    let text = command().output().unwrap();
    assert!(String::from_utf8_lossy(&text.stdout).contains("case-007"));
    fs::write(&data, "{\"output\": \"nothing\"}\n").unwrap();
    command().assert().code(0);
    command().args(["--near", "0"]).assert().code(2);
}
