//! Comparisons: a ranking only where an exact test allows it, flips by question, words otherwise.

use std::fs;

use medharness::{
    claims::runs::{CompareError, ExamKey, FlipKind, Item, Outcomes, Settings, Verdict, compare},
    eval::Choice,
    exam::{Letter, QuestionId, Step},
    protocol::{Outcome, Reason},
    stats::{PairedCounts, mcnemar},
    store::ProtocolIdentity,
};
use tempfile::tempdir;

use crate::{
    runs::{evaluate, exam, run},
    support::medharness,
};

/// Outcomes from one character a question: `+` correct, `a` to `e` wrong with that letter, `?`
/// unparsed, `!` errored. Steps take turns.
pub(crate) fn outcomes(answers: &str) -> Outcomes {
    let item = |(index, answer): (usize, char)| {
        let letter = Letter::from_char(answer.to_ascii_uppercase());
        let (outcome, letter) = match answer {
            '+' => (Outcome::Correct, Letter::from_index(0)),
            '?' => (Outcome::Unparsed { reason: Reason::NoForm }, None),
            '!' => (Outcome::Errored, None),
            _ => (Outcome::Wrong, letter),
        };
        let step = Some([Step::One, Step::Two, Step::Three][index % 3]);
        Item { id: QuestionId(format!("q{index}")), step, outcome, letter }
    };
    Outcomes {
        run_id: "0123456789abcdef".into(),
        model: "made".into(),
        tool_version: "0.1.0".into(),
        exam: ExamKey { name: "cases".into(), sha256: "e".repeat(64) },
        protocol: ProtocolIdentity { id: "strict-v1".into(), sha256: "f".repeat(64) },
        items: answers.chars().enumerate().map(item).collect(),
    }
}

#[test]
fn the_table_of_two_by_two_is_mcnemars() {
    let (a, b) = (outcomes("+++++++++abc?!"), outcomes("+++bbbbbb+++cb"));
    let comparison = compare(&a, &b, &Settings::default()).unwrap();
    let whole = comparison.whole();
    assert_eq!((whole.a_correct, whole.b_correct, whole.questions), (9, 6, 14));
    assert_eq!((whole.lost, whole.gained), (6, 3));
    assert_eq!(whole.p, mcnemar(6, 3).unwrap());
    let counts = PairedCounts::new(3, 3, 6, 2).unwrap();
    assert_eq!(whole.difference, counts.difference());
    assert!((whole.difference + 3.0 / 14.0).abs() < 1e-15, "B minus A");
    // `?` became wrong and `!` became wrong: other answers.
    assert_eq!(whole.churn, 2);
    assert_eq!(whole.verdict, Verdict::NotDistinguishable);
    let steps: usize = comparison.parts[1..].iter().map(|part| part.questions).sum();
    assert_eq!(steps, whole.questions);
    for step in &comparison.parts[1..] {
        assert!(step.p_adjusted >= step.p);
    }
}

#[test]
fn a_clear_loss_and_a_clear_gain_are_mirror_images() {
    let (a, b) = (outcomes(&"+".repeat(90)), outcomes(&("b".repeat(30) + &"+".repeat(60))));
    let there = compare(&a, &b, &Settings::default()).unwrap();
    let back = compare(&b, &a, &Settings::default()).unwrap();
    assert_eq!(there.whole().verdict, Verdict::Worse);
    assert_eq!(back.whole().verdict, Verdict::Better);
    assert_eq!(there.whole().p, back.whole().p);
    assert_eq!(there.whole().difference, -back.whole().difference);
    let [low, high] = there.whole().bootstrap;
    assert!(low < -1.0 / 3.0 && -1.0 / 3.0 < high && high < 0.0);
    assert!(there.flips.iter().all(|flip| flip.kind == FlipKind::Lost));
    assert!(back.flips.iter().all(|flip| flip.kind == FlipKind::Gained));
}

#[test]
fn a_run_is_the_same_as_itself_only_where_there_are_enough_questions() {
    for (n, verdict) in [(40, Verdict::NotDistinguishable), (400, Verdict::Equivalent)] {
        let a = outcomes(&"+b".repeat(n / 2));
        let comparison = compare(&a, &a, &Settings::default()).unwrap();
        let whole = comparison.whole();
        assert_eq!((whole.p, whole.verdict), (1.0, verdict), "n = {n}");
        assert!(comparison.flips.is_empty());
    }
}

