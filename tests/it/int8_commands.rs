//! Exams asked in LLM.int8() through the command line and through a models file.

use std::{collections::BTreeMap, fs, ops::ControlFlow, path::Path};

use medharness::{
    exam::Exam,
    protocol::Protocol,
    stats::Seed,
    study::{Mapping, ModelSpec, Plan, run_rows},
};
use serde_json::{Value, json};

use crate::support::medharness;

/// Nine questions with options of several tokens, two of them with the same words.
fn exam(folder: &Path) -> std::path::PathBuf {
    let texts = [
        "What is hot and far away?",
        "Who helps the sick boy?",
        "What did the cat drink?",
        "Where does the fish live?",
        "Why was Mia sad and cold?",
        "What is hot and far away?",
        "Which toy is red and round?",
        "Who came to the park with Tim?",
        "What can a bird do well?",
    ];
    let lines = texts.iter().zip(1..).map(|(text, number)| {
        json!({"id": format!("q{number}"), "step": "1", "question": text, "answer": "B",
            "has_image": false, "source": "test", "options": [
                {"letter": "A", "text": "the red ball"}, {"letter": "B", "text": "the sun"},
                {"letter": "C", "text": "a kind doctor with a big bag"}]})
        .to_string()
            + "\n"
    });
    let path = folder.join("exam.jsonl");
    fs::write(&path, lines.collect::<String>()).expect("written");
    path
}

struct Asked<'a> {
    model: &'a Path,
    exam: &'a Path,
    protocol: &'a str,
    run: &'a Path,
}

fn eval(asked: &Asked<'_>, dtype: Option<&str>, batch: &str, threads: &str) -> assert_cmd::Command {
    let mut command = medharness();
    command.env("RAYON_NUM_THREADS", threads);
    command.args(["eval", "--batch", batch, "--protocol", asked.protocol, "--model"]);
    command.arg(asked.model).arg("--exam").arg(asked.exam).arg("--out").arg(asked.run);
    command.args(dtype.into_iter().flat_map(|dtype| ["--dtype", dtype]));
    command
}

fn manifest(run: &Path) -> Value {
    let text = fs::read_to_string(run.join("manifest.json")).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn an_int8_run_has_the_same_bytes_in_any_batch_and_on_any_number_of_threads() {
    let model = &shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let exam = &exam(scratch.path());
    for protocol in ["mmlu-letter", "medqa-text"] {
        let mut attempts = Vec::new();
        for (batch, threads) in [("1", "1"), ("4", "2"), ("32", "3")] {
            let run = &scratch.path().join(format!("{protocol}-{batch}"));
            let asked = Asked { model, exam, protocol, run };
            eval(&asked, Some("int8"), batch, threads).assert().success();
            attempts.push(fs::read(run.join("attempts.jsonl")).expect("written"));
            let manifest = manifest(run);
            assert_eq!(manifest["model"]["dtype"], "int8-cpu-eval+f32");
        }
        assert!(attempts.iter().all(|bytes| *bytes == attempts[0]), "{protocol}");
        let lines = String::from_utf8_lossy(&attempts[0]).lines().count();
        assert_eq!(lines, 9);
    }
}

#[test]
fn runs_in_other_formats_are_other_runs() {
    let model = &shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let exam = &exam(scratch.path());
    let mut ids = BTreeMap::new();
    for dtype in ["f32", "int8", "int8-cuda", "int8-dequantized"] {
        let run = &scratch.path().join(dtype);
        let asked = Asked { model, exam, protocol: "mmlu-letter", run };
        eval(&asked, Some(dtype), "32", "2").assert().success();
        ids.insert(manifest(run)["run_id"].to_string(), dtype);
    }
    assert_eq!(ids.len(), 4);
    let run = &scratch.path().join("f32");
    let asked = Asked { model, exam, protocol: "mmlu-letter", run };
    let refused = eval(&asked, Some("int8"), "32", "2").assert().code(2);
    let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    let difference = "model.dtype is \"f32\", wanted \"int8-cpu-eval+f32\"";
    assert!(message.contains(difference), "{message}");
}

#[test]
fn a_models_file_runs_a_row_in_int8() {
    let model = shared!("checkpoints/stories260k");
    let scratch = tempfile::tempdir().expect("scratch");
    let exam_path = exam(scratch.path());
    let exam = Exam::load(&exam_path).expect("loads");
    let protocols = [Protocol::find("mmlu-letter").expect("known")];
    let spec = format!("model = \"{}\"\ndtype = \"int8\"\n", model.display());
    let spec: ModelSpec = toml::from_str(&spec).expect("a row");
    let mapping = Mapping { rows: [("MedAlpaca 7b".to_owned(), spec)].into() };
    let folder = &scratch.path().join("runs");
    let plan =
        Plan { mapping: &mapping, exam: &exam, protocols: &protocols, folder, seed: Seed(0) };
    let runs = run_rows(&plan, &mut |_| ControlFlow::Continue(())).expect("runs");
    let runs = runs.expect("not stopped");
    let run = &runs[&("MedAlpaca 7b".to_owned(), "mmlu-letter".to_owned())];
    assert_eq!(run.manifest.model.dtype.as_deref(), Some("int8-cpu-eval+f32"));
    let direct = &scratch.path().join("direct");
    let asked = Asked { model: &model, exam: &exam_path, protocol: "mmlu-letter", run: direct };
    eval(&asked, Some("int8"), "3", "1").assert().success();
    assert_eq!(manifest(direct)["run_id"], run.manifest.run_id);
    for dtype in ["int4", "INT8", "int8_cuda"] {
        let spec = format!("model = \"a\"\ndtype = \"{dtype}\"\n");
        assert!(toml::from_str::<ModelSpec>(&spec).is_err(), "{dtype}");
    }
}
