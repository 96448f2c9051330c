//! Models by name, against a hub in miniature: what is checked, repeated, refused, and never sent.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use medharness::models::hub::{
    Event, HubError, HubSpec, Parts, ResolvedModel, Settings, Token, resolve,
};

use crate::{
    hub_server::{COMMIT, Fault, HubServer, TOKEN, git_blob, sha256},
    snapshots,
    support::{medharness, transcript},
};

/// Large enough to break in the middle, small enough to be quick.
fn weights() -> Vec<u8> {
    (0..300_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect()
}

/// A model of one shard and its small files.
fn server() -> HubServer {
    HubServer::start(&[
        ("config.json", b"{}"),
        ("model.safetensors", &weights()),
        ("README.md", b"not needed"),
        ("tokenizer.model", b"tokens"),
    ])
}

fn settings(server: &HubServer, cache: &Path) -> Settings {
    Settings {
        endpoint: server.endpoint.clone(),
        cache: cache.to_owned(),
        token: None,
        offline: false,
        timeout: Duration::from_secs(5),
        retries: 3,
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_secs(3),
    }
}

fn spec(text: &str) -> HubSpec {
    HubSpec::parse(text).expect("a name")
}

fn get(settings: &Settings) -> Result<ResolvedModel, HubError> {
    resolve(&spec("hf:org/name"), Parts::All, settings, &mut |_| ())
}

/// An error with its sources, and addresses made the same in each run.
fn said(error: &HubError, server: &HubServer) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    assert!(!format!("{error:?}").contains(TOKEN) && !text.contains(TOKEN), "{text}");
    assert!(!text.contains("secret"), "{text}");
    text.replace(&server.endpoint, "HUB")
}

/// Name and content of each file below a folder, links not followed.
fn listing(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let below = listing(&path).into_iter();
            found.extend(below.map(|(file, content)| (format!("{name}/{file}"), content)));
        } else {
            found.insert(name, fs::read(&path).unwrap_or_default());
        }
    }
    found
}

#[test]
fn a_model_is_fetched_checked_and_pinned() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let settings = settings(&server, cache.path());
    let model = get(&settings).unwrap();
    assert_eq!((&*model.commit, &*model.repository), (COMMIT, "org/name"));
    let names: Vec<_> = model.files.iter().map(|file| &*file.name).collect();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.model"]);
    for file in &model.files {
        let content = fs::read(model.dir.join(&file.name)).unwrap();
        assert_eq!((sha256(&content), content.len() as u64), (file.sha256.clone(), file.bytes));
    }
    assert_eq!(fs::read(model.dir.join("model.safetensors")).unwrap(), weights());
    let folder = cache.path().join("models--org--name");
    assert_eq!(model.dir, folder.join("snapshots").join(COMMIT));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let blobs: Vec<_> = listing(&folder.join("blobs")).into_keys().collect();
    let mut wanted = vec![git_blob(b"{}"), sha256(&weights()), sha256(b"tokens")];
    wanted.sort();
    assert_eq!(blobs, wanted, "named as by huggingface_hub");
    let pins: Vec<_> = listing(&folder.join("medharness")).into_keys().collect();
    assert_eq!(pins, [format!("{COMMIT}.json")], "nothing is left over");

    let asked = server.with(|state| state.seen.len());
    assert_eq!(get(&settings).unwrap(), model);
    assert_eq!(server.with(|state| state.seen.len()), asked + 1, "only what `main` means is asked");
    let before = server.with(|state| state.connections);
    let pinned = spec(&format!("hf:org/name@{COMMIT}"));
    assert_eq!(resolve(&pinned, Parts::All, &settings, &mut |_| ()).unwrap().files, model.files);
    assert_eq!(server.with(|state| state.connections), before, "a pinned commit needs no network");
}

#[test]
fn offline_opens_no_socket() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let offline = Settings { offline: true, ..settings(&server, cache.path()) };
    let error = get(&offline).unwrap_err();
    assert!(matches!(&error, HubError::Offline { what, .. } if what == "hf:org/name@main"));
    assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));
    assert_eq!(listing(cache.path()).len(), 0);
    assert_eq!(server.with(|state| state.connections), 0);
    let model = get(&settings(&server, cache.path())).unwrap();
    let before = server.with(|state| state.connections);
    assert_eq!(get(&offline).unwrap(), model);
    assert_eq!(server.with(|state| state.connections), before);
    let other = spec("hf:org/name@v2");
    let error = resolve(&other, Parts::All, &offline, &mut |_| ()).unwrap_err();
    assert!(matches!(error, HubError::Offline { .. }));
}

