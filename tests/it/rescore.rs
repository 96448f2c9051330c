//! `medharness rescore` on every layout it reads, and on what it must refuse.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    runs, snapshots,
    support::{medharness, transcript},
};

/// A file of golden/replies/transcripts.
fn own(name: &str) -> String {
    format!("golden/replies/transcripts/{name}")
}

fn rescore(arguments: &[&str]) -> assert_cmd::Command {
    let mut command = medharness();
    command.arg("rescore").args(arguments);
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = rescore(&[arguments, &["--format", "json"]].concat()).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The entry of one rule.
fn rule<'a>(rescoring: &'a Value, id: &str) -> &'a Value {
    let rules = rescoring["rules"].as_array().expect("a list");
    rules.iter().find(|rule| rule["rule"] == id).expect("asked for")
}

#[test]
fn all_rules_stand_side_by_side_in_every_format() {
    let _guard = snapshots();
    for format in ["text", "markdown", "json"] {
        let mut command =
            rescore(&[&own("answers.jsonl"), "--by", "topic", "--flips", "--format", format]);
        insta::assert_snapshot!(format!("rescore_{format}"), transcript(&mut command));
    }
}

#[test]
fn every_layout_is_read() {
    let _guard = snapshots();
    for name in [
        "mmlu_pro.jsonl",
        "mirage.jsonl",
        "medical_reasoning.jsonl",
        "letters.jsonl",
        "free_text.json",
    ] {
        let mut command =
            rescore(&[&own(name), "--rule", "startswith,mirage,opencompass,mmlu-pro"]);
        let stem = name.split('.').next().expect("a stem");
        insta::assert_snapshot!(format!("rescore_{stem}"), transcript(&mut command));
    }
}

#[test]
fn every_answer_is_in_one_place() {
    for name in ["answers.jsonl", "mmlu_pro.jsonl", "mirage.jsonl", "letters.jsonl"] {
        let rescoring = json(&[&own(name)]);
        let selection = &rescoring["selection"];
        let count = |name: &str| selection[name].as_u64().expect("a count");
        assert_eq!(
            count("recorded"),
            count("left_out") + count("other_attempts") + count("answers"),
            "{name}"
        );
        for rule in rescoring["rules"].as_array().expect("a list") {
            let Some(counts) = rule["counts"].as_object() else { continue };
            let sum: u64 = ["right", "wrong", "unparsed", "missing"]
                .iter()
                .filter_map(|part| counts[*part].as_u64())
                .sum();
            assert_eq!(counts["asked"], sum, "{name}: {}", rule["rule"]);
        }
    }
}

#[test]
fn the_attempt_that_counts_can_be_chosen() {
    let last = json(&[&own("answers.jsonl"), "--rule", "medalpaca"]);
    let first = json(&[&own("answers.jsonl"), "--rule", "medalpaca", "--attempt", "first"]);
    assert_eq!(
        rule(&last, "medalpaca")["counts"]["right"],
        3,
        "q1, q8, and q4 in its second attempt"
    );
    assert_eq!(rule(&first, "medalpaca")["counts"]["right"], 2);
}

