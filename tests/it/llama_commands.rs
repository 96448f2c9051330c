//! `generate`, `score`, `synth` and `eval` on checkpoints, as a user runs them.

use std::{fs, path::Path};

use medharness::{llama::synth, models::OpenOptions};
use serde_json::{Value, json};

use crate::{
    llama_support::goldens,
    support::{medharness, transcript},
};

fn json_lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("written");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn write_lines(path: &Path, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("written");
}

fn golden(name: &str) -> Value {
    let text = fs::read_to_string(goldens().join(name)).expect("golden");
    serde_json::from_str(&text).expect("golden")
}

#[test]
fn generate_from_an_empty_prompt_repeats_the_published_greedy_text() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let (prompts, out) = (scratch.path().join("in.jsonl"), scratch.path().join("out.jsonl"));
    write_lines(
        &prompts,
        &[json!({"id": "a", "prompt": ""}), json!({"id": 7, "prompt": "Once upon"})],
    );
    for dtype in ["f32", "bf16"] {
        medharness()
            .args(["generate", "--greedy", "--max-new-tokens", "200", "--dtype", dtype, "--model"])
            .arg(&model)
            .arg("--prompts")
            .arg(&prompts)
            .arg("--out")
            .arg(&out)
            .assert()
            .success();
        let lines = json_lines(&out);
        assert_eq!(lines[1]["id"], json!(7));
        assert_eq!(lines[0]["finish_reason"], "length");
        let text = lines[0]["text"].as_str().expect("text");
        assert!(
            text.starts_with("Once upon a time, there was a little girl named Lily."),
            "{text}"
        );
        if dtype == "f32" {
            let want = fs::read_to_string(model.join("expected_greedy.json")).expect("real data");
            let want: Value = serde_json::from_str(&want).expect("real data");
            let new = &want["ids"].as_array().expect("ids")[1..];
            assert_eq!(lines[0]["ids"].as_array().expect("ids"), new);
        }
    }
}

#[test]
fn a_sampled_reply_depends_on_its_id_and_the_seed_not_on_the_other_lines() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let (prompts, out) = (scratch.path().join("in.jsonl"), scratch.path().join("out.jsonl"));
    let run = |lines: &[Value], seed: &str| {
        write_lines(&prompts, lines);
        medharness()
            .args(["generate", "--temperature", "1.5", "--top-k", "50", "--top-p", "0.9"])
            .args(["--max-new-tokens", "40", "--seed", seed, "--model"])
            .arg(&model)
            .arg("--prompts")
            .arg(&prompts)
            .arg("--out")
            .arg(&out)
            .assert()
            .success();
        json_lines(&out)
    };
    let line = |id: &str| json!({"id": id, "prompt": "Once upon a time", "extra": 1});
    let all = run(&[line("a"), line("b"), line("c")], "5");
    assert!(all[0]["ids"] != all[1]["ids"] || all[1]["ids"] != all[2]["ids"]);
    assert_eq!(run(&[line("c")], "5")[0], all[2]);
    assert!(run(&[line("c")], "6")[0] != all[2]);
}

#[test]
fn score_equals_lm_eval_in_the_order_of_the_requests() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let (requests, out) = (scratch.path().join("in.jsonl"), scratch.path().join("out.jsonl"));
    let golden = golden("lm_eval_scores.json");
    let golden = golden["requests"].as_array().expect("requests");
    write_lines(&requests, golden);
    let output = medharness()
        .args(["score", "--model"])
        .arg(&model)
        .arg("--requests")
        .arg(&requests)
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let stdout = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(stdout.starts_with("200 scores in "), "{stdout}");
    for (got, want) in json_lines(&out).iter().zip(golden) {
        assert_eq!(got["id"], want["id"]);
        let log_prob = |value: &Value| value["log_prob"].as_f64().expect("a number");
        assert!((log_prob(got) - log_prob(want)).abs() <= 1e-4, "{got}, not {want}");
        assert_eq!((&got["tokens"], &got["is_greedy"]), (&want["tokens"], &want["is_greedy"]));
    }
}

