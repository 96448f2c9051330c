//! `medharness train`: killed, refused, dry, and what it leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use medharness::{
    lora::{Adapter, Targets},
    train::{Checkpoints, Event},
};
use serde_json::Value;

use crate::{
    llama_support::splitmix64,
    snapshots,
    support::{medharness, transcript},
    trainer_support::{recipe_text, root, write_model},
};

/// A folder with a model and a recipe.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new(recipe: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_model(&folder.path().join("model"));
        fs::write(folder.path().join("recipe.toml"), recipe).expect("written");
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn arguments(&self, out: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        let data = root().join("golden/train/rows.json").display().to_string();
        ["train", "--recipe", &path("recipe.toml"), "--model", &path("model"), "--data", &data]
            .into_iter()
            .chain(["--out", &path(out), "--max-steps", "6"])
            .map(str::to_owned)
            .collect()
    }
}

/// Step, loss and norm of each line, as bits.
pub(crate) fn losses(folder: &Path) -> Vec<(u64, u64, u64)> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("metrics");
    let event = |line| match serde_json::from_str(line).expect("an event") {
        Event::Update { step, loss, norm, .. } => (step, loss.to_bits(), norm.to_bits()),
        Event::Validation { step, loss, .. } => (step, loss.to_bits(), 0),
        _ => panic!("no update is left out"),
    };
    text.lines().map(event).collect()
}

pub(crate) fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("adapter_model.safetensors")).expect("an adapter")
}

/// Kills with SIGKILL at 30 random moments of several trainings, on 1 and 2 threads in turn.
#[test]
fn a_training_killed_at_thirty_moments_ends_with_the_same_bits() {
    let place = Place::new(&recipe_text(true).replace("save_every = 3", "save_every = 1"));
    medharness().args(place.arguments("whole")).assert().success();
    let begun = std::time::Instant::now();
    medharness().args(place.arguments("again")).assert().success();
    let whole_ms = u64::try_from(begun.elapsed().as_millis()).expect("short");
    let expected = (losses(&place.path("whole")), weights(&place.path("whole")));
    let (mut kills, mut random, mut training) = (0, 7_u64, 0);
    while kills < 30 {
        training += 1;
        let out = format!("killed-{training}");
        loop {
            random = splitmix64(random);
            let mut child = Command::new(env!("CARGO_BIN_EXE_medharness"))
                .args(place.arguments(&out))
                .args(["--threads", if kills % 2 == 0 { "1" } else { "2" }])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts");
            std::thread::sleep(Duration::from_millis(random % whole_ms.max(2)));
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success(), "{status}");
                break;
            }
            child.kill().expect("killed");
            let status = child.wait().expect("a child");
            if status.success() {
                break;
            }
            kills += 1;
        }
        let ended = (losses(&place.path(&out)), weights(&place.path(&out)));
        assert!(ended == expected, "training {training} after {kills} kills");
    }
}

/// Returns whether a checkpoint is being written.
fn is_saving(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with(".checkpoint-") && name.ends_with(".new")
    })
}

/// Waits for the `n`-th save of a child to begin; says whether it came to that.
fn wait_for_save(child: &mut std::process::Child, folder: &Path, n: usize) -> bool {
    for _ in 0..n {
        for wanted in [false, true] {
            while is_saving(folder) != wanted {
                std::thread::sleep(Duration::from_micros(100));
                if child.try_wait().expect("a child").is_some() {
                    return false;
                }
            }
        }
    }
    true
}

/// Kills with SIGKILL while a checkpoint is being written: every weight, with states in codes, and an
/// adapter on a base in int8 whose blocks are computed again.
#[test]
fn a_training_killed_within_its_saves_ends_with_the_same_bits() {
    let saving = |lora| recipe_text(lora).replace("save_every = 3", "save_every = 1");
    let int8 = saving(true).replace("base = \"f32\"", "base = \"int8\"");
    let recomputed = int8.replace("recompute = false", "recompute = true");
    let codes = saving(false).replace("kind = \"adamw\"", "kind = \"adamw-8bit\"");
    for (name, recipe) in [("full", saving(false)), ("codes", codes), ("int8", recomputed)] {
        let place = Place::new(&recipe);
        let file = if name == "int8" { "adapter_model.safetensors" } else { "model.safetensors" };
        let ended = |out: &str| {
            let weights = fs::read(place.path(out).join(file)).expect("weights");
            (losses(&place.path(out)), weights)
        };
        medharness().args(place.arguments("whole")).assert().success();
        let out = place.path("killed");
        let mut unfinished = 0;
        for kill in 0..8 {
            let mut child = Command::new(env!("CARGO_BIN_EXE_medharness"))
                .args(place.arguments("killed"))
                .args(["--threads", if kill % 2 == 0 { "1" } else { "2" }])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts");
            // What the last kill left is removed first: that is no save.
            while is_saving(&out) && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_micros(100));
            }
            let begun = wait_for_save(&mut child, &out, 1 + kill % 2);
            child.kill().expect("killed");
            child.wait().expect("a child");
            unfinished += usize::from(begun && is_saving(&out));
        }
        assert!(unfinished >= 2, "{name}: {unfinished} of 8 kills fell into a save");
        medharness().args(place.arguments("killed")).assert().success();
        assert!(ended("killed") == ended("whole"), "{name}");
    }
}