/// Bounds are over answers with a known right letter, and so are the reasons beside them.
#[test]
fn what_bounds_are_open_for_counts_only_answers_that_are_scored() {
    let folder = tempfile::tempdir().expect("scratch");
    let path = folder.path().join("answers.jsonl");
    let line = |id: &str, gold: &str, reply: &str| {
        format!(r#"{{"id": "{id}", "text": "{reply}", {gold}"options": ["Lung", "Liver"]}}"#)
    };
    let (known, unknown) = (r#""gold": "A", "#, "");
    let answers = [
        line("1", known, "A: Lung"),
        line("2", known, "I do not know."),
        line("3", unknown, "Nor do I."),
    ];
    fs::write(&path, answers.join("\n")).expect("written");
    let text = transcript(&mut rescore(&[path.to_str().expect("UTF-8"), "--rule", "strict-v1"]));
    assert!(text.contains("1 to 2 of 2") && text.contains("unparsed 1"), "{text}");
}

#[test]
fn labels_choose_and_group() {
    let chosen =
        json(&[&own("answers.jsonl"), "--where", "topic=infection", "--rule", "strict-v1"]);
    assert_eq!(chosen["selection"]["answers"], 3);
    assert_eq!(rule(&chosen, "strict-v1")["counts"]["right"], 1);
    assert_eq!(rule(&chosen, "strict-v1")["unparsed_by_reason"]["truncated"], 1);
    for (arguments, message) in [
        (["--where", "subject=infection"], "no answer has the label `subject`; there are topic"),
        (["--by", "subject"], "no answer has the label `subject`; there are topic"),
        (["--where", "topic=surgery"], "none of 9 answers has topic=surgery"),
    ] {
        let output = rescore(&[&[&*own("answers.jsonl")], &arguments[..]].concat()).output();
        let output = output.expect("runs");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_silent_default_is_counted_apart() {
    let rescoring = json(&[&own("mirage.jsonl"), "--rule", "mirage", "--published", "80"]);
    let mirage = rule(&rescoring, "mirage");
    assert_eq!(mirage["counts"]["right"], 3);
    assert_eq!(mirage["defaults"], 2);
    assert_eq!(mirage["counts"]["right_by_default"], 1);
    assert_eq!(mirage["without_defaults"]["successes"], 2);
    assert_eq!(mirage["counts"]["missing"], 1);
    assert_eq!(mirage["bounds"][1]["successes"], 4);
    assert_eq!(rescoring["published"]["counts"], serde_json::json!([4]));
    assert_eq!(rescoring["published"]["equal"], serde_json::json!([]));
    assert_eq!(rescoring["published"]["with_missing"], serde_json::json!(["mirage"]));
}

#[test]
fn a_malformed_record_is_named_and_nothing_is_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = r#"{"id": "1", "text": "A", "gold": "A"}"#;
    let mmlu = r#"{"question_id": 1, "options": ["a", "b"], "answer": "A", "category": "x", "generated_text": 7}"#;
    let cases: &[(&str, &[u8], &str)] = &[
        ("cut", b"{\"id\": \"1\", \"te", ":1: not a JSON object"),
        ("torn", &[good, "\n{\"id\": \"2\", "].concat().into_bytes(), ":2: not a JSON object"),
        (
            "twice",
            &[good, "\n\n", good].concat().into_bytes(),
            ":3: `1`, attempt 1 is recorded twice",
        ),
        (
            "gold",
            br#"{"id": "1", "text": "A", "gold": "a"}"#,
            ":1: field `gold`: expected a capital",
        ),
        (
            "offered",
            br#"{"id": "1", "text": "A", "gold": "C", "options": ["x", "y"]}"#,
            ":1: field `gold`: C is not offered",
        ),
        ("extra", br#"{"id": "1", "text": "A", "anwser": "A"}"#, ":1: unknown field `anwser`"),
        ("type", br#"{"id": "1", "text": 5}"#, ":1: field `text`: expected text, got 5"),
        ("id", br#"{"id": 1.5, "text": "A"}"#, ":1: field `id`: expected text or a whole number"),
        (
            "attempt",
            br#"{"id": "1", "attempt": 0, "text": "A"}"#,
            ":1: field `attempt`: expected 1 or more",
        ),
        (
            "finish",
            br#"{"id": "1", "text": "A", "finish_reason": "bored"}"#,
            ":1: field `finish_reason`",
        ),
        (
            "both",
            br#"{"id": "1", "text": "A", "error": "x"}"#,
            ":1: fields `text` and `error` exclude",
        ),
        (
            "letters",
            br#"{"id": "1", "text": "A", "options": {"A": "x", "b": "y"}}"#,
            ":1: field `options`: expected a capital",
        ),
        ("none", br#"{"id": "1", "text": "A", "options": []}"#, ":1: field `options`: no options"),
        ("mmlu", mmlu.as_bytes(), ":1: field `generated_text`: expected text, got 7"),
        (
            "mirage",
            br#"{"id": "1", "file_text": "[{]", "gold": "A"}"#,
            ":1: field `file_text`: not the JSON",
        ),
        ("mixed", &[good, "\n", mmlu].concat().into_bytes(), ":2: unknown field `question_id`"),
        (
            "latin1",
            b"{\"id\": \"1\", \"text\": \"A\"}\n{\"id\": \"2\", \"text\": \"\xe9\"}",
            ":2: not UTF-8",
        ),
        ("empty", b" \n", "no recorded answers"),
        ("list", b"[1]", ":1: not a list of JSON objects"),
        (
            "record",
            br#"[{"id": 0, "instruction": "x", "response": 1}]"#,
            ": record 1: field `response`",
        ),
        ("unknown", br#"{"prompt": "x"}"#, "no known layout has the fields prompt"),
    ];
    for (name, bytes, expected) in cases {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("writable");
        let output = rescore(&[path.to_str().expect("UTF-8")]).output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.contains("hint: ") && output.stdout.is_empty(), "{name}: {error}");
    }
    let output = rescore(&["no/such/file"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn byte_order_mark_and_carriage_returns_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = fs::read_to_string(own("answers.jsonl")).expect("golden");
    let path = folder.path().join("answers.jsonl");
    fs::write(&path, format!("\u{feff}{}", text.replace('\n', "\r\n"))).expect("writable");
    let mut plain = json(&[&own("answers.jsonl")]);
    let mut other = json(&[path.to_str().expect("UTF-8")]);
    for rescoring in [&mut plain, &mut other] {
        rescoring["source"] = Value::Null;
    }
    assert_eq!(plain, other);
}

#[test]
fn an_unknown_rule_or_share_is_a_usage_error() {
    let file = own("answers.jsonl");
    for arguments in [
        [&*file, "--rule", "argmax"],
        [&*file, "--rule", "strict"],
        [&*file, "--published", "NaN"],
        [&*file, "--published", "104"],
        [&*file, "--where", "topic"],
    ] {
        rescore(&arguments).assert().code(2);
    }
    assert!(Path::new(&file).exists());
}

#[test]
fn a_run_under_its_own_rule_gives_its_own_numbers() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = runs::run(folder.path(), "noisy", 3, 60);
    let summary = runs::open(&run).summary.expect("complete");
    let ledger = &summary.parts[0].ledger;
    let rescoring = json(&[run.to_str().expect("UTF-8"), "--by", "step"]);
    assert_eq!(rescoring["source"]["shape"], "run");
    let medalpaca = rule(&rescoring, "medalpaca");
    let counts = &medalpaca["counts"];
    assert_eq!(counts["asked"], ledger.asked);
    assert_eq!(counts["right"], ledger.correct);
    assert_eq!(counts["wrong"], ledger.wrong);
    assert_eq!(counts["unparsed"], ledger.unparsed);
    assert_eq!(counts["missing"], ledger.errored);
    assert_eq!(medalpaca["as_marked"]["same"], ledger.asked, "the run's own outcomes");
    assert_eq!(rescoring["groups"].as_array().expect("a list").len(), 3);
    assert!(rescoring["selection"]["other_attempts"].as_u64() > Some(0), "some were asked again");
}

#[test]
fn replies_that_failed_are_missing_and_scored_runs_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let failed = json(&[runs::run(folder.path(), "error", 1, 8).to_str().expect("UTF-8")]);
    assert_eq!(rule(&failed, "mirage")["counts"]["missing"], 8, "no default for no reply");
    let scored = folder.path().join("scored");
    let choice = medharness::eval::Choice::default();
    runs::evaluate(&runs::exam(8), "mmlu-letter", "gold", 1, choice, 1, &scored);
    let output = rescore(&[scored.to_str().expect("UTF-8")]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("its protocol `mmlu-letter` scores the options"), "{error}");
    let output = rescore(&["src"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "a folder that is no run");
}

#[test]
fn an_exam_brings_options_and_right_answers() {
    let folder = tempfile::tempdir().expect("a folder");
    let exam = runs::exam_file(folder.path(), 3);
    let answers = folder.path().join("answers.jsonl");
    let question = runs::exam(3).questions[1].clone();
    let text =
        format!("{}: {}", question.answer, question.option(question.answer).expect("offered"));
    let line = serde_json::json!({"id": question.id, "text": text});
    fs::write(&answers, line.to_string()).expect("writable");
    let paths = [answers.to_str().expect("UTF-8"), "--exam", exam.to_str().expect("UTF-8")];
    let rescoring = json(&paths);
    assert_eq!(rule(&rescoring, "strict-v1")["counts"]["right"], 1);
    assert_eq!(rescoring["replies"]["not_recorded"], serde_json::json!(["case-000", "case-002"]));
    for (line, expected) in [
        (r#"{"id": "case-9", "text": ""}"#, "the exam `cases` has no question `case-9`"),
        (r#"{"id": "case-001", "text": "", "gold": "A"}"#, "field `gold`: A, but the exam says"),
    ] {
        fs::write(&answers, line).expect("writable");
        let output = rescore(&paths).output().expect("runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && error.contains(expected), "{error}");
    }
}