#[test]
fn a_cache_filled_by_another_program_is_checked_by_the_names_of_its_blobs() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let online = settings(&server, cache.path());
    get(&online).unwrap();
    let folder = cache.path().join("models--org--name");
    fs::remove_dir_all(folder.join("medharness")).unwrap();
    let offline = Settings { offline: true, ..online };
    assert_eq!(get(&offline).unwrap().files.len(), 3);
    assert!(folder.join(format!("medharness/{COMMIT}.json")).exists());
    fs::remove_dir_all(folder.join("medharness")).unwrap();
    let blob = folder.join("blobs").join(sha256(b"tokens"));
    fs::write(&blob, "tokenz").unwrap();
    assert!(
        matches!(get(&offline), Err(HubError::WrongHash { file, .. }) if file == "tokenizer.model")
    );
    fs::remove_file(folder.join("snapshots").join(COMMIT).join("model.safetensors")).unwrap();
    assert!(matches!(get(&offline), Err(HubError::Nothing { .. })));
}

#[test]
fn a_damaged_file_is_noticed_and_fetched_anew() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let online = settings(&server, cache.path());
    let model = get(&online).unwrap();
    let blob = cache.path().join("models--org--name/blobs").join(sha256(&weights()));
    let mut content = weights();
    content[77] ^= 1;
    fs::write(&blob, &content).unwrap();
    let offline = Settings { offline: true, ..online.clone() };
    assert!(matches!(get(&offline), Err(HubError::WrongHash { .. })));
    let mut damaged = 0;
    let again = resolve(&spec("hf:org/name"), Parts::All, &online, &mut |event| {
        damaged += usize::from(matches!(event, Event::Damaged { file: "model.safetensors", .. }));
    });
    assert_eq!(again.unwrap().files, model.files);
    assert_eq!(damaged, 1);
    assert_eq!(fs::read(&blob).unwrap(), weights());
    fs::write(&blob, "").unwrap();
    assert!(matches!(get(&offline), Err(HubError::WrongSize { got: 0, .. })));
}

#[test]
fn refusals_say_what_to_do() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let open = settings(&server, cache.path());
    server.with(|state| state.private = true);
    let mut table = Vec::new();
    let mut row = |name: &str, settings: &Settings| {
        let error = resolve(&spec(name), Parts::All, settings, &mut |_| ()).unwrap_err();
        table.push(format!("{}\n  {}", said(&error, &server), error.hint().unwrap_or("-")));
    };
    row("hf:org/name", &open);
    row("hf:org/name", &Settings { token: Some(Token::new("hf_other")), ..open.clone() });
    let with_token = Settings { token: Some(Token::new(TOKEN)), ..open };
    row("hf:org/missing", &with_token);
    row("hf:org/name@missing", &with_token);
    server.fault("/api/", 1, Fault::Status(418, ""));
    row("hf:org/name", &with_token);
    let _guard = snapshots();
    insta::assert_snapshot!("hub_refusals", table.join("\n"));
}

#[test]
fn the_token_goes_to_the_hub_alone() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.with(|state| state.private = true);
    let settings = Settings { token: Some(Token::new(TOKEN)), ..settings(&server, cache.path()) };
    get(&settings).unwrap();
    let seen = server.seen("");
    assert!(seen.iter().any(|seen| seen.on_cdn), "large files lie elsewhere");
    for seen in seen {
        assert_eq!(seen.headers.contains_key("authorization"), !seen.on_cdn, "{}", seen.line);
        let sent = format!("{seen:?}");
        assert_eq!(sent.contains(TOKEN), !seen.on_cdn);
    }
    for (name, content) in listing(cache.path()) {
        assert!(!String::from_utf8_lossy(&content).contains(TOKEN), "{name}");
    }
}

#[test]
fn busy_servers_are_asked_again() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/api/", 1, Fault::Status(429, "retry-after: 1\r\n"));
    server.fault("/api/", 1, Fault::Status(503, ""));
    server.fault("/resolve/", 2, Fault::Status(500, ""));
    server.fault("/blob/", 3, Fault::Status(502, ""));
    let mut pauses = Vec::new();
    resolve(&spec("hf:org/name"), Parts::All, &settings(&server, cache.path()), &mut |event| {
        if let Event::Again { pause, .. } = event {
            pauses.push(pause.as_millis());
        }
    })
    .unwrap();
    assert_eq!(pauses, [1000, 4, 2, 4, 2, 4, 8], "as asked for, else doubled");
}

