//! `--adapter` on the commands that run a checkpoint, and in a study's models file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    hub_server::HubServer,
    snapshots,
    support::{medharness, transcript},
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/lora/networks").join(name)
}

fn copied(name: &str, to: &Path) -> PathBuf {
    let folder = to.join(name);
    fs::create_dir_all(&folder).expect("a folder");
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(golden(name).join(file), folder.join(file)).expect("copied");
    }
    folder
}

fn write_lines(path: &Path, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).expect("written");
}

fn exam(folder: &Path) -> PathBuf {
    let question = |id: &str, answer: &str| {
        json!({"id": id, "step": "1", "question": "What is hot and far away?", "answer": answer,
            "has_image": false, "source": "test",
            "options": [{"letter": "A", "text": "the red ball"}, {"letter": "B", "text": "the sun"},
            {"letter": "C", "text": "a dog"}]})
    };
    let path = folder.join("exam.jsonl");
    write_lines(&path, &[question("1", "B"), question("2", "A")]);
    path
}

fn scores(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out).expect("written");
    let line = |line| serde_json::from_str::<Value>(line).expect("one object a line");
    text.lines().map(|text| line(text)["log_prob"].as_f64().expect("a number")).collect()
}

#[test]
fn score_and_generate_run_with_an_adapter() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let [requests, prompts, out] = ["r", "p", "o"].map(|name| scratch.path().join(name));
    write_lines(
        &requests,
        &[json!({"id": 1, "context": "Once upon a time,", "continuation": " there was a dog."})],
    );
    write_lines(&prompts, &[json!({"id": 1, "prompt": "Once upon a time"})]);
    let run = |args: &[&str], input: &Path, adapter: Option<&Path>| {
        let mut command = medharness();
        command.args(args).arg(input).arg("--out").arg(&out).arg("--model").arg(&model);
        adapter.into_iter().for_each(|adapter| {
            command.arg("--adapter").arg(adapter);
        });
        command.assert().success();
        fs::read_to_string(&out).expect("written")
    };
    let adapter = golden("stories260k");
    run(&["score", "--dtype", "f32", "--requests"], &requests, None);
    let plain = scores(&out);
    run(&["score", "--dtype", "f32", "--requests"], &requests, Some(&adapter));
    assert!((plain[0] - scores(&out)[0]).abs() > 1.0, "the adapter does nothing");
    // Int8 weights under the same adapter stay near.
    let float = scores(&out);
    run(&["score", "--dtype", "int8", "--requests"], &requests, Some(&adapter));
    let off = (float[0] - scores(&out)[0]).abs();
    assert!(off > 0.0 && off < 0.5, "int8 is off by {off}");
    let generate = ["generate", "--greedy", "--max-new-tokens", "20", "--prompts"];
    let with = run(&generate, &prompts, Some(&adapter));
    assert_ne!(with, run(&generate, &prompts, None));
}

#[test]
fn a_run_names_its_adapter_and_changes_with_it() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let (exam, run) = (exam(scratch.path()), scratch.path().join("run"));
    let adapter = copied("stories260k", scratch.path());
    let eval = || {
        let mut command = medharness();
        command.args(["eval", "--protocol", "mmlu-letter", "--model"]).arg(&model);
        command.arg("--adapter").arg(&adapter).arg("--exam").arg(&exam).arg("--out").arg(&run);
        command
    };
    let text = transcript(&mut eval());
    assert!(text.starts_with("exit: 0\n"), "{text}");
    let said = "note: the adapter was made for `tiny`, the base given is `stories260k`\n";
    assert!(text.contains(said), "{text}");
    let manifest = fs::read_to_string(run.join("manifest.json")).expect("written");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    assert_eq!(manifest["model"]["name"], "stories260k+stories260k");
    assert_eq!(manifest["model"]["adapter_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(manifest["model"]["adapter_files"].as_array().map(Vec::len), Some(2));
    assert_eq!(manifest["adapter_path"], json!(adapter));
    let verify = || transcript(medharness().arg("verify").arg(&run));
    assert!(verify().starts_with("exit: 0\n"), "{}", verify());
    let config = adapter.join("adapter_config.json");
    let text = fs::read_to_string(&config).expect("there");
    fs::write(&config, text.replace("\"lora_alpha\": 8", "\"lora_alpha\": 9")).expect("written");
    assert!(verify().starts_with("exit: 1\n"), "{}", verify());
    let other = transcript(&mut eval());
    assert!(other.starts_with("exit: 2\n") && other.contains("model.adapter_sha256"), "{other}");
}

#[test]
fn an_adapter_on_the_hub_serves_wherever_its_folder_does() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let [requests, out, cache] = ["r", "o", "cache"].map(|name| scratch.path().join(name));
    write_lines(&requests, &[json!({"id": 1, "context": "Once", "continuation": " upon a time"})]);
    let names = ["adapter_config.json", "adapter_model.safetensors"];
    let read = |name: &&str| fs::read(golden("stories260k").join(name)).expect("a golden");
    let [config, weights] = names.each_ref().map(read);
    // The tokenizer beside it is not fetched.
    let server = HubServer::start(&[
        (names[0], &*config),
        (names[1], &*weights),
        ("tokenizer.model", b"not fetched"),
    ]);
    let score = |adapter: &Path, offline: &str| {
        let mut command = medharness();
        command.env("HF_ENDPOINT", &server.endpoint).env("HF_HUB_CACHE", &cache);
        command.env_remove("HF_TOKEN").env("HF_HUB_OFFLINE", offline);
        command.arg("score").arg("--model").arg(&model).arg("--adapter").arg(adapter);
        command.arg("--requests").arg(&requests).arg("--out").arg(&out).assert().success();
        scores(&out)
    };
    let name = Path::new("hf:org/name");
    let online = score(name, "0");
    assert_eq!(online, score(name, "1"));
    assert_eq!(online, score(&golden("stories260k"), "0"));
}

