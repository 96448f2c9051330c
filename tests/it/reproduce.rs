//! `reproduce`: the same bytes every time, a verdict for every cell, bad input refused.

#![expect(clippy::unwrap_used, reason = "a test fails where it does not hold")]

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    snapshots,
    support::{medharness, transcript},
};

fn reproduce(out: &Path) -> assert_cmd::Command {
    let mut command = medharness();
    command.args(["reproduce", "--study", "paper", "--no-progress", "--out"]).arg(out);
    command
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Verdicts of one row under one protocol, column by column.
fn verdicts(report: &Value, model: &str, protocol: &str) -> Vec<String> {
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["model"] == model).unwrap();
    let runs = row["runs"].as_array().unwrap();
    let run = runs.iter().find(|run| run["protocol"]["id"] == protocol).unwrap();
    let cells = run["cells"].as_array().unwrap().iter();
    cells.map(|cell| cell["comparison"]["verdict"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn without_models_it_ends_with_one_screen_in_seconds() {
    let _guard = snapshots();
    let folder = tempfile::tempdir().unwrap();
    let started = std::time::Instant::now();
    let text = transcript(&mut reproduce(folder.path()));
    assert!(started.elapsed().as_secs_f64() < 10.0, "{:?}", started.elapsed());
    assert!(text.lines().count() < 60, "more than a screen");
    let text = text.replace(&folder.path().display().to_string(), "OUT");
    insta::assert_snapshot!("reproduce_text", text);
}

#[test]
fn the_committed_report_is_what_the_program_writes() {
    let folder = tempfile::tempdir().unwrap();
    reproduce(folder.path()).assert().success();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/paper");
    let mut names: Vec<_> =
        fs::read_dir(&committed).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["index.html", "report.json", "report.md", "table.csv"]);
    for name in names {
        let (ours, theirs) = (folder.path().join(&name), committed.join(&name));
        let same = fs::read(ours).unwrap() == fs::read(theirs).unwrap();
        assert!(same, "reports/paper/{} is out of date: run `just reports`", name.display());
    }
}

#[test]
fn the_report_holds_the_audit_the_dispute_and_the_matrix() {
    let folder = tempfile::tempdir().unwrap();
    reproduce(folder.path()).assert().success();
    let report = report(folder.path());
    let columns = report["audit"]["columns"].as_array().unwrap();
    let found: Vec<&Value> = columns.iter().map(|column| &column["found"]["n"]).collect();
    assert_eq!(found, [91, 109, 123]);
    let explained: Vec<&Value> = columns.iter().map(|column| &column["found"]["rows"]).collect();
    assert_eq!(explained, [9, 9, 9]);
    let page = fs::read_to_string(folder.path().join("index.html")).unwrap();
    let markdown = fs::read_to_string(folder.path().join("report.md")).unwrap();
    for text in ["43 of 91", "52 of 109", "74 of 123", "i &lt;= len(answers)", "clinical-camel"] {
        assert!(page.contains(text), "the page lacks {text}");
    }
    for text in ["43/91", "52/109", "74/123", "clinical-camel", "medalpaca/medalpaca-13b"] {
        assert!(markdown.contains(text), "report.md lacks {text}");
    }
    assert_eq!(report["counts"]["not_run"], 2 * 39, "two protocols, 13 rows of three");
}

/// The golden table was made by executing the sources' own code.
#[test]
fn the_matrix_of_the_report_is_the_golden_one() {
    let golden: toml::Value =
        toml::from_str(include_str!("../../golden/replies/extractor_matrix.toml")).unwrap();
    let matrix = medharness::study::ExtractorMatrix::compute();
    let rows = golden["row"].as_array().unwrap();
    assert_eq!(matrix.rows.len(), rows.len());
    for (ours, golden) in matrix.rows.iter().zip(rows) {
        let expected: Vec<&str> = golden["picked"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cell| cell.as_str().unwrap())
            .collect();
        assert_eq!(ours.picked, expected, "{:?}", ours.reply);
        let by_default = golden.get("mirage_default").is_some();
        assert_eq!(ours.by_default.contains(&true), by_default, "{:?}", ours.reply);
    }
}

#[test]
fn every_printed_row_says_what_to_download() {
    let folder = tempfile::tempdir().unwrap();
    reproduce(folder.path()).assert().success();
    let report = report(folder.path());
    let download = |model: &str| {
        let rows = report["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["model"] == model).unwrap();
        row["to_download"].as_str().unwrap().to_owned()
    };
    assert_eq!(download("MedAlpaca 13b"), "medalpaca/medalpaca-13b");
    assert_eq!(
        download("MedAlpaca 7b LoRA 8bit"),
        "decapoda-research/llama-7b-hf with the adapter medalpaca/medalpaca-lora-7b-8bit"
    );
    assert_eq!(download("ChatDoctor"), "no weights were published under a name");
}

#[test]
fn the_template_is_read_back_with_no_row_and_never_overwrites() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.toml");
    let template = || {
        let mut command = medharness();
        command.args(["reproduce", "--study", "paper", "--write-models-template"]).arg(&file);
        command
    };
    template().assert().success();
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("\" = ")).count(), 14);
    reproduce(folder.path()).arg("--models").arg(&file).assert().success();
    template().assert().code(2);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_models_file_that_cannot_be_meant_is_refused() {
    let _guard = snapshots();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.toml");
    let mut all = String::new();
    for bad in [
        "[rows]\n\n\"MedAlpaca 8b\" = \"hf:medalpaca/medalpaca-7b\"\n",
        "[rows]\n\"MedAlpaca 7b\" = \"no/such/folder\"\n",
        "[rows]\n\"MedAlpaca 7b\" = { model = \"hf:a/b\", adaptor = \"hf:c/d\" }\n",
        "[rows]\n\"MedAlpaca 7b\" = 7\n",
        "[rows\n",
        "[row]\n\"MedAlpaca 7b\" = \"hf:a/b\"\n",
        "[rows]\n\"MedAlpaca 7b\" = \"hf:a/b\"\n",
    ] {
        fs::write(&file, bad).unwrap();
        let text = transcript(reproduce(folder.path()).arg("--models").arg(&file));
        assert!(text.starts_with("exit: 2\n"), "{bad}{text}");
        all += &format!("{bad}{}\n", text.replace(&folder.path().display().to_string(), "DIR"));
    }
    insta::assert_snapshot!("reproduce_bad_models", all);
}

#[test]
fn an_unwritable_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("taken");
    fs::write(&file, "").unwrap();
    reproduce(&file).assert().code(2);
}

