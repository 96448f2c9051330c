//! The gate: verdict, exit code and reports agree, and chance alone rarely fails it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use medharness::{
    claims::runs::{Fails, GateError, GateSettings, Outcomes, Tolerance, gate},
    eval::Choice,
    stats::{Generator, Seed},
};
use proptest::prelude::*;
use tempfile::tempdir;

use crate::{
    compare::outcomes,
    runs::{evaluate, exam, run},
    support::medharness,
};

fn settings(margin: f64) -> GateSettings {
    let margin = Tolerance::new(margin).expect("a margin");
    GateSettings {
        margin,
        alpha: 0.05,
        fails: Fails::OnLoss,
        exact: false,
        any_version: false,
        seed: Seed(0),
    }
}

fn passes(a: &str, b: &str, margin: f64) -> bool {
    gate(&outcomes(a), &outcomes(b), &settings(margin)).expect("comparable").passes
}

#[test]
fn a_loss_fails_if_it_is_larger_than_the_margin_and_than_chance() {
    let before = "+".repeat(300);
    let after = |lost: usize| "b".repeat(lost) + &"+".repeat(300 - lost);
    // p of 5 losses without a gain is 0.0625, of 6 it is 0.03125.
    assert!(passes(&before, &after(5), 0.0));
    assert!(!passes(&before, &after(6), 0.0));
    // 6 of 300 is exactly two points: not more than the margin.
    assert!(passes(&before, &after(6), 0.02));
    assert!(!passes(&before, &after(7), 0.02));
    // A gain never fails.
    assert!(passes(&after(100), &before, 0.0));
}

#[test]
fn unparsed_and_errored_count_as_lost() {
    let before = "+".repeat(60);
    for lost in ["?", "!", "c"] {
        assert!(!passes(&before, &(lost.repeat(20) + &"+".repeat(40)), 0.02), "{lost}");
    }
}

#[test]
fn a_step_that_collapses_fails_even_if_another_makes_up_for_it() {
    let before = "+bc".repeat(30);
    let after = "a+c".repeat(30);
    let decision = gate(&outcomes(&before), &outcomes(&after), &settings(0.02)).unwrap();
    assert!(!decision.passes);
    let parts: Vec<_> = decision.failures.iter().map(|failure| failure.part.as_str()).collect();
    assert_eq!(parts, ["1"], "Step 1 lost everything, the whole is unchanged");
}

#[test]
fn exact_fails_on_any_other_answer() {
    let exact = GateSettings { exact: true, ..settings(0.02) };
    let decide = |a: &str, b: &str| gate(&outcomes(a), &outcomes(b), &exact).unwrap().passes;
    assert!(decide("+b?!", "+b?!"));
    for other in ["bb?!", "++?!", "+c?!", "+bb!", "+b??"] {
        assert!(!decide("+b?!", other), "{other}");
    }
}

/// Six against none has p 0.03125, five 0.0625.
#[test]
fn a_run_that_must_repeat_fails_on_gains_and_on_what_is_read() {
    let repeat = GateSettings { fails: Fails::OnAnyMove, ..settings(0.0) };
    let decide = |a: &str, b: &str| gate(&outcomes(a), &outcomes(b), &repeat).unwrap();
    let some = |text: &str, n: usize| text.repeat(n);
    assert!(!decide(&(some("b", 6) + &some("+", 60)), &some("+", 66)).passes, "a gain");
    assert!(decide(&(some("b", 5) + &some("+", 60)), &some("+", 65)).passes);
    // Wrong before and after, but now a letter is read: a rule that accepts more.
    let read = decide(&(some("?", 6) + &some("+", 60)), &(some("b", 6) + &some("+", 60)));
    assert!(!read.passes && read.failures[0].part == "read", "{:?}", read.failures);
    assert!(read.failures[0].reason.contains("of 66 replies, of 60 before"), "{:?}", read.failures);
    assert!(decide(&(some("?", 5) + &some("+", 60)), &(some("b", 5) + &some("+", 60))).passes);
    assert!(passes(&(some("?", 6) + &some("+", 60)), &(some("b", 6) + &some("+", 60)), 0.0));
}

