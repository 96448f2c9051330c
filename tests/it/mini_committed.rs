//! What is committed of the miniature fits together: study, bases, recipes, grid, record, report.

use std::fs;

use medharness::study::{
    mini::{Method, REPORT_FILES, Record, Study},
    sweep::{GRIDS, Grid, Sweep},
};

use crate::{support::medharness, trainer_support::root};

fn study() -> Study {
    Study::open(&root().join("golden/mini/study.toml")).expect("the committed study")
}

/// The committed validation split shares no question, and no 13 words, with exam and vignettes.
#[test]
fn the_committed_grids_and_their_records_fit_the_committed_study() {
    for ((name, text), method) in GRIDS.into_iter().zip([Method::Lora, Method::Full]) {
        let grid = Grid::parse(text, name.as_ref()).unwrap();
        let sweep = Sweep::new(grid, study()).unwrap();
        let values: usize = sweep.grid.vary.iter().map(|vary| vary.values.len()).sum();
        assert_eq!(sweep.points.len(), 1 + values);
        assert_eq!((sweep.row.method, &*sweep.grid.name), (method, name));
        sweep.record(&root().join(format!("golden/baselines/{name}.json"))).expect(name);
    }
}

/// The trainer refuses a row that it is compared on: a sweep asks the validation split as well.
#[test]
fn no_training_row_holds_a_question_of_any_split() {
    let file = |name: &str| root().join("golden/mini").join(name);
    for exam in ["exam.jsonl", "vignettes.jsonl", "validation.jsonl"] {
        let mut command = medharness();
        command.args(["corpus", "overlap", "--no-progress", "--exam"]).arg(file(exam));
        command.arg("--data").args([file("meadow.jsonl"), file("alpaca.jsonl")]);
        command.assert().success();
    }
}

#[test]
fn every_row_has_its_base_its_recipe_and_its_data() {
    let study = study();
    assert_eq!(study.rows.len(), 12);
    assert_eq!(study.protocols[0].id, "strict-v1");
    for row in &study.rows {
        let base = study.folder.join(&row.base);
        medharness::llama::Checkpoint::open(&base).expect(&row.id);
        assert_eq!(study.recipe(row, 0).unwrap().is_none(), row.method == Method::Base);
        let data = row.data.as_ref().map(|data| study.folder.join(data));
        assert!(data.is_none_or(|path| path.is_file()), "{}", row.id);
    }
}

#[test]
fn the_committed_record_is_of_the_committed_study_and_makes_the_committed_report() {
    let study = study();
    let path = root().join("golden/baselines/mini.json");
    let record = Record::open(&path).unwrap();
    assert_eq!(record.exams[0].sha256, study.exam.sha256());
    let ids: Vec<&str> = record.rows.iter().map(|row| &*row.id).collect();
    let expected: Vec<&str> = study.rows.iter().map(|row| &*row.id).collect();
    assert_eq!(ids, expected);
    for (recorded, protocol) in record.protocols.iter().zip(&study.protocols) {
        assert_eq!((&*recorded.id, &*recorded.sha256), (&*protocol.id, protocol.sha256()));
    }
    let folder = tempfile::tempdir().unwrap();
    medharness()
        .args(["reproduce", "--study", "mini", "--no-progress", "--from"])
        .arg(&path)
        .arg("--out")
        .arg(folder.path())
        .assert()
        .success();
    for name in REPORT_FILES {
        let committed = fs::read(root().join("reports/mini").join(name)).expect(name);
        let same = fs::read(folder.path().join(name)).unwrap() == committed;
        assert!(same, "reports/mini/{name} is out of date: run `just reports`");
    }
}
