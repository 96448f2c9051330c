//! `reproduce`: the miniature study, here with a network too small to learn anything.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use medharness::study::mini::{REPORT_FILES, Record, TrainingRecord, Verdict};
use serde_json::{Value, json};

use crate::{
    llama_support::splitmix64,
    support::{medharness, transcript},
    trainer_support::{recipe_text, root, write_model},
};

/// A study in a folder: model, recipes, rows, exam, vignettes.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

pub(crate) fn question(id: &str, step: u8, number: usize, has_image: bool) -> Value {
    let options = json!([
        { "letter": "A", "text": "red" }, { "letter": "B", "text": "blue" },
        { "letter": "C", "text": "green" }, { "letter": "D", "text": "grey" },
    ]);
    let answer = ["A", "B", "C", "D"][number % 4];
    json!({
        "id": id, "step": step.to_string(), "question": format!("Which colour has thing {number}?"),
        "options": options, "answer": answer, "has_image": has_image, "source": "test",
    })
}

pub(crate) fn lines(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| format!("{value}\n")).collect()
}

const ROWS: [(&str, &str, &str, &str); 4] = [
    ("small-base", "small", "base", "base"),
    ("small-alpaca-full", "small", "alpaca", "full"),
    ("small-alpaca-lora-8bit", "small", "alpaca", "lora-8bit"),
    ("large-base", "large", "base", "base"),
];

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().expect("a folder") };
        for size in ["small", "large"] {
            let model = place.path(&format!("models/{size}"));
            write_model(&model);
            let config = fs::read_to_string(model.join("config.json")).expect("a configuration");
            // Room for a prompt and its reply.
            let config = config
                .replace("\"max_position_embeddings\":256", "\"max_position_embeddings\":700");
            fs::write(model.join("config.json"), config).expect("written");
        }
        let short = |text: String| text.replace("epochs = 1.0", "epochs = 1.0\nmax_steps = 3");
        place.write("full.toml", &short(recipe_text(false)));
        let int8 = recipe_text(true).replace("base = \"f32\"", "base = \"int8\"");
        place.write("lora.toml", &short(int8));
        fs::copy(root().join("golden/train/rows.json"), place.path("rows.json")).expect("copied");
        let items = (0..12).map(|n| question(&format!("q{n}"), 1 + (n % 3) as u8, n, n >= 9));
        place.write("exam.jsonl", &lines(items));
        let way = |n: usize| ["question", "flashcard", "read"][n / 3 % 3];
        let taught = (0..12).map(|n| json!({ "id": format!("q{n}"), "taught": way(n) }));
        place.write("taught.jsonl", &lines(taught));
        place.write(
            "vignettes.jsonl",
            &lines((20..22).map(|n| question(&format!("v{n}"), 1, n, false))),
        );
        place.write("study.toml", &Self::definition());
        place
    }

    fn definition() -> String {
        let mut text = String::from(
            "title = \"A test\"\nabout = \"Nothing is learnt.\"\nexam = \"exam.jsonl\"\n\
             taught = \"taught.jsonl\"\nvignettes = \"vignettes.jsonl\"\n\
             protocols = [\"strict-v1\", \"mmlu-letter\"]\n",
        );
        for (id, size, family, method) in ROWS {
            text += &format!(
                "[[row]]\nid = \"{id}\"\nlabel = \"{family} {method}\"\nsize = \"{size}\"\n\
                 family = \"{family}\"\nmethod = \"{method}\"\nbase = \"models/{size}\"\n"
            );
            text += match method {
                "full" => {
                    "recipe = \"full.toml\"\ndata = \"rows.json\"\nmirrors = \"Alpaca 7b naive\"\n"
                }
                "lora-8bit" => "recipe = \"lora.toml\"\ndata = \"rows.json\"\ndtype = \"int8\"\n",
                _ => "mirrors = \"LLaMA 7b\"\n",
            };
        }
        text
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    pub(crate) fn arguments(&self, out: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        [
            "reproduce",
            "--study",
            "mini",
            "--no-progress",
            "--definition",
            &path("study.toml"),
            "--runs",
            &path("runs"),
        ]
        .into_iter()
        .chain(["--out", &path(out)])
        .map(str::to_owned)
        .collect()
    }

    /// Runs the study to its end and returns stdout and stderr.
    pub(crate) fn run(&self, out: &str, more: &[&str]) -> (String, String) {
        let output = medharness().args(self.arguments(out)).args(more).output().expect("starts");
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(output.status.success(), "{stderr}");
        (stdout, stderr)
    }

    fn report(&self, out: &str) -> Vec<Vec<u8>> {
        REPORT_FILES.iter().map(|name| fs::read(self.path(out).join(name)).expect(name)).collect()
    }

    pub(crate) fn table(&self, out: &str) -> String {
        fs::read_to_string(self.path(out).join("table.csv")).expect("a table")
    }
}