#[test]
fn what_differs_is_named_and_nothing_is_compared() {
    let a = outcomes("+++bbb");
    let differences = |b: &Outcomes, settings: &GateSettings| match gate(&a, b, settings) {
        Err(GateError::NotComparable { differences }) => differences.join("; "),
        other => panic!("{other:?}"),
    };
    let mut exam = a.clone();
    exam.exam.sha256 = "0".repeat(64);
    assert!(differences(&exam, &settings(0.0)).contains("exam `cases` (eeeeeeeeeeee)"));
    let mut protocol = a.clone();
    protocol.protocol.sha256 = "0".repeat(64);
    assert!(differences(&protocol, &settings(0.0)).contains("protocol strict-v1 (ffffffffffff)"));
    let mut version = a.clone();
    version.tool_version = "0.2.0".into();
    assert!(differences(&version, &settings(0.0)).contains("medharness 0.1.0 against 0.2.0"));
    let any_version = GateSettings { any_version: true, ..settings(0.0) };
    assert!(gate(&a, &version, &any_version).unwrap().passes);
    let fewer = outcomes("+++bb");
    assert!(differences(&fewer, &any_version).contains("1 questions asked in A alone"));
}

#[test]
fn absurd_margins_and_levels_are_refused() {
    for margin in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.01, 1.0, 2.0] {
        assert!(matches!(Tolerance::new(margin), Err(GateError::Margin { .. })), "{margin}");
    }
    let a = outcomes("+b");
    for alpha in [f64::NAN, f64::INFINITY, 0.0, -0.05, 0.21, 0.5, 1.0] {
        let settings = GateSettings { alpha, ..settings(0.0) };
        assert!(matches!(gate(&a, &a, &settings), Err(GateError::Alpha { .. })), "{alpha}");
    }
}

/// Two runs of equal skill: half of the questions are certain, the others a coin each time.
#[test]
fn chance_alone_fails_at_most_as_often_as_stated() {
    let mut coins = Generator::new(Seed(5));
    let mut answers = || -> String {
        let coin = |index: usize, coins: &mut Generator| {
            if index.is_multiple_of(2) || coins.below(2) == 0 { '+' } else { 'b' }
        };
        (0..150).map(|index| coin(index, &mut coins)).collect()
    };
    let trials = 400;
    let failed = (0..trials)
        .filter(|_| {
            let (a, b) = (answers(), answers());
            !passes(&a, &b, 0.0)
        })
        .count();
    // At most 5 %: 20 of 400 expected, 33 is three standard deviations above.
    assert!(failed <= 33, "{failed} of {trials} failed by chance");
    // And the exact tests are not idle.
    assert!(failed >= 1, "none of {trials} failed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the answers, a failure names a loss, and a pass has none.
    #[test]
    fn a_verdict_has_its_reasons(
        pairs in prop::collection::vec(("[+bc?!]", "[+bc?!]"), 1..120), margin in 0.0_f64..0.3,
    ) {
        let (a, b): (Vec<String>, Vec<String>) = pairs.into_iter().unzip();
        let decision = gate(&outcomes(&a.concat()), &outcomes(&b.concat()), &settings(margin)).unwrap();
        prop_assert_eq!(decision.passes, decision.failures.is_empty());
        for part in &decision.comparison.parts {
            let failed = decision.failures.iter().any(|failure| failure.part == part.name);
            let lost = part.a_correct as f64 - part.b_correct as f64;
            prop_assert_eq!(failed, part.p_adjusted < 0.05 && lost > margin * part.questions as f64 + 1e-9);
            prop_assert_eq!(part.a_correct + part.gained, part.b_correct + part.lost);
        }
        prop_assert_eq!(decision.underpowered, decision.power.starts_with("underpowered"));
    }
}

/// Runs the command with both reports; returns exit code, stdout, JUnit and Markdown.
fn command(
    dir: &Path,
    arguments: &[&str],
    paths: [(&str, &Path); 2],
) -> (i32, String, String, String) {
    let (junit, markdown) = (dir.join("gate.xml"), dir.join("gate.md"));
    let mut command = medharness();
    command.arg("gate").args(arguments);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.arg("--junit").arg(&junit).arg("--markdown").arg(&markdown);
    let output = command.output().expect("the program starts");
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("no signal"), stdout, read(&junit), read(&markdown))
}