#[test]
fn a_models_file_puts_an_adapter_on_a_base() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    copied("stories260k", scratch.path());
    let (models, runs) = (scratch.path().join("models.toml"), scratch.path().join("runs"));
    let row = format!(
        "[rows]\n\"MedAlpaca 7b LoRA\" = {{ model = {:?}, adapter = \"stories260k\" }}\n",
        model.canonicalize().expect("there")
    );
    fs::write(&models, row).expect("written");
    let mut command = medharness();
    command.args(["reproduce", "--study", "paper", "--protocol", "mmlu-letter", "--models"]);
    command.arg(&models).arg("--exam").arg(exam(scratch.path())).arg("--runs").arg(&runs);
    command.arg("--out").arg(scratch.path().join("out"));
    let text = transcript(&mut command);
    assert!(text.starts_with("exit: 0\n"), "{text}");
    let manifest = runs.join("medalpaca-7b-lora/mmlu-letter/manifest.json");
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(manifest).expect("written")).expect("JSON");
    assert!(manifest["model"]["adapter_sha256"].is_string());
}

#[test]
fn what_is_no_adapter_for_this_model_is_refused() {
    let model = shared!("checkpoints/stories260k");
    let _guard = snapshots();
    let scratch = tempfile::tempdir().expect("scratch");
    let exam = exam(scratch.path());
    let here = scratch.path().to_owned();
    let empty = copied("stories260k", &here.join("empty"));
    let mut nothing = 2_u64.to_le_bytes().to_vec();
    nothing.extend(b"{}");
    fs::write(empty.join("adapter_model.safetensors"), nothing).expect("written");
    let pissa = copied("stories260k", &here.join("pissa"));
    let config = pissa.join("adapter_config.json");
    let text = fs::read_to_string(&config).expect("there");
    let text = text.replace("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"");
    fs::write(&config, text).expect("written");
    let hostile = here.join("hostile");
    fs::create_dir(&hostile).expect("a folder");
    fs::copy(golden("bin/adapter_config.json"), hostile.join("adapter_config.json"))
        .expect("copied");
    let pickle =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/llama/hostile/calls-system.bin");
    fs::copy(pickle, hostile.join("adapter_model.bin")).expect("copied");
    let mut seen = String::new();
    let mut show = |what: &str, model: &Path, adapter: &Path| {
        let mut command = medharness();
        command.args(["eval", "--protocol", "mmlu-letter", "--limit", "1", "--exam"]).arg(&exam);
        command.arg("--out").arg(here.join("run")).arg("--model").arg(model);
        command.arg("--adapter").arg(adapter);
        let text = transcript(&mut command);
        assert!(text.starts_with("exit: 2\n"), "{what}: {text}");
        let text = text.replace(&here.display().to_string(), "DIR");
        let text = text.replace(&model.display().to_string(), "MODEL");
        seen += &format!("# {what}\n{}\n", text.replace(env!("CARGO_MANIFEST_DIR"), "PROJECT"));
    };
    show("nothing there", &model, &here.join("missing"));
    show("for another network", &model, &golden("plain"));
    show("no tensors", &model, &empty);
    show("a base that was changed", &model, &pissa);
    show("a pickle that calls", &model, &hostile);
    show("canned replies", Path::new("stub:gold"), &golden("stories260k"));
    show("the adapter as the model", &golden("stories260k"), &golden("stories260k"));
    insta::assert_snapshot!("lora_refusals", seen);
}