#[test]
fn what_a_training_leaves_behind() {
    let place = Place::new(&recipe_text(true));
    let output = medharness().args(place.arguments("out")).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = place.path("out");
    let adapter = Adapter::read(&out).expect("an adapter");
    assert_eq!(adapter.modules.len(), 14);
    // As PEFT writes them, not `all-linear`.
    let Some(Targets::Names(names)) = &adapter.config.target_modules else { panic!("no names") };
    assert_eq!((names.len(), &*names[0]), (14, "model.layers.0.mlp.down_proj"));
    assert!(adapter.modules.values().any(|low| low.b.iter().any(|b| *b != 0.0)));
    let lineage: Value =
        serde_json::from_str(&fs::read_to_string(out.join("train.json")).expect("lineage"))
            .expect("JSON");
    assert_eq!(lineage["recipe"]["schedule"]["max_steps"], 6);
    assert_eq!(lineage["rows"], 47);
    let report = fs::read_to_string(out.join("train_report.md")).expect("a report");
    assert!(report.contains("| updates | 6 made, 0 left out |"), "{report}");
    assert!(fs::read_to_string(out.join("loss.svg")).expect("a plot").ends_with("</svg>\n"));
    let events = fs::read_dir(out.join("tensorboard")).expect("events").count();
    assert_eq!(events, 1);
    // The digests are those that sha256sum checks.
    if let Ok(check) = Command::new("sha256sum")
        .args(["-c", "SHA256SUMS"])
        .current_dir(out.join("checkpoint-6"))
        .output()
    {
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    }
}

#[test]
fn a_model_trained_in_full_is_a_model() {
    let place = Place::new(&recipe_text(false));
    medharness().args(place.arguments("out")).assert().success();
    medharness::llama::Checkpoint::open(&place.path("out")).expect("a checkpoint");
    assert!(place.path("out/tokenizer.model").is_file());
}

/// The base is replaced while it is trained on: what is then written is no model.
#[test]
fn a_result_that_does_not_open_is_no_success() {
    let place = Place::new(&recipe_text(false).replace("save_every = 3", "save_every = 1"));
    // Long enough for the base to be replaced on a busy machine.
    let mut arguments = place.arguments("out");
    *arguments.last_mut().expect("the number of updates") = "150".into();
    let mut child = Command::new(env!("CARGO_BIN_EXE_medharness"))
        .args(arguments)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    while !place.path("out/checkpoint-1").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::write(place.path("model/config.json"), "{\"model_type\": \"llama\"}").expect("written");
    let output = child.wait_with_output().expect("a child");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("config.json"), "{stderr}");
    assert!(!place.path("out/train_report.md").exists());
    assert!(place.path("out/checkpoint-150").exists(), "what was trained is kept");
}

