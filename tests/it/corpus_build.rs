//! A recipe makes the same file from the same sources, lists what is missing, and asks a model only
//! where one is named.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use medharness::{
    corpus::{
        Row,
        build::{Meadow, build},
        read_rows,
    },
    stats::Seed,
};
use serde_json::{Value, json};

use crate::support::medharness;

const RECIPE: &str = r#"
name = "small"

[[source]]
name = "chat"
reader = "rows"
files = ["chat/*.jsonl"]
take = 20
printed = 100
get = "the moon"

[[source]]
name = "cards"
reader = "flashcards"
files = ["cards.txt"]
rephrase = true
get = "the attic"
"#;

/// A folder with recipe and sources: 30 and 20 chat rows, two cards.
fn workplace() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let raw = folder.path().join("raw");
    fs::create_dir_all(raw.join("chat")).expect("made");
    for (name, rows) in [("b.jsonl", 30..50), ("a.jsonl", 0..30)] {
        let lines = rows.map(|n| format!("{{\"input\": \"Q{n}\", \"output\": \"A{n}\"}}\n"));
        fs::write(raw.join("chat").join(name), lines.collect::<String>()).expect("written");
    }
    fs::write(raw.join("cards.txt"), "Front\tBack\nWhat?\tThis\n").expect("written");
    let recipe = folder.path().join("meadow.toml");
    fs::write(&recipe, RECIPE).expect("written");
    (folder, recipe)
}

fn built(recipe: &Path, folder: &Path, out: &str, seed: u64) -> (Vec<Row>, Vec<u8>) {
    let meadow = Meadow::read(recipe).expect("a recipe");
    let out = folder.join(out);
    build(&meadow, &folder.join("raw"), &out, Seed(seed), None, &mut |_| ()).expect("built");
    let record = fs::read(out.join("build.json")).expect("a record");
    (read_rows(&out.join("meadow.jsonl")).expect("rows"), record)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_one_another_sample() {
    let (folder, recipe) = workplace();
    let (rows, record) = built(&recipe, folder.path(), "one", 1);
    assert_eq!((rows.len(), rows[20].source.as_deref()), (22, Some("cards")));
    assert_eq!((rows.clone(), record.clone()), built(&recipe, folder.path(), "two", 1));
    let (other, _) = built(&recipe, folder.path(), "three", 2);
    assert_ne!(rows, other);
    // In the order of the files' names and of their rows.
    let numbers: Vec<usize> =
        rows[..20].iter().map(|row| row.input[1..].parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[0] < two[1]), "{numbers:?}");
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["sources"][0]["counts"]["rows"], 50);
    assert_eq!(record["sources"][0]["files"][0]["path"], "chat/a.jsonl");
    assert_eq!(record["rephrased"], Value::Null);
    let digest = record["sha256"].as_str().unwrap();
    let bytes = fs::read(folder.path().join("one/meadow.jsonl")).unwrap();
    use sha2::Digest;
    let own: String = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, own);
}