#[test]
fn a_study_is_made_once_and_repeated_with_the_same_bytes() {
    let place = Place::new();
    let record = place.path("runs/record.json").display().to_string();
    let (stdout, _) = place.run("first", &[]);
    assert!(stdout.lines().count() < 45, "more than a screen:\n{stdout}");
    for text in ["A test", "alpaca full", "claim     fine-tuned above base", "vignettes", "0.266"] {
        assert!(stdout.contains(text), "{text} is missing:\n{stdout}");
    }
    let (again, stderr) = place.run("second", &[]);
    assert_eq!(stderr, "", "nothing was made anew");
    assert_eq!(again.replace("/second/", "/first/"), stdout);
    assert!(place.report("first") == place.report("second"));
    // The record alone gives the same report.
    let from = place.path("from").display().to_string();
    medharness()
        .args(["reproduce", "--study", "mini", "--from", &record, "--out", &from])
        .assert()
        .success();
    assert!(place.report("first") == place.report("from"));
    let table = place.table("first");
    // Three parts with a step, the whole, three ways of teaching; two protocols; and the vignettes.
    let of_base = table.lines().filter(|line| line.starts_with("small-base,")).count();
    assert_eq!(of_base, 2 * 7 + 2, "{table}");
    assert!(
        table.contains("small-base,small,base,base,LLaMA 7b,exam,strict-v1,all,0,9,"),
        "{table}"
    );
    let report: Value =
        serde_json::from_slice(&fs::read(place.path("first/report.json")).unwrap()).unwrap();
    assert_eq!(report["exams"][0]["excluded"], 3);
    let costs = &report["rows"][1]["seeds"][0]["training"];
    assert_eq!(costs["updates"], 3);
    assert!(costs["mem_estimate"].as_u64() > Some(0) && costs["wall_s"].is_number());
    let page = fs::read_to_string(place.path("first/index.html")).unwrap();
    for id in ["table", "protocols", "strata", "claims", "trade-off", "vignettes", "stages"] {
        assert!(page.contains(&format!("<section id=\"{id}\"")), "no section {id}");
    }
    assert!(!page.contains("://"), "the page names an address");
}

/// Whatever is changed: it is said, made anew, and the table is the same.
#[test]
fn what_was_tampered_with_is_noticed_and_made_anew() {
    let place = Place::new();
    place.run("first", &[]);
    let table = place.table("first");
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).expect("a file");
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(path, bytes).expect("written");
    };
    let trained = place.path("runs/seed-0/trained/small-alpaca-lora-8bit");
    let cases: [(PathBuf, &str); 5] = [
        (
            trained.join("adapter_model.safetensors"),
            "small-alpaca-lora-8bit: `adapter_model.safetensors` is not as it was written: trained anew",
        ),
        (trained.join("checkpoint-3/optimizer.safetensors"), "was changed after it was written"),
        (place.path("runs/seed-0/trained/small-alpaca-full/metrics.jsonl"), "trained anew"),
        (
            place.path("runs/seed-0/small-base/strict-v1/attempts.jsonl"),
            "small-base, exam under strict-v1",
        ),
        (place.path("runs/seed-0/large-base/vignettes/summary.json"), "asked anew"),
    ];
    for (path, said) in cases {
        flip(&path);
        let (_, stderr) = place.run("again", &[]);
        assert!(stderr.contains(said), "{}: {stderr}", path.display());
        assert_eq!(place.table("again"), table, "{}", path.display());
    }
    // Another base under the same name: everything made of it is made anew.
    let weights = place.path("models/large/model.safetensors");
    flip(&weights);
    let (_, stderr) = place.run("again", &[]);
    assert!(stderr.contains("large-base") && !stderr.contains("small"), "{stderr}");
    let (_, stderr) = place.run("again", &[]);
    assert_eq!(stderr, "");
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_table() {
    let place = Place::new();
    let begun = std::time::Instant::now();
    place.run("whole", &[]);
    let whole_ms = u64::try_from(begun.elapsed().as_millis()).expect("short");
    fs::remove_dir_all(place.path("runs")).expect("removed");
    let mut random = 11_u64;
    for jobs in ["1", "2", "1", "3", "2", "1"] {
        random = splitmix64(random);
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_medharness"))
            .args(place.arguments("killed"))
            .args(["--jobs", jobs])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(Duration::from_millis(random % (whole_ms / 2).max(2)));
        child.kill().expect("killed");
        child.wait().expect("a child");
    }
    place.run("killed", &[]);
    assert_eq!(place.table("killed"), place.table("whole"));
}