/// An exam in MedAlpaca's layout and size, so that the author's script asks 91, 109 and 123 of it;
/// and a recording that is right in the first `right` asked of each step.
fn write_exam(folder: &Path, right: [usize; 3]) {
    let lists: toml::Value =
        toml::from_str(include_str!("../../golden/paper/excluded_items.toml")).unwrap();
    let mut answers = String::new();
    for (list, right) in lists["list"].as_array().unwrap().iter().zip(right) {
        let step = list["step"].as_str().unwrap();
        let excluded: Vec<i64> =
            list["numbers"].as_array().unwrap().iter().map(|n| n.as_integer().unwrap()).collect();
        let mut questions = Vec::new();
        let mut solutions = serde_json::Map::new();
        let mut asked = 0;
        for number in 1..=list["of"].as_integer().unwrap() {
            let place = usize::try_from(number % 4).unwrap();
            let gold = ["A", "B", "C", "D"][place];
            let options = json!({ "A": "red", "B": "green", "C": "blue", "D": "grey" });
            let text = format!("Which colour has item {number} of part {step}?");
            questions.push(json!({ "no": number, "question": text, "options": options }));
            solutions.insert(number.to_string(), json!(gold));
            // Question 1 is never asked under the author's script.
            asked += usize::from(number > 1 && !excluded.contains(&number));
            let letter = if asked <= right { gold } else { ["B", "C", "D", "A"][place] };
            let colour = options[letter].as_str().unwrap();
            let id = format!("step{step}/{number}");
            answers += &format!("{}\n", json!({ "id": id, "text": format!("{letter}: {colour}") }));
        }
        fs::write(folder.join(format!("step{step}.json")), json!(questions).to_string()).unwrap();
        let solutions = Value::Object(solutions).to_string();
        fs::write(folder.join(format!("step{step}_solutions.json")), solutions).unwrap();
    }
    fs::write(folder.join("answers.jsonl"), answers).unwrap();
}