#[test]
fn what_is_missing_or_short_is_listed_with_where_to_get_it() {
    let (folder, recipe) = workplace();
    let command = |more: &[&str]| {
        let mut command = medharness();
        command.args(["corpus", "build"]).arg(&recipe).arg("--raw").arg(folder.path().join("raw"));
        command.arg("--out").arg(folder.path().join("out")).args(more);
        command.output().unwrap()
    };
    assert_eq!(command(&[]).status.code(), Some(0));
    fs::remove_file(folder.path().join("raw/cards.txt")).unwrap();
    let output = command(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("cards: cards.txt from the attic"), "{text}");
    assert_eq!(command(&["--partial"]).status.code(), Some(0));
    fs::remove_file(folder.path().join("raw/chat/a.jsonl")).unwrap();
    fs::write(folder.path().join("raw/chat/b.jsonl"), "{\"input\": \"q\", \"output\": \"a\"}\n{\n")
        .unwrap();
    let output = command(&["--partial", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["sources"][0]["taken"], 1);
    assert_eq!(json["sources"][0]["counts"]["rejected"]["malformed"], 1);
    assert_eq!(command(&[]).status.code(), Some(1));
}

#[test]
fn a_source_that_cannot_be_read_leaves_what_was_there() {
    let (folder, recipe) = workplace();
    let (rows, _) = built(&recipe, folder.path(), "out", 1);
    fs::write(folder.path().join("raw/chat/b.jsonl"), "[{\"output\": \"a\"}").unwrap();
    let mut command = medharness();
    command.args(["corpus", "build"]).arg(&recipe).arg("--raw").arg(folder.path().join("raw"));
    let output = command.arg("--out").arg(folder.path().join("out")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("source `chat`") && message.contains("b.jsonl`, line 1"), "{message}");
    assert_eq!(read_rows(&folder.path().join("out/meadow.jsonl")).unwrap(), rows);
    let left: Vec<_> = fs::read_dir(folder.path().join("out")).unwrap().collect();
    assert_eq!(left.len(), 2, "no scratch file stays");
}

/// One empty file among many ended the whole build; a file of rejects alone made a source complete.
#[test]
fn a_file_without_a_record_is_listed_and_its_source_short() {
    let (folder, recipe) = workplace();
    let chat = folder.path().join("raw/chat");
    let command = || {
        let mut command = medharness();
        command.args(["corpus", "build"]).arg(&recipe).arg("--raw").arg(folder.path().join("raw"));
        command.arg("--out").arg(folder.path().join("out")).output().unwrap()
    };
    for nothing in ["", "\u{feff}\n \n", "[]"] {
        fs::write(chat.join("c.jsonl"), nothing).unwrap();
        let output = command();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(1), "{nothing:?}");
        assert!(text.contains("chat: chat/c.jsonl") && text.contains("short"), "{text}");
        assert_eq!(read_rows(&folder.path().join("out/meadow.jsonl")).unwrap().len(), 22);
    }
    fs::remove_file(chat.join("c.jsonl")).unwrap();
    fs::write(folder.path().join("raw/cards.txt"), "Only a front\n").unwrap();
    let output = command();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("short") && text.contains("cards: 1 without an answer"), "{text}");
}

/// Every file counted its rows from 1, CORD-19 has papers twice, and a page two headings alike.
#[test]
fn names_of_rows_are_unique_within_a_source_and_do_not_depend_on_the_seed() {
    let (folder, recipe) = workplace();
    let raw = folder.path().join("raw");
    fs::write(raw.join("cord.csv"), "cord_uid,title,abstract\nu,A,a\nu,B,b\nv,C,c\n").unwrap();
    let long = "It comes of crystals of uric acid in a joint, mostly of the big toe.";
    let section = format!("<h2>Care</h2><p>{long}</p>");
    for name in ["a.html", "b.html"] {
        fs::write(raw.join(name), format!("<h1>Gout</h1>{section}{section}")).unwrap();
    }
    let source = |name: &str, reader: &str, files: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\nreader = \"{reader}\"\nfiles = [{files}]\nget = \"\"\n"
        )
    };
    let more = source("papers", "cord-19", "\"cord.csv\"")
        + &source("pages", "wikidoc-textbook", "\"a.html\", \"b.html\"");
    fs::write(&recipe, format!("{RECIPE}\n{more}")).unwrap();
    let (first, _) = built(&recipe, folder.path(), "one", 1);
    let (second, _) = built(&recipe, folder.path(), "two", 2);
    let mut names = std::collections::HashMap::new();
    for row in &first {
        let name = (row.source.clone().unwrap(), row.id.clone().unwrap());
        assert!(names.insert(name, row).is_none(), "{row:?}");
    }
    let shared = second.iter().filter_map(|row| {
        let name = (row.source.clone().unwrap(), row.id.clone().unwrap());
        names.get(&name).map(|other| (*other, row))
    });
    let shared: Vec<_> = shared.collect();
    assert!(shared.len() > 9 && shared.iter().all(|(one, other)| one == other));
    let of = |source: &str| -> Vec<&str> {
        let rows = first.iter().filter(|row| row.source.as_deref() == Some(source));
        rows.map(|row| row.id.as_deref().unwrap()).collect()
    };
    assert_eq!(of("papers"), ["u", "u~2", "v"]);
    let pages =
        ["a.html#Gout#Care", "a.html#Gout#Care~2", "b.html#Gout#Care", "b.html#Gout#Care~2"];
    assert_eq!(of("pages"), pages);
    assert!(
        of("chat").iter().all(|id| id.starts_with("chat/a.jsonl#") || id.starts_with("chat/b."))
    );
    assert_eq!(of("cards"), ["1", "2"]);
}