#[test]
fn rows_made_at_the_same_time_are_the_same() {
    let place = Place::new();
    place.run("one", &["--seeds", "2"]);
    let stored = |name: &str| {
        let weights = format!("runs/seed-1/trained/{name}");
        fs::read(place.path(&weights)).expect("what was trained")
    };
    let trained = || {
        (
            stored("small-alpaca-full/model.safetensors"),
            stored("small-alpaca-lora-8bit/adapter_model.safetensors"),
        )
    };
    let alone = trained();
    fs::remove_dir_all(place.path("runs")).expect("removed");
    let (_, said) = place.run("three", &["--seeds", "2", "--jobs", "3"]);
    assert_eq!(said, "", "none is made anew");
    for row in ["seed-0/small-base", "seed-1/small-alpaca-full", "seed-1/large-base"] {
        let manifest = place.path("runs").join(row).join("strict-v1/manifest.json");
        let manifest = fs::read_to_string(manifest).expect("a manifest");
        assert!(manifest.contains("--worker"), "{row} was made by no worker: {manifest}");
    }
    assert_eq!(trained(), alone);
    assert_eq!(place.table("three"), place.table("one"));
}

#[test]
fn a_worker_that_fails_leaves_its_row_and_error_to_the_study() {
    let place = Place::new();
    let rows = fs::read_to_string(place.path("rows.json")).expect("rows");
    fs::write(place.path("rows.json"), &rows[..rows.len() / 2]).expect("cut");
    let mut command = medharness();
    command.args(place.arguments("failed")).args(["--jobs", "4"]);
    let text = transcript(&mut command);
    assert!(text.contains("small-alpaca-full"), "{text}");
    assert!(place.path("runs/seed-0/large-base/strict-v1/SHA256SUMS").exists(), "others are kept");
}

/// A training that is to be discarded and was half removed, as by a kill in older versions, and one that
/// another build made: neither keeps the study from its end.
#[test]
fn leftovers_of_a_kill_and_of_another_build_are_made_anew() {
    let place = Place::new();
    place.run("first", &[]);
    let trained = place.path("runs/seed-0/trained/small-alpaca-full");
    let aside = place.path("runs/seed-0/trained/.small-alpaca-full.old");
    fs::create_dir_all(aside.join("checkpoint-3")).expect("made");
    fs::write(trained.join("metrics.jsonl"), "broken").expect("written");
    let (_, stderr) = place.run("again", &[]);
    assert!(stderr.contains("small-alpaca-full") && stderr.contains("trained anew"), "{stderr}");
    assert!(!aside.exists());
    assert_eq!(place.table("again"), place.table("first"));

    fs::write(place.path("runs/program.sha256"), "0".repeat(64)).expect("written");
    let (_, stderr) = place.run("again", &[]);
    assert!(stderr.contains("made by another build of the program"), "{stderr}");
    assert_eq!(place.table("again"), place.table("first"));
    let (_, stderr) = place.run("again", &[]);
    assert_eq!(stderr, "");
}

/// A record of some rows says which it lacks, and is no baseline.
#[test]
fn rows_that_were_left_out_are_no_baseline() {
    let place = Place::new();
    place.run("part", &["--only", "small-base"]);
    let (runs, baseline) = (place.path("runs"), place.path("baseline.json"));
    let text = transcript(
        medharness().args(["gate", "--run"]).arg(&runs).arg("--write-baseline").arg(&baseline),
    );
    assert!(text.starts_with("exit: 2\n") && text.contains("large-base"), "{text}");
    assert!(!baseline.exists());
}