#[test]
fn a_row_that_is_run_gets_a_verdict_per_cell() {
    let folder = tempfile::tempdir().unwrap();
    let exam = folder.path().join("exam");
    fs::create_dir(&exam).unwrap();
    write_exam(&exam, [40, 50, 20]);
    let models = folder.path().join("models.toml");
    fs::rename(exam.join("answers.jsonl"), folder.path().join("answers.jsonl")).unwrap();
    fs::write(&models, "[rows]\n\"MedAlpaca 13b\" = \"replay:answers.jsonl\"\n").unwrap();
    let out = folder.path().join("out");
    let runs = folder.path().join("runs");
    let run = || {
        let mut command = reproduce(&out);
        command.arg("--models").arg(&models).arg("--exam").arg(&exam).arg("--runs").arg(&runs);
        command
    };
    run().assert().success();
    let first = report(&out);
    let printed = verdicts(&first, "MedAlpaca 13b", "paper-2023-04");
    assert_eq!(printed, ["reproduced", "reproduced", "differs"]);
    let strict = verdicts(&first, "MedAlpaca 13b", "strict-v1");
    assert_eq!(strict, ["not_comparable"; 3]);
    assert_eq!(verdicts(&first, "MedAlpaca 7b", "paper-2023-04"), ["not_run"; 3]);
    let row = first["rows"].as_array().unwrap();
    let row = row.iter().find(|row| row["model"] == "MedAlpaca 13b").unwrap();
    assert_eq!(row["runs"][0]["cells"][0]["ledger"]["asked"], 91);
    assert_eq!(row["runs"][0]["cells"][0]["ledger"]["correct"], 40);
    // The report of the runs names the printed values in the fields for them.
    let runs_json: Value =
        serde_json::from_slice(&fs::read(out.join("runs.json")).unwrap()).unwrap();
    medharness::reports::check(&runs_json).unwrap();
    let comparison = &runs_json["runs"][0]["comparison"];
    assert_eq!(comparison["printed"]["Step 1"], "0.473");
    assert_eq!(comparison["ours"]["Step 1"]["successes"], 40);
    assert_eq!(comparison["verdict"]["Step 3"]["verdict"], "differs");
    assert!(
        fs::read_to_string(out.join("runs.html")).unwrap().contains("MedAlpaca 13b · strict-v1")
    );
    // The second time the runs are read, not made; and the report is the same.
    let folder = runs.join("medalpaca-13b/paper-2023-04");
    let files = || ["attempts.jsonl", "manifest.json"].map(|n| fs::read(folder.join(n)).unwrap());
    let before = files();
    run().assert().success();
    assert!(files() == before, "the finished run was touched");
    assert_eq!(report(&out), first);
    reproduce(&out).assert().success();
    assert!(!out.join("runs.html").exists(), "a page of runs that this study does not have");
}

#[test]
fn an_exam_of_another_size_is_not_comparable() {
    let folder = tempfile::tempdir().unwrap();
    let questions: String = (0..40)
        .map(|number| {
            let options =
                json!([{ "letter": "A", "text": "red" }, { "letter": "B", "text": "blue" }]);
            let line = json!({
                "id": format!("q{number}"), "step": "1", "question": format!("Colour {number}?"),
                "options": options, "answer": "A", "has_image": false, "source": "test",
            });
            format!("{line}\n")
        })
        .collect();
    let exam = folder.path().join("exam.jsonl");
    fs::write(&exam, questions).unwrap();
    let models = folder.path().join("models.toml");
    fs::write(&models, "[rows]\n\"LLaMA 7b\" = \"stub:gold\"\n").unwrap();
    let out = folder.path().join("out");
    let mut command = reproduce(&out);
    command.arg("--models").arg(&models).arg("--exam").arg(&exam);
    command.arg("--runs").arg(folder.path().join("runs")).assert().success();
    let report = report(&out);
    let verdicts = verdicts(&report, "LLaMA 7b", "paper-2023-04");
    assert_eq!(verdicts, ["not_comparable", "not_run", "not_run"]);
}

#[test]
fn an_adapter_on_recorded_answers_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_exam(folder.path(), [0, 0, 0]);
    let models = folder.path().join("models.toml");
    let entry = "{ model = \"replay:answers.jsonl\", adapter = \"answers.jsonl\" }";
    fs::write(&models, format!("[rows]\n\"MedAlpaca 7b LoRA\" = {entry}\n")).unwrap();
    let mut command = reproduce(&folder.path().join("out"));
    command.arg("--models").arg(&models).arg("--exam").arg(folder.path().join("step1.json"));
    let text = transcript(command.arg("--runs").arg(folder.path().join("runs")));
    assert!(text.starts_with("exit: 2\n") && text.contains("adapter"), "{text}");
}

#[test]
fn a_protocol_given_twice_or_unknown_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let twice = ["--protocol", "strict-v1", "--protocol", "strict-v1"];
    reproduce(folder.path()).args(twice).assert().code(2);
    reproduce(folder.path()).args(["--protocol", "strict-v0"]).assert().code(2);
}

#[test]
fn a_row_with_questions_that_got_no_reply_gets_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let exam = folder.path().join("exam");
    fs::create_dir(&exam).unwrap();
    write_exam(&exam, [40, 50, 70]);
    let answers = fs::read_to_string(exam.join("answers.jsonl")).unwrap();
    fs::remove_file(exam.join("answers.jsonl")).unwrap();
    let lost = |line: &&str| !line.contains("step2/50\"");
    let kept: String = answers.lines().filter(lost).map(|line| format!("{line}\n")).collect();
    fs::write(folder.path().join("answers.jsonl"), kept).unwrap();
    let models = folder.path().join("models.toml");
    fs::write(&models, "[rows]\n\"MedAlpaca 13b\" = \"replay:answers.jsonl\"\n").unwrap();
    let out = folder.path().join("out");
    let mut command = reproduce(&out);
    command.arg("--models").arg(&models).arg("--exam").arg(&exam);
    command.arg("--runs").arg(folder.path().join("runs")).assert().success();
    let report = report(&out);
    let verdicts = verdicts(&report, "MedAlpaca 13b", "paper-2023-04");
    assert_eq!(verdicts, ["reproduced", "not_comparable", "reproduced"]);
    let text = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(text.contains("1 of 109 questions got no reply"), "{text}");
}