#[test]
fn patience_ends() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let settings = settings(&server, cache.path());
    server.fault("/api/", 4, Fault::Status(503, ""));
    assert!(matches!(get(&settings), Err(HubError::Status { status: 503, .. })));
    assert_eq!(server.seen("/api/").len(), 4, "once, and three times again");
    server.fault("/api/", 1, Fault::Status(429, "retry-after: 3600\r\n"));
    assert!(matches!(get(&settings), Err(HubError::Wait { wait_s: 3600, .. })));
    server.fault("/api/", 1, Fault::Silence);
    let hasty = Settings { timeout: Duration::from_millis(200), retries: 0, ..settings.clone() };
    let error = get(&hasty).unwrap_err();
    assert!(matches!(&error, HubError::Network { .. }), "{error:?}");
    let nobody = Settings { endpoint: "http://127.0.0.1:9".into(), ..settings };
    let error = get(&nobody).unwrap_err();
    assert!(error.hint().unwrap().contains("HF_ENDPOINT"));
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/blob/", 1, Fault::Truncate(500_000));
    server.fault("/blob/", 1, Fault::Truncate(100_000));
    get(&settings(&server, cache.path())).unwrap();
    let hash = sha256(&weights());
    let ranges: Vec<_> = server
        .seen(&format!("/blob/{hash}"))
        .iter()
        .map(|seen| ["range", "if-range"].map(|name| seen.headers.get(name).cloned()))
        .collect();
    let etag = format!("\"cdn-{}\"", &hash[..8]);
    let rest = |from: usize| [Some(format!("bytes={from}-")), Some(etag.clone())];
    assert_eq!(ranges, [[None, None], rest(500_000), rest(600_000)]);
}

#[test]
fn a_whole_file_for_a_range_starts_anew() {
    for fault in [Fault::WholeForRange, Fault::OtherRange, Fault::Status(416, "")] {
        let (server, cache) = (server(), tempfile::tempdir().unwrap());
        server.fault("/blob/", 1, Fault::Truncate(500_000));
        server.fault("/blob/", 1, fault);
        let model = get(&settings(&server, cache.path())).unwrap();
        assert_eq!(fs::read(model.dir.join("model.safetensors")).unwrap(), weights(), "{fault:?}");
    }
}

#[test]
fn a_file_that_is_not_what_the_hub_says_is_not_kept() {
    for (name, fault) in [
        ("/blob/", Fault::Flip),
        ("/blob/", Fault::Longer),
        ("/resolve/0123456789abcdef0123456789abcdef01234567/config", Fault::Flip),
    ] {
        let (server, cache) = (server(), tempfile::tempdir().unwrap());
        server.fault(name, 1, fault);
        let settings = settings(&server, cache.path());
        let error = get(&settings).unwrap_err();
        match fault {
            Fault::Flip => assert!(matches!(error, HubError::WrongHash { .. }), "{error:?}"),
            _ => assert!(matches!(error, HubError::WrongSize { .. }), "{error:?}"),
        }
        let left = listing(&cache.path().join("models--org--name"));
        let valid = |name: &str, content: &[u8]| {
            name.ends_with(&git_blob(content))
                || name.ends_with(&sha256(content))
                || content.is_empty()
        };
        for (name, content) in &left {
            assert!(name.starts_with("snapshots/") || valid(name, content), "{name} is left");
        }
        get(&settings).unwrap();
    }
}

#[test]
fn a_damaged_beginning_is_fetched_once_more_from_the_start() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/blob/", 1, Fault::Truncate(500_000));
    let hasty = Settings { retries: 0, ..settings(&server, cache.path()) };
    assert!(matches!(get(&hasty), Err(HubError::Truncated { got: 500_000, .. })));
    let partial = cache.path().join("models--org--name/medharness/partial");
    let part = listing(&partial).into_keys().find(|name| name.ends_with(".part")).unwrap();
    let mut content = fs::read(partial.join(&part)).unwrap();
    content[9] ^= 1;
    fs::write(partial.join(&part), content).unwrap();
    let model = get(&hasty).unwrap();
    assert_eq!(server.seen("/blob/").len(), 3 + 1, "broken, rest, whole; and the tokenizer");
    assert_eq!(fs::read(model.dir.join("model.safetensors")).unwrap(), weights());
}

#[test]
fn names_that_leave_their_folder_are_refused() {
    let long = "x".repeat(256);
    let traversals = ["../x", "/x", "C:\\x", "\\\\h\\s", "a/../../x", "x\0y", "a\\..\\..\\x"]
        .map(|name| (name, true));
    let odd = [&*long, "NUL", "results_10:22.json"].map(|name| (name, false));
    for (name, hostile) in traversals.into_iter().chain(odd) {
        let (server, cache) = (server(), tempfile::tempdir().unwrap());
        server.with(|state| state.listed.push(name.to_owned()));
        match get(&settings(&server, cache.path())) {
            Err(error) => {
                assert!(matches!(error, HubError::FileName { .. }) && hostile, "{error:?}")
            }
            Ok(model) => assert!(!hostile && model.files.len() == 3, "{name} is listed, not used"),
        }
        let index = serde_json::json!({"weight_map": {"a": name}}).to_string();
        server.with(|state| {
            state.listed.clear();
            state.files.insert("model.safetensors.index.json".into(), index.into_bytes());
        });
        let elsewhere = tempfile::tempdir().unwrap();
        let error = get(&settings(&server, elsewhere.path())).unwrap_err();
        assert!(matches!(error, HubError::FileName { .. }), "{name}: {error:?}");
        let outside = fs::read_dir(elsewhere.path()).unwrap().count();
        assert_eq!(outside, 2, "only the repository and its locks");
    }
}