#[test]
fn seeds_are_pooled_and_each_is_shown() {
    let place = Place::new();
    let rows = ["--only", "small-base", "--only", "small-alpaca-full"];
    let (stdout, _) = place.run("two", &[&rows[..], &["--seeds", "2"]].concat());
    assert!(stdout.contains("mean of 2 seeds"), "{stdout}");
    let markdown = fs::read_to_string(place.path("two/report.md")).unwrap();
    assert!(markdown.contains("| seed 0 | seed 1 |"), "{markdown}");
    assert!(place.path("runs/seed-1/trained/small-alpaca-full/model.safetensors").is_file());
    let lineage = |seed: u64| -> Value {
        let path = format!("runs/seed-{seed}/trained/small-alpaca-full/train.json");
        serde_json::from_slice(&fs::read(place.path(&path)).unwrap()).unwrap()
    };
    let seed_of = |seed| lineage(seed)["recipe"]["data"]["seed"].as_u64().unwrap();
    assert_eq!(seed_of(1), seed_of(0) + 1);
    let csv = place.table("two");
    assert!(csv.contains(",strict-v1,all,0 1,9,"), "{csv}");
}

#[test]
fn exam_questions_in_the_rows_end_the_study_with_1() {
    let place = Place::new();
    let exam = fs::read_to_string(place.path("exam.jsonl")).unwrap();
    let long = "Which colour has the thing that a child of seven years found behind the old red barn \
                on the last day of May while it rained?";
    place.write("exam.jsonl", &exam.replacen("Which colour has thing 4?", long, 1));
    let row = |input: &str| json!({ "instruction": "Answer.", "input": input, "output": "blue" });
    let rows: Vec<Value> = (0..9).map(|n| row(&format!("Thing {n}?"))).chain([row(long)]).collect();
    place.write("rows.json", &Value::from(rows).to_string());
    let output = medharness().args(place.arguments("out")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("q4"), "{stderr}");
}

#[test]
fn what_cannot_be_made_is_refused_by_name() {
    let place = Place::new();
    let refused = |place: &Place, more: &[&str], said: &str| {
        let text = transcript(medharness().args(place.arguments("out")).args(more));
        assert!(text.starts_with("exit: 2\n") && text.contains(said), "{said}: {text}");
    };
    refused(&place, &["--only", "huge"], "no row and no size `huge`");
    refused(&place, &["--models", "x.toml"], "--models is not for --study mini");
    let mut paper = place.arguments("out");
    paper[2] = "paper".into();
    let text = transcript(medharness().args(paper));
    assert!(text.contains("--definition is not for --study paper"), "{text}");
    let definition = Place::definition();
    for (from, to, said) in [
        ("strict-v1", "strict-v0", "strict-v0"),
        ("small-alpaca-full", "small-base", "`small-base` is there twice"),
        ("LLaMA 7b", "LLaMA 8b", "no row `LLaMA 8b`"),
        ("\ndata = \"rows.json\"", "", "recipe and data"),
        ("method = \"full\"", "method = \"half\"", "half"),
        ("title", "heading", "heading"),
    ] {
        place.write("study.toml", &definition.replacen(from, to, 1));
        refused(&place, &[], said);
    }
    place.write("study.toml", &definition);
    let taught = fs::read_to_string(place.path("taught.jsonl")).unwrap();
    place.write("taught.jsonl", taught.split_once('\n').unwrap().1);
    refused(&place, &[], "says nothing of item `q0`");
    place.write("broken.json", "{\"format\": \"medharness-study\"}");
    let broken = place.path("broken.json").display().to_string();
    let text = transcript(medharness().args(["reproduce", "--study", "mini", "--from", &broken]));
    assert!(text.starts_with("exit: 2\n") && text.contains("no record of a study"), "{text}");
}

