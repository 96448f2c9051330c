//! `reproduce` removes nothing that it did not make, and refuses names that would meet in one folder.

use std::fs;

use serde_json::Value;

use crate::{
    mini_study::Place,
    support::{medharness, transcript},
};

#[test]
fn folders_of_somebody_else_are_refused_and_kept() {
    let place = Place::new();
    for name in ["seed-0", "seed-corpus"] {
        fs::create_dir_all(place.path("runs").join(name)).unwrap();
        fs::write(place.path("runs").join(name).join("notes.txt"), "mine").unwrap();
    }
    let text = transcript(medharness().args(place.arguments("out")));
    assert!(text.starts_with("exit: 2\n") && text.contains("no study made it"), "{text}");
    fs::remove_dir_all(place.path("runs/seed-0")).unwrap();
    place.run("out", &["--only", "small-base"]);
    fs::write(place.path("runs/program.sha256"), "0".repeat(64)).unwrap();
    place.run("out", &["--only", "small-base"]);
    let kept = fs::read_to_string(place.path("runs/seed-corpus/notes.txt")).unwrap();
    assert_eq!(kept, "mine");
}

#[test]
fn names_that_meet_in_one_folder_are_refused() {
    let place = Place::new();
    let definition = fs::read_to_string(place.path("study.toml")).unwrap();
    fs::create_dir(place.path("other")).unwrap();
    fs::copy(place.path("vignettes.jsonl"), place.path("other/exam.jsonl")).unwrap();
    let changes = [
        ("\"vignettes.jsonl\"", "\"other/exam.jsonl\"", "two exams are called `exam`"),
        ("id = \"small-base\"", "id = \"trained\"", "row `trained`"),
    ];
    for (old, new, said) in changes {
        assert!(definition.contains(old), "{old}");
        place.write("study.toml", &definition.replacen(old, new, 1));
        let text = transcript(medharness().args(place.arguments("out")));
        assert!(text.starts_with("exit: 2\n") && text.contains(said), "{text}");
    }
    let taught = fs::read_to_string(place.path("taught.jsonl")).unwrap();
    let first = taught.lines().next().unwrap();
    place.write("study.toml", &definition);
    place.write("taught.jsonl", &format!("{taught}\n{first}\n"));
    let text = transcript(medharness().args(place.arguments("out")));
    assert!(text.contains("item `q0` is there twice"), "{text}");
    place.write("taught.jsonl", &format!("\n{taught}\n"));
    place.run("out", &["--only", "small-base"]);
}

/// Whoever can repair it is told so: a broken file of a study is the caller's, in any of its rows.
#[test]
fn a_file_of_the_study_that_cannot_be_read_is_named_and_is_bad_input() {
    let place = Place::new();
    let changes = [
        ("rows.json", Some("[{\"instruction\": \"Who?\", "), "rows.json"),
        ("rows.json", Some("[]"), "rows.json"),
        ("full.toml", Some("name = 3"), "full.toml"),
        ("models/small/config.json", Some("{\"hidden_size\": 8}"), "config.json"),
        ("models/small/tokenizer.model", None, "tokenizer"),
        ("exam.jsonl", Some("{\"question\": \"Who?\"}\n"), "exam.jsonl"),
    ];
    for (name, text, said) in changes {
        let kept = fs::read(place.path(name)).unwrap();
        match text {
            Some(text) => place.write(name, text),
            None => fs::remove_file(place.path(name)).unwrap(),
        }
        let only = ["--only", "small-alpaca-full"];
        let text = transcript(medharness().args(place.arguments("out")).args(only));
        assert!(text.starts_with("exit: 2\n") && text.contains(said), "{name}: {text}");
        assert!(!text.contains("the same command continues"), "{name}: {text}");
        fs::write(place.path(name), kept).unwrap();
    }
    place.run("out", &["--only", "small-alpaca-full"]);
}

/// A gate would take the other build's answers for this one's.
#[test]
fn the_record_of_another_build_does_not_outlive_its_rows() {
    let place = Place::new();
    let base = ["--only", "small-base"];
    place.run("first", &base);
    let record = place.path("runs/record.json");
    assert!(record.exists());
    fs::write(place.path("runs/program.sha256"), "0".repeat(64)).expect("written");
    let weights = place.path("models/small/model.safetensors");
    let good = fs::read(&weights).expect("weights");
    fs::write(&weights, "broken").expect("written");
    medharness().args(place.arguments("again")).args(base).assert().failure();
    assert!(!record.exists());
    fs::write(&weights, good).expect("written");
    place.run("again", &base);
    assert_eq!(place.table("again"), place.table("first"));
}

/// Times and memory are those of the machine on which the rows were made, whoever checks them.
#[test]
fn a_study_that_is_only_checked_keeps_the_name_of_its_machine() {
    let place = Place::new();
    let base = ["--only", "small-base"];
    place.run("first", &base);
    let path = place.path("runs/record.json");
    let mut record: Value =
        serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    record["machine"] = "Another, 64 threads".into();
    fs::write(&path, record.to_string()).expect("written");
    place.run("again", &base);
    let again: Value = serde_json::from_slice(&fs::read(&path).expect("a record")).expect("JSON");
    assert_eq!(again["machine"], record["machine"]);
}
