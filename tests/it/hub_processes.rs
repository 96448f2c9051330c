//! Several processes on one cache, and processes that are killed.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::hub_server::{Fault, HubServer, sha256};

/// Processes that are killed in one test.
const KILLS: u64 = 20;

fn weights() -> Vec<u8> {
    (0..250_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect()
}

fn server() -> HubServer {
    let tokens: &[u8] = include_bytes!("../../golden/tokenizers/tiny/tokenizer.model");
    HubServer::start(&[
        ("config.json", b"{}"),
        ("model.safetensors", &weights()),
        ("tokenizer.model", tokens),
    ])
}

fn start(server: &HubServer, cache: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_medharness"))
        .args(arguments)
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HUB_CACHE", cache)
        .env_remove("HF_TOKEN")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("TRANSFORMERS_OFFLINE")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

/// Checks that every blob that shows is whole.
fn blobs_are_whole(cache: &Path) {
    let blobs = cache.join("models--org--name/blobs");
    for blob in fs::read_dir(blobs).into_iter().flatten().flatten() {
        let (name, content) = (blob.file_name(), fs::read(blob.path()).expect("readable"));
        if name.len() == 64 {
            assert_eq!(name.to_str(), Some(&*sha256(&content)));
        }
    }
}

#[test]
fn eight_processes_fetch_each_file_once() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/blob/", 99, Fault::Slow);
    let children: Vec<_> =
        (0..8).map(|_| start(&server, cache.path(), &["fetch", "hf:org/name"])).collect();
    let outputs: Vec<_> = children.into_iter().map(ended).collect();
    for output in &outputs {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
    assert_eq!(server.seen(&format!("/blob/{}", sha256(&weights()))).len(), 1);
    blobs_are_whole(cache.path());
}

#[test]
fn a_killed_download_goes_on_and_leaves_whole_files_only() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/blob/", 10_000, Fault::Slow);
    let mut pause = 20_230_414_u64;
    for _ in 0..KILLS {
        let mut child = start(&server, cache.path(), &["fetch", "hf:org/name"]);
        pause =
            pause.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((pause >> 33) % 120));
        child.kill().expect("SIGKILL, if it still runs");
        child.wait().expect("it ends");
        blobs_are_whole(cache.path());
    }
    server.with(|state| state.faults.clear());
    let output = ended(start(&server, cache.path(), &["fetch", "hf:org/name"]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = cache.path().join("models--org--name");
    let blob = folder.join("blobs").join(sha256(&weights()));
    assert_eq!(fs::read(blob).unwrap(), weights());
    let resumed =
        server.seen("/blob/").iter().filter(|seen| seen.headers.contains_key("range")).count();
    assert!(resumed > 0, "at least one process went on where another was killed");
    let left = fs::read_dir(folder.join("medharness/partial")).unwrap().count();
    assert_eq!(left, 0, "nothing is left over");
}

/// A kill between a file's last rename and the removal of its `ETag` leaves the latter.
#[test]
fn what_a_killed_process_left_of_a_finished_file_goes() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let fetch = || ended(start(&server, cache.path(), &["fetch", "hf:org/name"])).status;
    assert!(fetch().success());
    // The record of a whole model is written behind its last file.
    let own = cache.path().join("models--org--name/medharness");
    fs::remove_dir_all(&own).unwrap();
    let partial = own.join("partial");
    fs::create_dir_all(&partial).unwrap();
    fs::write(partial.join(format!("{}.1-2-3.etag", sha256(&weights()))), "\"x\"").unwrap();
    fs::write(partial.join("0123.1-2-3.etag"), "another file's").unwrap();
    assert!(fetch().success());
    let left: Vec<_> = fs::read_dir(partial).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["0123.1-2-3.etag"]);
}

#[test]
fn a_tokenizer_is_fetched_by_name() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let arguments = ["tokenize", "--tokenizer", "hf:org/name", "--text", "the", "--format", "json"];
    let before = Instant::now();
    let output = ended(start(&server, cache.path(), &arguments));
    assert!(before.elapsed() < Duration::from_secs(60));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"pieces\":[\"<s>\",\"▁the\"]"));
    assert_eq!(server.seen("/blob/").len(), 1, "no weights are fetched for it");
}