/// A record of `rows`: id, size, family, method, and the outcomes under each seed.
pub(crate) fn record(rows: &[(&str, &str, &str, &str, &[&str])]) -> Record {
    let n = rows[0].4[0].len();
    let items: Vec<String> = (0..n)
        .map(|item| {
            let way = ["question", "flashcard", "read"][item % 3];
            format!("{}|{way}|q{item}", 1 + item % 3)
        })
        .collect();
    let rows: Vec<Value> = rows
        .iter()
        .map(|(id, size, family, method, seeds)| {
            let seeds = seeds.iter().enumerate().map(|(seed, outcomes)| {
                json!({ "seed": seed, "training": null, "runs": [{
                    "exam": "exam", "protocol": "strict-v1", "run_id": format!("{id}-{seed}"),
                    "model": id, "outcomes": outcomes, "wall_s": 1.0, "mem_peak": null,
                }]})
            });
            json!({ "id": id, "label": id, "size": size, "family": family, "method": method,
                "mirrors": null, "seeds": seeds.collect::<Vec<_>>() })
        })
        .collect();
    let record = json!({
        "format": "medharness-study", "format_version": 1, "title": "t", "about": "a",
        "tool_version": env!("CARGO_PKG_VERSION"), "kernel_set": "k", "machine": "m",
        "exams": [{ "name": "exam", "sha256": "e".repeat(64), "excluded": 0, "chance": 0.25, "items": items }],
        "protocols": [{ "id": "strict-v1", "sha256": "f".repeat(64) }],
        "rows": rows,
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("record.json");
    fs::write(&path, record.to_string()).expect("written");
    Record::open(&path).expect("a record")
}

/// Numbers by hand: 12 items lost and none gained has the exact p 2 / 2^12; Holm doubles it.
#[test]
fn claims_are_tested_on_pairs_and_adjusted_within_the_claim() {
    let base = "a".repeat(30);
    let better = "A".repeat(12) + &"a".repeat(18);
    let same = "b".repeat(30);
    let rows: [(&str, &str, &str, &str, &[&str]); 5] = [
        ("small-base", "small", "base", "base", &[&base]),
        ("small-full", "small", "medalpaca", "full", &[&better]),
        ("small-lora", "small", "medalpaca", "lora", &[&same]),
        ("large-base", "large", "base", "base", &[&base]),
        ("large-full", "large", "medalpaca", "full", &[&base]),
    ];
    let record = record(&rows);
    let claims = record.claims("strict-v1");
    let claim = |text: &str| claims.iter().find(|claim| claim.text.contains(text)).expect(text);
    let tuned = claim("fine-tuned above base");
    assert_eq!((tuned.tests.len(), tuned.verdict), (3, Verdict::InPart));
    let first = &tuned.tests[0];
    assert!((first.difference.value - 0.4).abs() < 1e-12);
    assert!((first.difference.p - 2.0 / 4096.0).abs() < 1e-12);
    assert!((first.p_holm - 6.0 / 4096.0).abs() < 1e-12, "three tests: {}", first.p_holm);
    assert_eq!(first.by_way, [Some(0.4), Some(0.4), Some(0.4)]);
    assert_eq!(claim("below full").verdict, Verdict::Holds);
    // The larger model trained in full is worse here: the claim is contradicted, and it is said.
    let larger = claim("larger above smaller");
    assert_eq!(larger.verdict, Verdict::Contradicted);
    assert!(larger.sentence().starts_with("does not hold: 1 of 2"), "{}", larger.sentence());
    assert_eq!(claim("8-bit below LoRA").verdict, Verdict::NotRun);
}

/// The answers of a question under all seeds are one group: copies of a seed add no evidence.
#[test]
fn more_seeds_that_say_the_same_are_no_more_evidence() {
    let (base, better) = ("a".repeat(30), "A".repeat(6) + &"a".repeat(24));
    let p = |copies: usize| {
        let (base, better) = (vec![&*base; copies], vec![&*better; copies]);
        let rows: [(&str, &str, &str, &str, &[&str]); 2] = [
            ("small-base", "small", "base", "base", &base),
            ("small-full", "small", "medalpaca", "full", &better),
        ];
        record(&rows).claims("strict-v1")[0].tests[0].difference.clone()
    };
    let (two, five) = (p(2), p(5));
    assert!((two.p - five.p).abs() < 1e-9, "{} and {}", two.p, five.p);
    assert!((two.value - 0.2).abs() < 1e-12 && five.seeds.len() == 5);
}

/// With two seeds that are both all wrong there is no spread, and no certainty either.
#[test]
fn seeds_without_spread_claim_no_more_than_one() {
    let (none, all) = ("a".repeat(30), "A".repeat(30));
    let interval = |seeds: &[&str]| {
        let rows: [(&str, &str, &str, &str, &[&str]); 2] = [
            ("small-base", "small", "base", "base", &vec![&*none; seeds.len()]),
            ("small-full", "small", "medalpaca", "full", seeds),
        ];
        let record = record(&rows);
        record.claims("strict-v1")[0].tests[0].difference.clone()
    };
    let (one, two) = (interval(&[&all]), interval(&[&all, &all]));
    assert!((one.p - two.p).abs() < 1e-12 && two.p > 0.0, "{} and {}", one.p, two.p);
    assert_eq!(one.interval, two.interval);
}

/// Cells of a row in the table of a Markdown page whose head has these columns in a row.
fn cells(page: &str, head: &str, row: &str) -> Vec<String> {
    let table = page.split("\n\n").find(|part| part.contains(head)).expect(head);
    let line = table.lines().find(|line| line.contains(row)).expect(row);
    line.split('|').map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
}

/// Every number by hand: of 12 items, four a stratum, the full row has 4, 0 and 2 right and two unread.
#[test]
fn tables_hold_the_numbers_of_their_rows() {
    let (base, full, lora) = ("1".repeat(12), "AbAAb1AbAAb1", "b".repeat(12));
    let rows: [(&str, &str, &str, &str, &[&str]); 3] = [
        ("small-base", "small", "base", "base", &[&base]),
        ("small-full", "small", "medalpaca", "full", &[full]),
        ("small-lora", "small", "medalpaca", "lora", &[&lora]),
    ];
    let mut record = record(&rows);
    let training = |trained, mem_estimate, wall_s| TrainingRecord {
        recipe: "r".into(),
        data: "d".into(),
        trained,
        updates: 7,
        first_loss: 2.0,
        last_loss: 1.0,
        validation_loss: None,
        tokens: 70,
        mem_estimate,
        mem_peak: Some(3 << 20),
        wall_s,
    };
    record.rows[1].seeds[0].training = Some(training(1000, 8 << 20, 20.0));
    record.rows[2].seeds[0].training = Some(training(50, 2 << 20, 15.0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("record.json");
    record.write(&path).unwrap();
    medharness()
        .args(["reproduce", "--study", "mini", "--from"])
        .arg(&path)
        .arg("--out")
        .arg(folder.path())
        .assert()
        .success();
    let page = fs::read_to_string(folder.path().join("report.md")).unwrap();
    let one_blank = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let page = page.lines().map(one_blank).collect::<Vec<_>>().join("\n");
    let shares = |head: &str, row: &str| -> Vec<String> {
        let first = |cell: String| cell.split(' ').next().unwrap_or_default().to_owned();
        cells(&page, head, row).into_iter().skip(2).map(first).collect()
    };
    let by_way = "| as question | as flashcard | only read | all |";
    assert_eq!(shares(by_way, "small-full"), ["100.0", "0.0", "50.0", "50.0"]);
    assert_eq!(shares(by_way, "small-lora"), ["0.0", "0.0", "0.0", "0.0"]);
    let in_form = "| all | as question | as flashcard | only read |";
    assert_eq!(shares(in_form, "small-full"), ["83.3", "100.0", "100.0", "50.0"]);
    let costs = cells(&page, "| memory foreseen |", "small-lora");
    assert_eq!(
        costs[2..],
        [
            "0.0", "-50.0", "0.0", "0.0", "0.0", "50", "5.0 %", "7", "2.0 MiB", "25.0 %",
            "3.0 MiB", "15.0 s", "75.0 %"
        ]
    );
    let target = |name: &str, row: &str| {
        let found = page.lines().find(|line| line.contains(name) && line.contains(row));
        found.expect(name).to_owned()
    };
    // 6 gained of 12, none lost: the exact p is 2 / 2^6.
    let above = target("full fine-tuning above base", "small-full");
    assert!(above.contains("NOT MET") && above.contains("0.031"), "{above}");
    assert!(target("in form above 95 %", "small-full").contains("NOT MET"));
    let lora = target("in form above 95 %", "small-lora");
    assert!(lora.contains("| met |"), "{lora}");
}