#[test]
fn bad_requests_end_with_2_before_anything_runs() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let (requests, out) = (scratch.path().join("in.jsonl"), scratch.path().join("out.jsonl"));
    let long = "Once upon a time ".repeat(200);
    let cases = [
        json!({"id": "a", "context": "x"}).to_string(),
        json!({"id": ["a"], "context": "x", "continuation": "y"}).to_string(),
        json!({"id": "a", "context": "x", "continuation": ""}).to_string(),
        json!({"id": "long", "context": long, "continuation": "y"}).to_string(),
        "{\"id\": 1, \"context\": \"x\", \"continuation\": \"y\"}\n{\"id\": 1, \"context\": \"\", \"continuation\": \"\"}".into(),
        "\n".into(),
        "{".into(),
    ];
    let mut seen = String::new();
    for case in cases {
        fs::write(&requests, case).expect("written");
        seen.push_str(&transcript(
            medharness()
                .args(["score", "--model"])
                .arg(&model)
                .arg("--requests")
                .arg(&requests)
                .arg("--out")
                .arg(&out),
        ));
        assert!(!out.exists(), "nothing is written for bad input");
    }
    let seen = seen.replace(&scratch.path().display().to_string(), "DIR");
    let _guard = crate::snapshots();
    insta::assert_snapshot!("llama_bad_requests", seen);
}

#[test]
fn a_missing_or_broken_checkpoint_ends_with_2() {
    let scratch = tempfile::tempdir().expect("scratch");
    let path = scratch.path().display().to_string();
    let requests = scratch.path().join("in.jsonl");
    write_lines(&requests, &[json!({"id": 1, "context": "x", "continuation": "y"})]);
    let run = || {
        let mut command = medharness();
        command
            .args(["score", "--model", &path, "--out", "/dev/null", "--requests"])
            .arg(&requests);
        transcript(&mut command).replace(&path, "DIR")
    };
    let mut seen = run();
    fs::write(scratch.path().join("config.json"), "{\"model_type\": \"bert\"}").expect("written");
    seen.push_str(&run());
    let _guard = crate::snapshots();
    insta::assert_snapshot!("llama_broken_checkpoint", seen);
}

#[test]
fn synth_writes_a_checkpoint_that_scores() {
    let small = goldens().join("../tokenizers/tiny");
    let scratch = tempfile::tempdir().expect("scratch");
    let folder = scratch.path().join("s");
    let synth = |code| {
        medharness()
            .args(["synth", "--shape", "s", "--dtype", "bf16", "--seed", "3", "--tokenizer"])
            .arg(&small)
            .arg(&folder)
            .assert()
            .code(code);
    };
    synth(0);
    // The folder is not empty any more.
    synth(2);
    let requests = scratch.path().join("in.jsonl");
    let out = scratch.path().join("out.jsonl");
    write_lines(&requests, &[json!({"id": 1, "context": "A patient", "continuation": " is"})]);
    medharness()
        .args(["score", "--bos", "none", "--model"])
        .arg(&folder)
        .arg("--requests")
        .arg(&requests)
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let log_prob = json_lines(&out)[0]["log_prob"].as_f64().expect("a number");
    assert!((-40.0..-1.0).contains(&log_prob), "{log_prob}");
    assert_eq!(synth::SHAPES.len(), 5);
}

#[test]
fn a_checkpoint_opens_as_a_model_with_every_identity() {
    let folder = shared!("checkpoints/stories260k");
    let spec = folder.display().to_string();
    let opened = medharness::models::open(&spec, &OpenOptions::default()).expect("opens");
    let identity = opened.model.identity();
    assert_eq!((&*identity.name, &*identity.backend), ("stories260k", "llama"));
    assert_eq!(identity.dtype.as_deref(), Some("f32"));
    let names: Vec<&str> = identity.files.iter().map(|file| &*file.name).collect();
    assert_eq!(
        names,
        ["model.safetensors", "config.json", "tokenizer.model", "tokenizer_config.json"]
    );
    assert!(opened.model.capabilities().tokens);
    assert!(opened.model.kernel_set() != "none");
}

