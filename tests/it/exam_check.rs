//! `medharness exam`: every defect is listed, the digest is `sha256sum`'s, a bad exam does not run.

use std::{fs, path::Path};

use medharness::exam::{Exam, ExamError, LoadOptions, Severity};

use crate::{
    snapshots,
    support::{medharness, transcript},
};

#[test]
fn every_defect_is_listed_with_its_place() {
    let path = Path::new("golden/exams/broken/defects.jsonl");
    let exam = Exam::read(path, &LoadOptions::default()).unwrap();
    let found: Vec<String> = exam
        .findings
        .iter()
        .map(|finding| {
            let id = finding.question_id.as_ref().map_or("-", |id| id.0.as_str());
            let place = format!("line {} {}", finding.place.line, finding.place.field);
            format!("{} {id}, {place}: {}", finding.severity, finding.defect)
        })
        .collect();
    let file = "golden/exams/broken/defects.jsonl";
    let taken = format!("error ok, line 3 id: the id is taken by the question on line 1 of {file}");
    assert_eq!(
        found,
        [
            "error key, line 2 answer: the answer E is not offered (options ABCD)",
            "error twice, line 4 options: option B is given twice",
            "error one, line 5 options: 1 option(s), a choice needs two",
            "error no-question, line 6 question: the question is empty",
            "error no-option, line 7 options: option B is empty",
            "error image, line 15 answer: the answer C is not offered (options AB)",
            &taken,
            "warning stand-in, line 8 options: option A looks like a placeholder: \
             `Another labeled cell, etc.`",
            "warning stand-in, line 8 options: option B looks like a placeholder: \
             `Type II (for example)`",
            "warning stand-in, line 8 options: option C looks like a placeholder: `Option C`",
            "warning stand-in, line 8 options: option D looks like a placeholder: `N/A`",
            "warning stand-in, line 8 options: option E looks like a placeholder: `…`",
            "warning labels, line 9 options: the options are single letters (ABC), as labels of a \
             picture",
            "warning gap, line 10 options: the letters ACD do not run from A in order",
            "warning same-text, line 11 options: options A and B have the same text",
            "warning twin-exact, line 12 question: exact duplicate of `ok`",
            "warning twin-shuffled, line 13 question: duplicate of `ok`, with another answer",
            "warning same-stem, line 14 question: same question as `ok`, other options",
        ]
    );
}

#[test]
fn exam_with_an_error_is_refused_unless_the_question_is_excluded() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = scratch.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let lines: Vec<String> = fs::read_to_string("golden/exams/broken/defects.jsonl")
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    // `ok` and `key`, whose answer is not offered.
    let exam = write("two.jsonl", &lines[..2].join("\n"));
    let refused = Exam::load(&exam).unwrap_err();
    assert!(matches!(&refused, ExamError::Refused { errors: 1, first, .. }
        if first.severity == Severity::Error));
    let exclude =
        write("list.toml", "source = \"test\"\n[[list]]\nreason = \"key\"\nids = [\"key\"]\n");
    let check = |exam: &Path, list: &Path| {
        let mut command = medharness();
        command.args(["exam", "check", "--format", "json", "--exclude"]).arg(list).arg(exam);
        command.output().expect("runs")
    };
    // The error stays listed, and the exam may run.
    let output = check(&exam, &exclude);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["blocking"], &report["errors"]), (&0.into(), &1.into()));
    assert_eq!(output.status.code(), Some(0));
    let stray =
        write("stray.toml", "source = \"test\"\n[[list]]\nreason = \"key\"\nids = [\"no\"]\n");
    assert_eq!(check(&exam, &stray).status.code(), Some(1));
    let broken = write("broken.toml", "source = 1");
    assert_eq!(check(&exam, &broken).status.code(), Some(2));
    // An id that two questions share cannot be excluded away.
    let shared = write("shared.jsonl", &[&*lines[0], &lines[2], &lines[9]].join("\n"));
    let both =
        write("both.toml", "source = \"test\"\n[[list]]\nreason = \"twice\"\nids = [\"ok\"]\n");
    assert_eq!(check(&shared, &both).status.code(), Some(1));
}