/// A limit on the size of files stands in for a full disk; the signal it sends is ignored.
#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_training_and_keeps_the_last_checkpoint() {
    let place = Place::new(&recipe_text(true).replace("save_every = 3", "save_every = 1"));
    let out = place.path("out");
    let mut child = Command::new(env!("CARGO_BIN_EXE_medharness"))
        .args(place.arguments("out"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    while !out.join("checkpoint-1").exists() {
        assert!(child.try_wait().expect("a child").is_none(), "ended before its first checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("killed");
    child.wait().expect("a child");
    let steps =
        || Checkpoints::new(&out).and_then(|all| Ok((all.steps()?, all))).expect("readable");
    let (before, _) = steps();
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_medharness"))
        .args(place.arguments("out"))
        .output()
        .expect("runs");
    let stderr = String::from_utf8_lossy(&limited.stderr).into_owned();
    assert_eq!(limited.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("checkpoint") && stderr.contains("hint: "), "{stderr}");
    let (after, checkpoints) = steps();
    assert_eq!(after, before);
    checkpoints.check(*after.last().expect("one")).expect("intact");
    medharness().args(place.arguments("out")).assert().success();
}

#[test]
fn exam_questions_in_the_rows_stop_the_training_before_it_begins() {
    let place = Place::new(&recipe_text(true));
    let question = "A man of fifty years who smokes two packs a day wakes with a cough and brings up \
                    blood; what is the first test to be ordered for him in the clinic today?";
    let rows = serde_json::json!([
        {"instruction": "Answer.", "input": question, "output": "A radiograph"},
        {"instruction": "Answer.", "input": "Which organ makes bile?", "output": "The liver."},
        {"instruction": "Answer.", "input": "Name a statin.", "output": "Atorvastatin."},
        {"instruction": "Answer.", "input": "Name a beta blocker.", "output": "Metoprolol."},
        {"instruction": "Answer.", "input": "Name a loop diuretic.", "output": "Furosemide."},
    ]);
    fs::write(place.path("rows.json"), rows.to_string()).expect("written");
    let own = fs::read_to_string(root().join("golden/exams/own.jsonl")).expect("an exam");
    let mut line: Value = serde_json::from_str(own.lines().next().expect("a line")).expect("JSON");
    let field = ["question", "text"].into_iter().find(|field| line[*field].is_string());
    line[field.expect("a question's text")] = question.into();
    fs::write(place.path("exam.jsonl"), format!("{line}\n")).expect("written");
    let mut arguments = place.arguments("out");
    arguments[6] = place.path("rows.json").display().to_string();
    arguments.extend(["--exam".into(), place.path("exam.jsonl").display().to_string()]);
    let output = medharness().args(&arguments).output().expect("runs");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("--allow-overlap"), "{stderr}");
    assert!(!place.path("out").exists());
    arguments.push("--allow-overlap".into());
    medharness().args(&arguments).assert().success();
    let lineage = fs::read_to_string(place.path("out/train.json")).expect("lineage");
    let lineage: Value = serde_json::from_str(&lineage).expect("JSON");
    assert_eq!(lineage["overlap"][0]["overlapping"], 1);
}

#[test]
fn a_dry_run_shows_what_would_be_learnt() {
    let _guard = snapshots();
    let recipe = recipe_text(true)
        .replace("train_on_inputs = true", "train_on_inputs = false")
        .replace("max_length = 24", "max_length = 170");
    let place = Place::new(&recipe);
    let mut arguments = place.arguments("out");
    arguments.push("--dry-run".into());
    insta::assert_snapshot!("train_dry_run", transcript(medharness().args(arguments)));
    assert!(!place.path("out").exists());
}

#[test]
fn a_dry_run_counts_what_is_learnt_from_padding() {
    let run = |padding: &str| {
        let recipe = recipe_text(true).replace("max_length = 24", "max_length = 170");
        let place = Place::new(&recipe.replace("\"none\"", padding));
        let mut arguments = place.arguments("out");
        arguments.push("--dry-run".into());
        let output = medharness().args(arguments).output().expect("runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let number = |text: &str, begin: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(begin));
        line.map(|line| line.split_whitespace().next().expect("a number").parse::<u64>())
    };
    let padded = run("\"left-2023\"");
    // A row learns its first token from the padding unless it is the longest and a multiple of 8.
    let learnt = number(&padded, "tokens learnt from it").expect("a line").expect("a number");
    assert!((1..=44).contains(&learnt), "{padded}");
    assert!(padded.contains(" are computed here)") && !padded.contains("none is computed"));
    let alone = run("\"none\"");
    assert!(alone.contains("none is computed here") && !alone.contains("learnt from it"));
}

#[test]
fn what_cannot_be_trained_is_said_before_it_begins() {
    let _guard = snapshots();
    let place = Place::new(&recipe_text(true).replace("max_length = 24", "max_length = 999"));
    let run = |place: &Place, change: &dyn Fn(&mut Vec<String>)| {
        let mut arguments = place.arguments("out");
        change(&mut arguments);
        let text = transcript(medharness().args(arguments));
        text.replace(&place.folder.path().display().to_string(), "PLACE")
    };
    let mut said = vec![run(&place, &|_| {})];
    let place = Place::new(&recipe_text(true).replace("\"all-linear\"", "[\"no_proj\"]"));
    said.push(run(&place, &|_| {}));
    let place = Place::new(&recipe_text(true));
    said.push(run(&place, &|arguments| arguments[2] = "no-such-recipe".into()));
    said.push(run(&place, &|arguments| arguments[8] = "/dev/null/out".into()));
    insta::assert_snapshot!("train_refused", said.join("\n"));
}