#[test]
fn the_papers_recipe_is_printed_and_lists_all_it_lacks() {
    let output = medharness().args(["corpus", "build", "--print-recipe"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), Meadow::paper_text());
    let folder = tempfile::tempdir().unwrap();
    let mut command = medharness();
    command.args(["corpus", "build", "--raw"]).arg(folder.path()).arg("--out").arg(folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("stackexchange_academia: stackexchange/academia/Posts.xml from archive.org")
    );
    assert_eq!(text.matches(" missing\n").count(), 15, "{text}");
}

/// Answers every request with what `reply` makes of its body, and counts them.
fn server(reply: impl Fn(&Value) -> (u16, String) + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/v1", listener.local_addr().expect("bound"));
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
            let (mut length, mut key) = (0, String::new());
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a number");
                }
                if lower.starts_with("authorization:") {
                    key = line.trim().to_owned();
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("a whole body");
            seen.fetch_add(1, Ordering::SeqCst);
            let mut body: Value = serde_json::from_slice(&body).expect("JSON");
            body["authorization"] = key.into();
            let (status, text) = reply(&body);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                text.len()
            );
            let _ = stream.write_all(head.as_bytes());
        }
    });
    (url, count)
}

fn completion(content: &str) -> String {
    json!({ "choices": [{ "message": { "role": "assistant", "content": content } }] }).to_string()
}

fn rephrase(folder: &Path, recipe: &Path, url: &str) -> std::process::Output {
    let mut command = medharness();
    command.args(["corpus", "build"]).arg(recipe).arg("--raw").arg(folder.join("raw"));
    command.arg("--out").arg(folder.join("out")).args([
        "--rephrase-model",
        "m",
        "--rephrase-url",
        url,
    ]);
    command.env("OPENAI_API_KEY", "sk-test-secret").output().expect("the program starts")
}

#[test]
fn rephrasing_is_asked_once_recorded_and_kept_without_the_key() {
    let (folder, recipe) = workplace();
    let (url, count) = server(|request| {
        assert_eq!(request["model"], "m");
        assert_eq!(request["authorization"], "authorization: Bearer sk-test-secret");
        let given = request["messages"][1]["content"].as_str().expect("text");
        let given: Value = serde_json::from_str(given).expect("JSON");
        let question = given["question"].as_str().expect("text");
        let content = match question {
            "Front" => {
                json!({ "question": "What is in front?", "answer": "The back." }).to_string()
            }
            _ => "I would rather not".to_owned(),
        };
        (200, completion(&content))
    });
    let output = rephrase(folder.path(), &recipe, &url);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(count.load(Ordering::SeqCst), 2, "chat rows are not sent");
    let out = folder.path().join("out");
    let rows = read_rows(&out.join("meadow.jsonl")).unwrap();
    let cards: Vec<_> = rows[20..].iter().map(|row| (&*row.input, &*row.output)).collect();
    assert_eq!(cards, [("What is in front?", "The back.")]);
    let record = fs::read(out.join("build.json")).unwrap();
    let json: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(json["rephrased"]["model"], "m");
    assert_eq!(
        (json["rephrased"]["replies"].as_u64(), &json["sources"][1]["not_rephrased"]),
        (Some(2), &json!(1))
    );
    rephrase(folder.path(), &recipe, &url);
    assert_eq!(count.load(Ordering::SeqCst), 2, "replies were at hand");
    assert_eq!(fs::read(out.join("build.json")).unwrap(), record);
    for entry in fs::read_dir(out.join("rephrased")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("sk-test-secret"));
    }
    assert!(!String::from_utf8(record).unwrap().contains("sk-test-secret"));
}