#[test]
fn converted_exam_is_the_same_exam() {
    let scratch = tempfile::tempdir().unwrap();
    for name in [
        "own.jsonl",
        "medalpaca",
        "usmle2023",
        "clinical_camel.jsonl",
        "medqa.jsonl",
        "mmlu.csv",
        "broken/defects.jsonl",
    ] {
        let path = Path::new("golden/exams").join(name);
        let out = scratch.path().join("exam.jsonl");
        medharness().args(["exam", "convert"]).arg(&path).arg("--out").arg(&out).assert().code(0);
        let exam = Exam::read(&path, &LoadOptions::default()).unwrap();
        let converted = Exam::read(&out, &LoadOptions::default()).unwrap();
        assert_eq!(converted.questions, exam.questions, "{name}");
        assert!(converted.excluded.keys().eq(exam.excluded.keys()), "{name}");
        assert_eq!(converted.files[0].sha256, exam.sha256(), "{name}: the digest is the file's");
    }
}

#[test]
fn convert_to_a_folder_that_is_not_there_writes_nothing_and_says_where() {
    let arguments = ["exam", "convert", "golden/exams/own.jsonl", "--out", "no/such/folder.jsonl"];
    let output = medharness().args(arguments).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no/such/folder.jsonl"));
}

#[test]
fn answer_key_lists_what_differs() {
    let key = "golden/exams/broken/key.json";
    let command = ["exam", "check", "golden/exams/usmle2023", "--answer-key", key];
    let shown = transcript(medharness().args(command));
    assert!(shown.starts_with("exit: 1\n"), "{shown}");
    let difference = format!(
        "error: step1/2: the answer is `A` here, `B` in {key} ({key}, line 4, field `step1.2`)"
    );
    assert!(shown.contains(&difference), "{shown}");
    let counts = "3 questions in both, 2 with the same answer; 0 only here, 1 only there";
    assert!(shown.contains(counts), "{shown}");
    let foreign = ["exam", "check", "golden/exams/mmlu.csv", "--answer-key", key];
    medharness().args(foreign).assert().code(2);
}

#[test]
fn another_edition_is_compared_by_text() {
    let scratch = tempfile::tempdir().unwrap();
    let other = scratch.path().join("other.jsonl");
    let text = fs::read_to_string("golden/exams/own.jsonl").unwrap();
    // Other ids, one wording changed a little, one key changed.
    let text = text.replace("step1/", "new/").replace("Ferritin is low", "The ferritin is low");
    fs::write(&other, text.replace("\"answer\":\"D\"", "\"answer\":\"C\"")).unwrap();
    let mut command = medharness();
    command.args(["exam", "check", "golden/exams/own.jsonl", "--against"]).arg(&other);
    let shown = transcript(&mut command);
    assert!(shown.contains("5 questions in both, 4 with the same answer"), "{shown}");
    assert!(shown.contains("step1/2: the answer is `Vitamin D` here, `Vitamin C` in"), "{shown}");
}

#[test]
fn escape_codes_of_an_exam_do_not_reach_the_terminal() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("exam.json");
    let line = r#"{"id":"\u001b[31mred","step":1,"question":"?","options":[],"answer":"A","has_image":false,"source":""}"#;
    fs::write(&path, line).unwrap();
    let shown = transcript(medharness().args(["exam", "check"]).arg(&path));
    assert!(shown.contains("[31mred: 0 option(s)") && !shown.contains('\u{1b}'), "{shown}");
}

#[test]
fn report_in_every_form() {
    let _guard = snapshots();
    for form in ["text", "markdown", "json"] {
        let command = ["exam", "check", "golden/exams/medalpaca", "--format", form];
        insta::assert_snapshot!(
            format!("exam_check_{form}"),
            transcript(medharness().args(command))
        );
    }
    let command = ["exam", "check", "golden/exams/broken/defects.jsonl"];
    insta::assert_snapshot!("exam_check_defects", transcript(medharness().args(command)));
}
