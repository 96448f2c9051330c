//! A run leaves in other harnesses' formats with its numbers and hashes intact.
//!
//! `golden/make/read_exports.py` reads the same files back with the real packages.

use std::{fs, path::Path};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::medharness;

/// Evaluates the own small exam with a stub and exports the run; returns the exported files.
fn exported(folder: &Path, protocol: &str, to: &str) -> Vec<(String, String)> {
    let (run, out) = (folder.join("run"), folder.join("out"));
    medharness()
        .args(["eval", "--model", "stub:noisy", "--exam", "golden/exams/own.jsonl"])
        .args(["--protocol", protocol, "--out"])
        .arg(&run)
        .assert()
        .success();
    let listed =
        medharness().arg("export").arg(&run).args(["--to", to, "--out"]).arg(&out).output();
    let listed = String::from_utf8(listed.expect("runs").stdout).expect("UTF-8");
    let mut files: Vec<_> = listed
        .lines()
        .map(|path| {
            let name = Path::new(path).file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("exported"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing exported to {to}");
    files
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn lm_eval_gets_its_hashes_and_its_accuracy() {
    for protocol in ["strict-v1", "paper-2023-04", "mmlu-letter"] {
        let folder = tempfile::tempdir().expect("a folder");
        let files = exported(folder.path(), protocol, "lm-eval");
        let [(results_name, results), (samples_name, samples)] = &files[..] else {
            panic!("two files, not {}", files.len());
        };
        let date = results_name.strip_prefix("results_").and_then(|n| n.strip_suffix(".json"));
        let date = date.expect("results_{date}.json");
        assert!(!date.contains('_') && samples_name.ends_with(&format!("_{date}.jsonl")));
        let (results, samples) = (json(results), samples.lines().map(json).collect::<Vec<_>>());
        let task = results["results"].as_object().expect("tasks").keys().next().expect("a task");
        assert!(samples_name.starts_with(&format!("samples_{task}_")));
        let mut hashes = String::new();
        let mut credit = 0.0;
        for sample in &samples {
            let doc = serde_json::to_string_pretty(&sample["doc"]).expect("writable");
            let prompt = sample["arguments"]["gen_args_0"]["arg_0"].as_str().expect("a prompt");
            assert_eq!(sample["doc_hash"], sha256(&doc));
            assert_eq!(sample["prompt_hash"], sha256(prompt));
            assert_eq!(sample["target_hash"], sha256(sample["target"].as_str().expect("a letter")));
            for key in ["doc_hash", "prompt_hash", "target_hash"] {
                hashes.push_str(sample[key].as_str().expect("a hash"));
            }
            credit += sample["acc"].as_f64().expect("a credit");
        }
        assert_eq!(results["task_hashes"][task], sha256(&hashes));
        let row = results["results"][task].as_object().expect("a row");
        let (_, accuracy) = row.iter().find(|(key, _)| key.starts_with("acc,")).expect("acc");
        assert_eq!(accuracy.as_f64(), Some(credit / samples.len() as f64), "{protocol}");
        let summary = &results["medharness"]["summary"]["parts"][0]["ledger"];
        assert_eq!(summary["correct"].as_f64(), Some(credit), "{protocol}");
    }
}

#[test]
fn inspect_gets_one_sample_a_question() {
    for protocol in ["strict-v1", "medqa-text"] {
        let folder = tempfile::tempdir().expect("a folder");
        let files = exported(folder.path(), protocol, "inspect");
        assert_eq!(files.len(), 1);
        let log = json(&files[0].1);
        assert_eq!((&log["version"], &log["status"]), (&Value::from(2), &Value::from("success")));
        let samples = log["samples"].as_array().expect("samples");
        let scorer = log["results"]["scores"][0]["scorer"].as_str().expect("a scorer");
        let right = samples.iter().filter(|s| s["scores"][scorer]["value"] == "C").count();
        let accuracy = &log["results"]["scores"][0]["metrics"]["accuracy"]["value"];
        assert_eq!(accuracy.as_f64(), Some(right as f64 / samples.len() as f64));
        for sample in samples.iter().filter(|s| s["scores"][scorer]["value"] == "C") {
            assert_eq!(sample["scores"][scorer]["answer"], sample["target"]);
        }
    }
}

#[test]
fn what_is_no_run_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    medharness().arg("export").arg(folder.path()).args(["--to", "inspect"]).assert().code(2);
}

#[test]
fn lm_eval_samples_are_rescored() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = exported(folder.path(), "strict-v1", "lm-eval");
    let samples = folder.path().join("out").join(&files[1].0);
    let rescored = |path: &Path| {
        let output = medharness()
            .arg("rescore")
            .arg(path)
            .args(["--rule", "strict-v1", "--format", "json"])
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        json(&String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let (ours, theirs) = (rescored(&folder.path().join("run")), rescored(&samples));
    let strict = |report: &Value| report["rules"][0]["strict"]["successes"].clone();
    assert_eq!(strict(&ours), strict(&theirs), "{theirs:#}");
    assert!(strict(&ours).is_u64(), "{ours:#}");
}

#[test]
fn scored_lm_eval_samples_have_no_reply() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = exported(folder.path(), "mmlu-letter", "lm-eval");
    let samples = folder.path().join("out").join(&files[1].0);
    let output = medharness().arg("rescore").arg(samples).args(["--rule", "all"]).output();
    let output = output.expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("log-likelihoods of options, no reply to read"), "{stderr}");
}
