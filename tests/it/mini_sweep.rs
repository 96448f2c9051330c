//! `sweep`: points of a grid on a split that is not the exam.

use std::fs;

use medharness::study::{
    mini::{Doing, Study, Watch},
    sweep::{Grid, SWEEP_FILES, Sweep, SweepResult},
};
use serde_json::{Value, json};

use crate::{
    mini_study::{Place, lines, question},
    support::{medharness, transcript},
};

const GRID: &str = "name = \"test\"\nabout = \"Rate and rank.\"\nrow = \"small-alpaca-lora-8bit\"\n\
    validation = \"validation.jsonl\"\nprotocol = \"mmlu-letter\"\nseeds = [0, 1]\n\
    combine = \"one-at-a-time\"\n[[vary]]\nkey = \"optimizer.rate\"\nvalues = [5e-3, 0.5]\n\
    [[vary]]\nkey = \"lora.rank\"\nvalues = [2]\n";

/// A study with a grid and a validation split of questions 30 to 38.
fn place(grid: &str) -> Place {
    let place = Place::new();
    let items = (30..39).map(|n| question(&format!("v{n}"), 1, n, false));
    fs::write(place.path("validation.jsonl"), lines(items)).expect("written");
    fs::write(place.path("grid.toml"), grid).expect("written");
    place
}

fn sweep(place: &Place) -> assert_cmd::Command {
    let mut command = medharness();
    command.args(["sweep", "--no-progress", "--grid"]).arg(place.path("grid.toml"));
    command.arg("--definition").arg(place.path("study.toml"));
    command.arg("--runs").arg(place.path("runs")).arg("--out").arg(place.path("out"));
    command
}