#[test]
fn shards_follow_the_index() {
    let index = br#"{"weight_map": {"a": "pytorch_model-1.bin", "b": "sub/pytorch_model-2.bin"}}"#;
    let server = HubServer::start(&[
        ("config.json", b"{}"),
        ("pytorch_model.bin.index.json", index),
        ("pytorch_model-1.bin", b"one"),
        ("sub/pytorch_model-2.bin", b"two"),
        ("pytorch_model-3.bin", b"not named"),
        ("tokenizer.json", b"{}"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let settings = settings(&server, cache.path());
    let tokens = resolve(&spec("hf:org/name"), Parts::Tokenizer, &settings, &mut |_| ()).unwrap();
    assert_eq!(tokens.files.len(), 1);
    let model = get(&settings).unwrap();
    let names: Vec<_> = model.files.iter().map(|file| &*file.name).collect();
    let wanted = [
        "config.json",
        "pytorch_model-1.bin",
        "pytorch_model.bin.index.json",
        "sub/pytorch_model-2.bin",
        "tokenizer.json",
    ];
    assert_eq!(names, wanted);
    assert_eq!(fs::read(model.dir.join("sub/pytorch_model-2.bin")).unwrap(), b"two");
    server.with(|state| state.files.remove("pytorch_model-1.bin"));
    let elsewhere = tempfile::tempdir().unwrap();
    let missing = Settings { cache: elsewhere.path().to_owned(), ..settings };
    assert!(matches!(get(&missing), Err(HubError::NotFound { .. })));
}

#[test]
fn without_hashes_in_the_description_the_headers_of_each_file_count() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.with(|state| state.bare = true);
    let model = get(&settings(&server, cache.path())).unwrap();
    assert_eq!(model.files.len(), 3);
    assert_eq!(server.seen("HEAD").len(), 3);
    assert!(server.seen("HEAD").iter().all(|seen| !seen.on_cdn));
}

#[test]
fn another_commit_than_the_pinned_one_is_refused() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let other = "f".repeat(40);
    server.with(|state| state.sha = Some("e".repeat(40)));
    let pinned = spec(&format!("hf:org/name@{other}"));
    let error = resolve(&pinned, Parts::All, &settings(&server, cache.path()), &mut |_| ());
    let Err(HubError::WrongCommit { expected, got }) = error else { panic!("{error:?}") };
    assert_eq!((expected, got), (other, "e".repeat(40)));
    server.with(|state| state.sha = Some("../../x".into()));
    assert!(matches!(get(&settings(&server, cache.path())), Err(HubError::Description { .. })));
}

#[test]
fn redirects_in_circles_end() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    server.fault("/api/", 99, Fault::Status(302, "location: /api/again\r\n"));
    assert!(matches!(get(&settings(&server, cache.path())), Err(HubError::Redirect { .. })));
    assert!(server.seen("/api/").len() < 12);
    let (server, cache) = (self::server(), tempfile::tempdir().unwrap());
    server.fault("/api/", 1, Fault::Status(302, "location: file:///etc/passwd\r\n"));
    assert!(matches!(get(&settings(&server, cache.path())), Err(HubError::Redirect { .. })));
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (server, folder) = (server(), tempfile::tempdir().unwrap());
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = get(&settings(&server, &file)).unwrap_err();
    assert!(matches!(error, HubError::Cache { .. }), "{error:?}");
}

/// `medharness fetch hf:org/name`, with the cache and the server given.
fn fetch(server: &HubServer, cache: &Path) -> assert_cmd::Command {
    let mut command = medharness();
    command.args(["fetch", "hf:org/name"]);
    command.env("HF_ENDPOINT", &server.endpoint).env("HF_HUB_CACHE", cache);
    for name in ["HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn fetch_prints_what_is_there() {
    let (server, cache) = (server(), tempfile::tempdir().unwrap());
    let _guard = snapshots();
    let shown = |command: &mut assert_cmd::Command| {
        transcript(command)
            .replace(&*cache.path().to_string_lossy(), "CACHE")
            .replace(&server.endpoint, "HUB")
    };
    let offline = shown(fetch(&server, cache.path()).env("HF_HUB_OFFLINE", "1"));
    let text = shown(&mut fetch(&server, cache.path()));
    let json = shown(fetch(&server, cache.path()).args(["--tokenizer", "--format", "json"]));
    insta::assert_snapshot!("fetch", [offline, text, json].join("\n"));
}