/// Two questions, of which the second does not fit a context of 512 tokens.
fn two_questions(folder: &Path) -> std::path::PathBuf {
    let question = |id: &str, text: &str| {
        json!({"id": id, "step": "1", "question": text, "answer": "B", "has_image": false,
            "source": "test", "options": [{"letter": "A", "text": "the red ball"},
            {"letter": "B", "text": "the sun"}, {"letter": "C", "text": "a dog"}]})
    };
    let path = folder.join("exam.jsonl");
    write_lines(
        &path,
        &[
            question("short", "What is hot and far away?"),
            question("long", &"Tim saw a cat and ran home. ".repeat(40)),
        ],
    );
    path
}

#[test]
fn an_exam_runs_on_a_checkpoint_and_what_does_not_fit_is_an_error_of_its_item() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let exam = two_questions(scratch.path());
    let mut scores = Vec::new();
    for (spec, out) in [("", "own"), ("candle:", "candle")] {
        for protocol in ["mmlu-letter", "medqa-text"] {
            let run = scratch.path().join(format!("{out}-{protocol}"));
            medharness()
                .args(["eval", "--protocol", protocol, "--model"])
                .arg(format!("{spec}{}", model.display()))
                .arg("--exam")
                .arg(&exam)
                .arg("--out")
                .arg(&run)
                .assert()
                .success();
            let attempts = json_lines(&run.join("attempts.jsonl"));
            assert_eq!(attempts[0]["scores"].as_array().map(Vec::len), Some(3));
            let error = attempts[1]["error"].as_str().expect("does not fit");
            assert!(error.contains("the context of `stories260k` holds 512"), "{error}");
            assert_eq!(attempts[1]["outcome"]["kind"], "errored");
            let sums: Vec<f64> = attempts[0]["scores"]
                .as_array()
                .expect("scores")
                .iter()
                .map(|score| score["log_prob"].as_f64().expect("a number"))
                .collect();
            scores.push((protocol, sums));
        }
    }
    let (own, candle) = scores.split_at(2);
    for ((protocol, own), (_, candle)) in own.iter().zip(candle) {
        for (own, candle) in own.iter().zip(candle) {
            assert!((own - candle).abs() < 1e-4, "{protocol}: {own}, candle {candle}");
        }
    }
}

/// The seam: another network, another language library underneath, the same tokens.
#[test]
fn candles_network_behind_the_same_seam_generates_the_same_text() {
    use medharness::{
        exam::QuestionId,
        models::{Bos, Prompt, Sampling},
    };

    let folder = shared!("checkpoints/stories260k");
    let sampling = |greedy| Sampling {
        greedy,
        temperature: 0.9,
        top_k: 20,
        top_p: 0.95,
        max_new_tokens: 30,
        stop: vec!["\n".into()],
        seed: 4,
        bos: Bos::Model,
    };
    let prompts: Vec<Prompt> = ["Once upon a time", "The doctor", ""]
        .iter()
        .zip(1..)
        .map(|(text, n)| Prompt {
            id: QuestionId(format!("q{n}")),
            attempt: n,
            text: (*text).to_owned(),
        })
        .collect();
    let mut texts = Vec::new();
    for spec in [folder.display().to_string(), format!("candle:{}", folder.display())] {
        let mut model =
            medharness::models::open(&spec, &OpenOptions::default()).expect("opens").model;
        for greedy in [true, false] {
            let completions = model.generate(&prompts, &sampling(greedy)).expect("generates");
            texts.push(
                completions.into_iter().map(|c| (c.text, c.finish_reason)).collect::<Vec<_>>(),
            );
        }
        assert!(!model.identity().backend.is_empty());
    }
    assert_eq!(texts[..2], texts[2..]);
    assert!(texts[0].iter().all(|(text, _)| !text.contains('\n')));
}