#[test]
fn different_questions_are_compared_only_if_asked() {
    let a = outcomes("+++bbb");
    let mut b = outcomes("+++bbbcc");
    let error = compare(&a, &b, &Settings::default()).unwrap_err();
    assert!(matches!(error, CompareError::Questions { .. }));
    assert!(error.to_string().contains("0 questions asked in A alone, 2 in B alone"), "{error}");
    let common = Settings { common: true, ..Settings::default() };
    let comparison = compare(&a, &b, &common).unwrap();
    assert_eq!(comparison.whole().questions, 6);
    assert!(comparison.notes[0].starts_with("only the 6 questions in common"));
    b.exam.sha256 = "0".repeat(64);
    assert!(
        compare(&a, &b, &Settings::default()).unwrap_err().to_string().contains("exam `cases`")
    );
    b.items.iter_mut().for_each(|item| item.id.0.push('x'));
    assert!(matches!(compare(&a, &b, &common), Err(CompareError::NothingInCommon)));
}

#[test]
fn the_file_of_outcomes_reads_back_and_shows_one_question_a_line() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("baseline.json");
    let whole = outcomes("+ab?!");
    whole.write(&path).unwrap();
    assert_eq!(Outcomes::open(&path).unwrap(), whole);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\"id\":\"q")).count(), 5);
    assert!(text.ends_with("]\n}\n"));
    for (from, to, message) in [
        ("\"q1\"", "\"q0\"", "question `q0` is there twice"),
        ("\"format_version\": 1", "\"format_version\": 2", "version 2"),
        ("medharness-outcomes", "other", "`other`"),
        ("\"model\"", "\"modell\"", "is no file of outcomes"),
        ("\"kind\":\"wrong\"", "\"kind\":\"maybe\"", "is no file of outcomes"),
        ("{\n", "", "is no file of outcomes"),
    ] {
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = Outcomes::open(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    let none = Outcomes { items: Vec::new(), ..whole };
    fs::write(&path, none.to_json()).unwrap();
    assert!(Outcomes::open(&path).is_err(), "no questions");
}

#[test]
fn a_comparison_on_the_command_line() {
    let dir = tempdir().unwrap();
    let (a, b) = (run(dir.path(), "noisy", 1, 120), run(dir.path(), "noisy", 2, 120));
    let gold = run(dir.path(), "gold", 0, 120);
    let text = |a, b, format: &str| {
        let output = medharness()
            .args(["compare", "--format", format])
            .arg::<&std::path::PathBuf>(a)
            .arg::<&std::path::PathBuf>(b)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let same = text(&a, &b, "text");
    assert!(same.starts_with("A and B are not distinguishable at n = 113"), "{same}");
    assert!(same.contains("points or more could have been seen"), "{same}");
    assert_eq!(text(&a, &b, "json"), text(&a, &b, "json"), "seeded");
    let better = text(&a, &gold, "markdown");
    assert!(better.starts_with("# B is better than A by "), "{better}");
    let _guard = crate::snapshots();
    insta::with_settings!({filters => vec![(r"[0-9a-f]{12,}", "[hash]")]}, {
        insta::assert_snapshot!("compare_text", same);
    });
}

#[test]
fn runs_under_two_protocols_are_compared_with_a_note() {
    let dir = tempdir().unwrap();
    let exam = exam(30);
    for protocol in ["strict-v1", "medalpaca-fixed"] {
        evaluate(&exam, protocol, "gold", 0, Choice::default(), 1, &dir.path().join(protocol));
    }
    let output = medharness()
        .arg("compare")
        .arg(dir.path().join("strict-v1"))
        .arg(dir.path().join("medalpaca-fixed"))
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("the difference is not the model's alone"), "{stdout}");
}

#[test]
fn absurd_settings_are_refused() {
    let dir = tempdir().unwrap();
    let a = run(dir.path(), "gold", 0, 12);
    for arguments in [
        ["--margin", "NaN"],
        ["--margin", "-0.1"],
        ["--margin", "1"],
        ["--margin", "inf"],
        ["--alpha", "NaN"],
        ["--alpha", "0"],
        ["--alpha", "-1"],
        ["--alpha", "1"],
    ] {
        let output = medharness().arg("compare").args(arguments).arg(&a).arg(&a).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
