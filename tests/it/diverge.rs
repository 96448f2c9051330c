//! Where two runs part: the first question, attempt and character.

use std::{fs, path::Path};

use medharness::{
    eval::{Choice, Parting, diverge},
    store::Run,
};
use tempfile::tempdir;

use crate::{
    runs::{eval_command, evaluate, exam, exam_file, open, run},
    support::medharness,
};

/// Evaluates recorded answers to the first questions.
fn replay(dir: &Path, name: &str, texts: &[&str]) -> Run {
    let answers = dir.join(format!("{name}.jsonl"));
    let line = |(number, text): (usize, &&str)| {
        let text = serde_json::to_string(text).expect("a string is JSON");
        format!("{{\"id\":\"case-{number:03}\",\"text\":{text}}}\n")
    };
    fs::write(&answers, texts.iter().enumerate().map(line).collect::<String>()).expect("writable");
    let out = dir.join(name);
    let model = format!("replay:{}", answers.display());
    eval_command(&exam_file(dir, texts.len()), &model, &out).assert().success();
    open(&out)
}

#[test]
fn a_run_does_not_part_from_itself() {
    let dir = tempdir().unwrap();
    let noisy = run(dir.path(), "noisy", 1, 30);
    assert_eq!(diverge(&open(&noisy), &open(&noisy)), None);
    let output = medharness().arg("diverge").arg(&noisy).arg(&noisy).output().unwrap();
    assert!(output.status.success());
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout, "The runs do not part: 29 questions are the same.\n");
}

#[test]
fn the_first_other_character_is_found() {
    let dir = tempdir().unwrap();
    let a = replay(dir.path(), "a", &["A: Finding 1 of case 0", "B: é one", "C: x"]);
    let b = replay(dir.path(), "b", &["A: Finding 1 of case 0", "B: é two", "D: x"]);
    let found = diverge(&a, &b).unwrap();
    assert_eq!((found.question_id.0.as_str(), found.attempt), ("case-001", 1));
    assert_eq!((found.same_before, found.differing, found.common), (1, 2, 3));
    let expected = Parting::Text {
        character: 5,
        word: 2,
        before: "B: é ".into(),
        a: "one".into(),
        b: "two".into(),
    };
    assert_eq!(found.at, expected);
    let longer = replay(dir.path(), "c", &["A: Finding 1 of case 0, yes", "B: é one", "C: x"]);
    let Parting::Text { character, word, a, b, .. } = diverge(&a, &longer).unwrap().at else {
        panic!("the texts part");
    };
    assert_eq!((character, word, &*a, &*b), (22, 5, "", ", yes"), "inside the word `0,`");
}

#[test]
fn the_first_other_attempt_is_found() {
    let dir = tempdir().unwrap();
    let (a, b) = (open(&run(dir.path(), "noisy", 1, 60)), open(&run(dir.path(), "noisy", 2, 60)));
    let found = diverge(&a, &b).unwrap();
    let key = |run: &Run| -> Vec<_> {
        let attempts = run.attempts.iter();
        attempts.map(|a| (a.question_id.clone(), a.attempt, a.text.clone())).collect()
    };
    let (a, b) = (key(&a), key(&b));
    let first = a.iter().zip(&b).find(|(a, b)| a != b).expect("the seeds differ").0;
    assert_eq!((found.question_id, found.attempt), (first.0.clone(), first.1));
}

#[test]
fn scores_part_with_their_margins() {
    let dir = tempdir().unwrap();
    let exam = exam(12);
    let score = |behaviour: &str| {
        let out = dir.path().join(behaviour);
        evaluate(&exam, "mmlu-letter", behaviour, 0, Choice::default(), 1, &out);
        open(&out)
    };
    let found = diverge(&score("gold"), &score("always-B")).unwrap();
    let expected = Parting::Scores { largest_difference: 1.0, margin_a: 1.0, margin_b: 1.0 };
    assert_eq!(found.at, expected);
}

#[test]
fn another_prompt_is_named_as_the_cause() {
    let dir = tempdir().unwrap();
    let exam = exam(12);
    for protocol in ["strict-v1", "mmlu-letter"] {
        evaluate(&exam, protocol, "gold", 0, Choice::default(), 1, &dir.path().join(protocol));
    }
    let output = medharness()
        .arg("diverge")
        .arg(dir.path().join("strict-v1"))
        .arg(dir.path().join("mmlu-letter"))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("They were asked differently."), "{stdout}");
}

#[test]
fn runs_without_a_common_question_are_bad_input() {
    let dir = tempdir().unwrap();
    let exam = exam(12);
    for index in [1, 2] {
        let choice = Choice { shard: medharness::store::Shard::new(index, 2), ..Choice::default() };
        evaluate(&exam, "strict-v1", "gold", 0, choice, 1, &dir.path().join(index.to_string()));
    }
    let [a, b] = ["1", "2"].map(|name| dir.path().join(name));
    medharness().arg("diverge").arg(a).arg(b).assert().code(2);
}
