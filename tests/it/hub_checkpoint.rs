//! A checkpoint named on the hub serves wherever its folder would, online and then offline.

use std::{fs, path::Path};

use crate::{
    hub_server::HubServer,
    support::{medharness, transcript},
};

/// The real checkpoint, offered as `hf:org/name`.
fn serve(folder: &Path) -> HubServer {
    let names = ["config.json", "model.safetensors", "tokenizer.model", "tokenizer_config.json"];
    let files: Vec<_> =
        names.iter().map(|name| (*name, fs::read(folder.join(name)).expect("a file"))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    HubServer::start(&files)
}

fn command(server: &HubServer, cache: &Path) -> assert_cmd::Command {
    let mut command = medharness();
    command.env("HF_ENDPOINT", &server.endpoint).env("HF_HUB_CACHE", cache);
    for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn an_exam_runs_on_a_name_and_offline_gives_the_same_bytes() {
    let folder = shared!("checkpoints/stories260k");
    let (server, work) = (serve(&folder), tempfile::tempdir().expect("a folder"));
    let cache = work.path().join("cache");
    let eval = |model: &Path, out: &str, offline: &str| {
        let mut command = command(&server, &cache);
        command.args(["eval", "--exam", "golden/exams/own.jsonl", "--protocol", "mmlu-letter"]);
        command.arg("--model").arg(model).arg("--out").arg(work.path().join(out));
        command.env("HF_HUB_OFFLINE", offline).assert().success();
        fs::read(work.path().join(out).join("attempts.jsonl")).expect("attempts")
    };
    let (name, none) = (Path::new("hf:org/name"), "0");
    let online = eval(name, "online", none);
    assert_eq!(online, eval(name, "offline", "1"));
    assert_eq!(online, eval(&folder, "folder", none));
    let manifest = fs::read_to_string(work.path().join("online/manifest.json")).expect("manifest");
    assert!(manifest.contains(r#""name": "org/name@"#), "{manifest}");
    command(&server, &cache).arg("verify").arg(work.path().join("online")).assert().success();
}

#[test]
fn generate_takes_a_name_and_a_cold_cache_offline_ends_with_2() {
    let folder = shared!("checkpoints/stories260k");
    let (server, work) = (serve(&folder), tempfile::tempdir().expect("a folder"));
    let prompts = work.path().join("prompts.jsonl");
    fs::write(&prompts, "{\"id\": \"1\", \"prompt\": \"Once\"}\n").expect("written");
    let generate = |model: &Path, offline: &str| {
        let mut command = command(&server, &work.path().join("cache"));
        command.args(["generate", "--greedy", "--max-new-tokens", "5", "--model"]).arg(model);
        command.arg("--prompts").arg(&prompts).arg("--out").arg(work.path().join("out.jsonl"));
        command.env("HF_HUB_OFFLINE", offline);
        let shown = transcript(&mut command);
        let code = shown.lines().next().unwrap_or_default().to_owned();
        (code, fs::read_to_string(work.path().join("out.jsonl")).unwrap_or_default())
    };
    let name = Path::new("hf:org/name");
    assert_eq!(generate(name, "1").0, "exit: 2");
    let (code, text) = generate(name, "0");
    assert_eq!((code.as_str(), text.is_empty()), ("exit: 0", false));
    assert_eq!(generate(&folder, "0").1, text);
}