#[test]
fn verdict_exit_code_and_reports_agree() {
    let dir = tempdir().unwrap();
    let (gold, noisy) = (run(dir.path(), "gold", 0, 120), run(dir.path(), "noisy", 1, 120));
    let strict = dir.path().join("strict");
    evaluate(&exam(120), "strict-v1", "gold", 0, Choice::default(), 1, &strict);

    let (code, stdout, junit, markdown) =
        command(dir.path(), &[], [("--baseline", &*noisy), ("--run", &*gold)]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("Gate: pass") && markdown.starts_with("# Gate: pass"));
    assert!(
        junit.contains("tests=\"4\" failures=\"0\" errors=\"0\"") && !junit.contains("<failure")
    );
    for text in [&stdout, &junit, &markdown] {
        assert!(text.contains("underpowered: with 113 questions"), "{text}");
    }

    let (code, stdout, junit, markdown) =
        command(dir.path(), &[], [("--baseline", &*gold), ("--run", &*noisy)]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("Gate: REGRESSION") && markdown.starts_with("# Gate: REGRESSION"));
    assert!(junit.contains("<failure message=") && !junit.contains("failures=\"0\""));
    assert!(markdown.contains("case-0"), "flips are listed by question");
    insta_junit(&junit);

    let (code, stdout, junit, markdown) =
        command(dir.path(), &[], [("--baseline", &*gold), ("--run", &*strict)]);
    assert_eq!((code, &*stdout), (2, ""));
    assert!(junit.contains("errors=\"1\"") && junit.contains("<error message="));
    assert!(junit.contains("protocol medalpaca-fixed"), "{junit}");
    assert!(markdown.starts_with("# Gate: no verdict") && markdown.contains("not comparable"));

    let (code, _, junit, _) =
        command(dir.path(), &[], [("--baseline", &*gold), ("--run", Path::new("/no/such/run"))]);
    assert_eq!(code, 2);
    assert!(junit.contains("<error message="));
}

fn insta_junit(junit: &str) {
    let _guard = crate::snapshots();
    insta::assert_snapshot!("gate_junit", junit);
}

#[test]
fn absurd_numbers_on_the_command_line_end_with_2() {
    let dir = tempdir().unwrap();
    let gold = run(dir.path(), "gold", 0, 12);
    for arguments in [
        ["--margin", "NaN"],
        ["--margin", "inf"],
        ["--margin", "-inf"],
        ["--margin", "-0.02"],
        ["--margin", "1"],
        ["--margin", "two"],
        ["--alpha", "NaN"],
        ["--alpha", "0"],
        ["--alpha", "-1"],
        ["--alpha", "0.9"],
    ] {
        let paths = [("--baseline", &*gold), ("--run", &*gold)];
        assert_eq!(command(dir.path(), &arguments, paths).0, 2, "{arguments:?}");
    }
    let (code, ..) =
        command(dir.path(), &["--margin", "0"], [("--baseline", &gold), ("--run", &gold)]);
    assert_eq!(code, 0);
}

#[test]
fn a_written_baseline_judges_as_its_run_does() {
    let dir = tempdir().unwrap();
    let (gold, noisy) = (run(dir.path(), "gold", 0, 60), run(dir.path(), "noisy", 1, 60));
    let baseline = dir.path().join("baseline.json");
    let write = medharness()
        .args(["gate", "--write-baseline"])
        .arg(&baseline)
        .arg("--run")
        .arg(&gold)
        .output()
        .unwrap();
    assert!(write.status.success());
    let by_file = command(dir.path(), &[], [("--baseline", &*baseline), ("--run", &*noisy)]);
    let by_run = command(dir.path(), &[], [("--baseline", &*gold), ("--run", &*noisy)]);
    assert_eq!(by_file, by_run);
    assert_eq!(by_file.0, 1);
    let itself = command(dir.path(), &["--exact"], [("--baseline", &*baseline), ("--run", &*gold)]);
    assert_eq!(itself.0, 0);
}

#[test]
fn an_incomplete_run_is_not_judged() {
    let dir = tempdir().unwrap();
    let gold = run(dir.path(), "gold", 0, 12);
    let cut = run(dir.path(), "always-A", 0, 12);
    fs::remove_file(cut.join("summary.json")).unwrap();
    let (code, _, junit, _) = command(dir.path(), &[], [("--baseline", &*gold), ("--run", &*cut)]);
    assert_eq!(code, 2);
    assert!(junit.contains("is not complete"), "{junit}");
}