#[test]
fn every_point_is_made_once_and_compared_on_the_validation_split() {
    let place = place(GRID);
    let first = transcript(&mut sweep(&place));
    assert!(first.starts_with("exit: 0\n"), "{first}");
    let files = || SWEEP_FILES.map(|name| fs::read(place.path("out").join(name)).expect(name));
    let before = files();
    let again = transcript(&mut sweep(&place));
    assert_eq!(again, first, "made once, and nothing is said of anew");
    assert!(files() == before);
    let json: Value = serde_json::from_slice(&before[3]).unwrap();
    let points = json["result"]["points"].as_array().unwrap();
    // The rate of 5e-3 is the recipe's own: no point of its own.
    let ids: Vec<&str> = points.iter().map(|point| point["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["centre", "rate-0.5", "rank-2"]);
    assert_eq!(json["validation"]["name"], "validation");
    assert_eq!(points[0]["accuracy"]["asked"], 9);
    assert_eq!(points[0]["accuracy"]["counts"].as_array().unwrap().len(), 2);
    let trained = |point: usize| points[point]["trained"].as_u64().unwrap();
    assert_eq!(trained(0), trained(1));
    assert_eq!(trained(0), 2 * trained(2), "rank 4 against 2");
    assert!(ids.contains(&json["result"]["chosen"].as_str().unwrap()));
    // The exam was asked nothing.
    let asked = fs::read_to_string(place.path("runs/seed-0/centre/attempts.jsonl")).unwrap();
    assert!(asked.lines().all(|line| line.contains("\"v3")), "{asked}");
    for text in ["optimizer.rate: ", "lora.rank: ", "Chosen on `validation`"] {
        assert!(first.contains(text), "{text}: {first}");
    }
}

/// Watches nothing and never stops.
struct Quiet;

impl Watch for Quiet {
    fn begin(&mut self, _: &str, _: Doing<'_>, _: u64, _: u64) {}
    fn at(&mut self, _: &str, _: u64) {}
    fn note(&mut self, _: &str) {}
    fn stop(&mut self) -> bool {
        false
    }
}

fn result(place: &Place) -> Value {
    let text = fs::read(place.path("out/sweep.json")).expect("a report");
    serde_json::from_slice::<Value>(&text).expect("JSON")["result"].clone()
}

/// Ids, right answers and what was trained; times differ.
fn counts(result: &Value) -> Vec<[Value; 3]> {
    let points = result["points"].as_array().expect("points").iter();
    points.map(|point| ["id", "accuracy", "trained"].map(|key| point[key].clone())).collect()
}

#[test]
fn points_made_in_processes_of_their_own_are_the_same() {
    let place = place(GRID);
    sweep(&place).args(["--jobs", "3"]).assert().success();
    for run in ["seed-0/centre", "seed-1/centre", "seed-0/rate-0.5", "seed-1/rank-2"] {
        let manifest = place.path("runs").join(run).join("manifest.json");
        let manifest = fs::read_to_string(manifest).unwrap();
        assert!(manifest.contains("--worker"), "{run} was made by no worker: {manifest}");
    }
    let ahead = counts(&result(&place));
    fs::remove_dir_all(place.path("runs")).unwrap();
    let grid = Grid::open(&place.path("grid.toml")).unwrap();
    let made = Sweep::new(grid, Study::open(&place.path("study.toml")).unwrap()).unwrap();
    let record =
        made.run(&place.path("runs"), None, &mut Quiet).unwrap().expect("nothing stops it");
    let alone = serde_json::to_value(SweepResult::of(&made, &record).unwrap()).unwrap();
    assert_eq!(counts(&alone), ahead);
}

/// As a study: another build may compute something else under the same version.
#[test]
fn what_another_build_made_is_made_anew_and_what_nobody_made_is_kept() {
    let place = place(GRID);
    sweep(&place).assert().success();
    let timings = place.path("runs/seed-0/centre/timings.jsonl");
    let before = fs::read(&timings).unwrap();
    fs::write(place.path("runs/program.sha256"), "0".repeat(64)).unwrap();
    let text = transcript(&mut sweep(&place));
    assert!(text.starts_with("exit: 0\n") && text.contains("made by another build"), "{text}");
    assert_ne!(fs::read(&timings).unwrap(), before);
    fs::remove_file(place.path("runs/program.sha256")).unwrap();
    let text = transcript(&mut sweep(&place));
    assert!(text.starts_with("exit: 2\n") && text.contains("no study made it"), "{text}");
    assert!(timings.exists());
}

#[test]
fn a_report_is_made_of_its_record_alone_and_of_no_other() {
    let place = place(GRID);
    sweep(&place).assert().success();
    let files = || SWEEP_FILES.map(|name| fs::read(place.path("out").join(name)).expect(name));
    let made = files();
    let text = fs::read_to_string(place.path("runs/record.json")).unwrap();
    fs::remove_dir_all(place.path("runs")).unwrap();
    fs::remove_dir_all(place.path("out")).unwrap();
    let from = |text: &str| {
        fs::write(place.path("record.json"), text).unwrap();
        transcript(sweep(&place).arg("--from").arg(place.path("record.json")))
    };
    assert!(from(&text).starts_with("exit: 0\n"));
    assert!(files() == made && !place.path("runs/seed-0").exists());
    let record: Value = serde_json::from_str(&text).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut record = record.clone();
        change(&mut record);
        record.to_string()
    };
    let cases: [(String, &str); 6] = [
        (changed(&|record| record["rows"][2]["id"] = "rank-3".into()), "its points are"),
        (changed(&|record| record["exams"][0]["sha256"] = "00".into()), "another split"),
        (changed(&|record| record["protocols"][0]["sha256"] = "00".into()), "another protocol"),
        (changed(&|record| record["rows"][0]["seeds"][1]["seed"] = 7.into()), "its seeds"),
        (changed(&|record| record["rows"][1]["seeds"][0]["runs"] = json!([])), "no answers"),
        ("{".into(), "record.json"),
    ];
    for (text, said) in cases {
        let shown = from(&text);
        assert!(shown.starts_with("exit: 2\n") && shown.contains(said), "{said}: {shown}");
    }
}

#[test]
fn a_split_that_is_the_exam_or_shares_with_it_is_refused() {
    let shared = place(GRID);
    let exam = fs::read(shared.path("exam.jsonl")).unwrap();
    fs::write(shared.path("validation.jsonl"), &exam).unwrap();
    let refused = |place: &Place| {
        let text = transcript(&mut sweep(place));
        assert!(text.starts_with("exit: 2\n") && text.contains("is not apart from"), "{text}");
        assert!(!place.path("runs/seed-0").exists(), "nothing is trained");
    };
    refused(&shared);
    // One question, under another name, its options in another order.
    let mut value = question("new", 2, 4, false);
    let options = value["options"].as_array_mut().unwrap();
    options.reverse();
    for (option, letter) in options.iter_mut().zip(["A", "B", "C", "D"]) {
        option["letter"] = letter.into();
    }
    fs::write(shared.path("validation.jsonl"), format!("{value}\n")).unwrap();
    refused(&shared);
    // A vignette.
    let vignettes = fs::read(shared.path("vignettes.jsonl")).unwrap();
    fs::write(shared.path("validation.jsonl"), vignettes).unwrap();
    refused(&shared);
}

#[test]
fn a_grid_that_does_not_fit_is_refused_before_anything_is_trained() {
    for (from, to, said) in [
        ("lora.rank", "lora.rang", "no setting `lora.rang`"),
        ("[2]", "[-2]", "lora.rank = -2"),
        ("[2]", "[]", "`lora.rank` has no values"),
        ("small-alpaca-lora-8bit", "small-base", "base model"),
        ("small-alpaca-lora-8bit", "small-none", "no row and no size"),
        ("[0, 1]", "[1, 1]", "`seeds`"),
        ("\"test\"", "\"../test\"", "`name`"),
        ("\"test\"", "\"..\"", "`name`"),
        ("\"test\"", "\"\"", "`name`"),
        ("combine", "combined", "combined"),
        ("mmlu-letter", "mmlu", "mmlu"),
    ] {
        let place = place(&GRID.replacen(from, to, 1));
        let text = transcript(&mut sweep(&place));
        assert!(text.starts_with("exit: 2\n") && text.contains(said), "{said}: {text}");
        assert!(!place.path("runs/seed-0").exists());
    }
}

#[test]
fn all_combinations_are_the_product() {
    let place = place(&GRID.replace("one-at-a-time", "all"));
    let text = transcript(sweep(&place).arg("--dry-run"));
    let expected = "centre\nrate-0.5\nrank-2\nrate-0.5_rank-2\n4 points, 2 seeds each\n";
    assert!(text.contains(expected), "{text}");
}
