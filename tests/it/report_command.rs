//! `medharness report` on run directories: every form, checks that fail when they should.

#![expect(clippy::unwrap_used, reason = "a test fails where it does not hold")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    snapshots,
    support::{medharness, transcript},
};

/// Asks two canned models an exam of twelve questions and returns both run directories.
fn runs(folder: &Path) -> [PathBuf; 2] {
    let letters = ["A", "B", "C", "D"];
    let exam: String = (0..12)
        .map(|number| {
            let options = letters.map(
                |letter| json!({ "letter": letter, "text": format!("colour {letter}{number}") }),
            );
            let line = json!({
                "id": format!("q{number}"), "step": if number < 6 { "1" } else { "2" },
                "question": format!("Which colour has item {number}?"), "options": options,
                "answer": letters[number % 4], "has_image": false, "source": "test",
            });
            format!("{line}\n")
        })
        .collect();
    let path = folder.join("exam.jsonl");
    fs::write(&path, exam).unwrap();
    ["gold", "always-B"].map(|model| {
        let out = folder.join(model);
        medharness()
            .args(["eval", "--protocol", "strict-v1", "--model", &format!("stub:{model}")])
            .args(["--exam", path.to_str().unwrap(), "--out", out.to_str().unwrap()])
            .assert()
            .success();
        out
    })
}

fn report(runs: &[PathBuf]) -> assert_cmd::Command {
    let mut command = medharness();
    command.arg("report").args(runs);
    command
}

fn stdout(command: &mut assert_cmd::Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn two_runs_are_reported_in_every_form() {
    let _guard = snapshots();
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    insta::assert_snapshot!("report_command_text", stdout(&mut report(&runs)));
    let csv = stdout(report(&runs).args(["--format", "csv"]));
    assert_eq!(csv.lines().count(), 1 + 2 * 3, "two runs of three parts: {csv}");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let accuracy = reader.headers().unwrap().iter().position(|name| name == "accuracy").unwrap();
    let values: Vec<String> =
        reader.records().map(|record| record.unwrap()[accuracy].to_owned()).collect();
    assert_eq!((&*values[0], &*values[3]), ("1", "0.25"));
    let markdown = stdout(report(&runs).args(["--format", "markdown"]));
    assert!(markdown.contains("## Fields of always-B") && markdown.contains("not_reported"));
    let page = folder.path().join("page.html");
    report(&runs).args(["--format", "html", "--out"]).arg(&page).assert().success().stdout("");
    assert!(fs::read_to_string(page).unwrap().starts_with("<!doctype html>"));
}

#[test]
fn a_report_is_checked_against_its_runs_number_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    let path = folder.path().join("report.json");
    report(&runs).args(["--format", "json", "--out"]).arg(&path).assert().success();
    let check = || {
        let mut command = report(&runs);
        command.arg("--check").arg(&path);
        command
    };
    check().assert().success();
    medharness().args(["report", "--check"]).arg(&path).assert().success();
    let whole: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut changed = whole.clone();
    changed["runs"][1]["results"]["parts"][0]["accuracies"]["headline"]["value"] = json!(0.26);
    fs::write(&path, changed.to_string()).unwrap();
    let text = transcript(&mut check());
    assert!(text.starts_with("exit: 1\n"), "{text}");
    assert!(text.contains("runs[1].results.parts[0].accuracies.headline.value"), "{text}");
    let mut torn = whole;
    torn["runs"][0]["data"].as_object_mut().unwrap().remove("sha256");
    fs::write(&path, torn.to_string()).unwrap();
    let text = transcript(medharness().args(["report", "--check"]).arg(&path));
    assert!(text.starts_with("exit: 1\n") && text.contains("data.sha256"), "{text}");
    fs::write(&path, "{").unwrap();
    medharness().args(["report", "--check"]).arg(&path).assert().code(2);
}

#[test]
fn two_reports_of_the_same_runs_have_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    for format in ["text", "markdown", "csv", "json", "html"] {
        let once = stdout(report(&runs).args(["--format", format]));
        assert_eq!(once, stdout(report(&runs).args(["--format", format])), "{format}");
    }
}

#[test]
fn a_summary_that_disagrees_with_its_attempts_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    let path = runs[1].join("summary.json");
    let mut summary: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    summary["parts"][0]["ledger"]["correct"] = json!(4);
    summary["parts"][0]["ledger"]["wrong"] = json!(8);
    fs::write(&path, summary.to_string()).unwrap();
    let text = transcript(&mut report(&runs));
    assert!(text.starts_with("exit: 1\n"), "{text}");
    assert!(text.contains("summary.json of `always-B`") && text.contains("hint: "), "{text}");
}

#[test]
fn what_is_no_complete_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let runs = runs(folder.path());
    report(&[folder.path().join("exam.jsonl")]).assert().code(2);
    report(&[folder.path().join("nowhere")]).assert().code(2);
    medharness().arg("report").assert().code(2);
    let inside = runs[0].join("report.html");
    report(&runs).args(["--format", "html", "--out"]).arg(&inside).assert().code(2);
    let attempts = runs[0].join("attempts.jsonl");
    let text = fs::read_to_string(&attempts).unwrap();
    let cut: String = text.lines().take(5).map(|line| format!("{line}\n")).collect();
    fs::write(&attempts, cut).unwrap();
    let text = transcript(&mut report(&runs));
    assert!(text.starts_with("exit: 2\n"), "{text}");
}

#[test]
fn the_schema_is_printed_without_a_run() {
    let schema: Value =
        serde_json::from_str(&stdout(medharness().args(["report", "--schema"]))).unwrap();
    assert_eq!(schema["properties"]["schema_version"]["const"], 1);
}