#[test]
fn an_endpoint_that_refuses_ends_the_build_and_one_that_stumbles_is_asked_again() {
    let (folder, recipe) = workplace();
    let (url, count) = server(|_| (401, "{}".into()));
    let output = rephrase(folder.path(), &recipe, &url);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("sk-test"));
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("` refuses: ") && message.contains("--rephrase-key-env"), "{message}");
    let stumble = AtomicUsize::new(0);
    let (url, count) = server(move |_| match stumble.fetch_add(1, Ordering::SeqCst) {
        0 => (503, "busy".into()),
        _ => (200, completion("{\"question\": \"q\", \"answer\": \"a\"}")),
    });
    assert_eq!(rephrase(folder.path(), &recipe, &url).status.code(), Some(0));
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

/// Such a reply was kept before it was looked at, and every later build ended there.
#[test]
fn a_reply_that_is_no_completion_is_asked_for_again_and_never_kept() {
    let (folder, recipe) = workplace();
    for wrong in ["{\"error\": {\"message\": \"overloaded\"}}", "not JSON", "{\"choices\": []}"] {
        let (url, count) = server(move |_| (200, wrong.into()));
        let output = rephrase(folder.path(), &recipe, &url);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert_eq!(count.load(Ordering::SeqCst), 3, "{wrong}");
        assert!(message.contains(wrong) && message.contains("asks again"), "{message}");
        assert!(!folder.path().join("out/rephrased").exists());
    }
    // What an earlier version kept is no obstacle; the endpoint is well again after one stumble.
    let first = AtomicUsize::new(0);
    let (url, _) = server(move |_| match first.fetch_add(1, Ordering::SeqCst) {
        0 => (200, "{\"error\": {}}".into()),
        _ => (200, completion("```json\n{\"question\": \"q\", \"answer\": \"a\"}\n```")),
    });
    assert_eq!(rephrase(folder.path(), &recipe, &url).status.code(), Some(0));
    let kept = folder.path().join("out/rephrased");
    for entry in fs::read_dir(&kept).unwrap() {
        fs::write(entry.unwrap().path(), "{\"error\": {}}").unwrap();
    }
    assert_eq!(rephrase(folder.path(), &recipe, &url).status.code(), Some(0));
    let rows = read_rows(&folder.path().join("out/meadow.jsonl")).unwrap();
    assert_eq!((&*rows[21].input, &*rows[21].output), ("q", "a"), "one fence is taken off");
}

/// `content: null` is how some endpoints refuse: it ended every build.
#[test]
fn a_completion_without_text_loses_its_row_alone() {
    let (folder, recipe) = workplace();
    let (url, count) = server(|request| {
        let given = request["messages"][1]["content"].as_str().expect("text");
        match given.contains("Front") {
            true => (200, completion("{\"question\": \"q\", \"answer\": \"a\"}")),
            false => (200, "{\"choices\": [{\"message\": {\"content\": null}}]}".into()),
        }
    });
    let output = rephrase(folder.path(), &recipe, &url);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("cards: 1 not rephrased"));
    rephrase(folder.path(), &recipe, &url);
    assert_eq!(count.load(Ordering::SeqCst), 3, "it is asked for again");
}
