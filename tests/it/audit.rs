//! The audit of the paper's table and of a user's own. Expected figures come from the reference
//! notes and were computed again with scipy (`scipy.stats.binom`), not from our output.

use std::{fs, path::PathBuf};

use medharness::{
    claims::{Audit, CountKind, Direction, Table},
    exam::ExcludedItems,
    stats::{Confidence, Power, PrintedShare, Share, Unit, detectable_paired, detectable_unpaired},
};

use crate::{
    snapshots,
    support::{medharness, transcript},
};

fn paper() -> Audit {
    Audit::new(&Table::paper())
}

#[test]
fn the_papers_columns_were_computed_over_91_109_and_123_questions() {
    // N, rows that fit, chance per row (N + 1) / 1001, p from scipy.stats.binom.sf(8, 13, chance).
    let expected = [
        (91, 9, 0.091_908, 2.369_837_345_328_095e-7),
        (109, 9, 0.109_890, 1.102_411_607_950_941_1e-6),
        (123, 9, 0.123_876, 3.063_840_196_767_060_7e-6),
    ];
    for (column, (n, rows, chance, p)) in paper().columns.iter().zip(expected) {
        let found = column.found.as_ref().expect("found");
        assert_eq!((found.n, found.rows, column.printed), (n, rows, 13), "{}", column.name);
        assert!((found.chance_per_row - chance).abs() < 1e-6, "{}", found.chance_per_row);
        assert!((found.p / p - 1.0).abs() < 1e-9, "{}: {}", column.name, found.p);
        assert!((found.p_corrected / (61.0 * p) - 1.0).abs() < 1e-9, "{}", column.name);
        assert!(column.found_beyond_chance);
        assert!(
            column.candidates.iter().all(|fit| fit.n == n || fit.rows < rows),
            "alone at the top"
        );
    }
}

#[test]
fn the_stated_numbers_of_questions_explain_two_two_and_no_rows() {
    let fits: Vec<(usize, usize)> = paper()
        .columns
        .iter()
        .flat_map(|column| column.stated.iter().map(|stated| (stated.fit.n, stated.fit.rows)))
        .collect();
    // 122 is the README's number for Step 3, 124 the notebook's.
    assert_eq!(fits[..3], [(92, 2), (110, 2), (124, 0)]);
    assert_eq!(fits[3].0, 122);
}

#[test]
fn medalpaca_13b_is_43_of_91_52_of_109_and_74_of_123() {
    let audit = paper();
    let expected = [(43, 91, [0.373, 0.574]), (52, 109, [0.386, 0.570]), (74, 123, [0.513, 0.684])];
    for (index, (k, n, wilson)) in expected.into_iter().enumerate() {
        let cell = audit.cell("MedAlpaca 13b", index).expect("printed");
        let count = cell.count.expect("found");
        assert_eq!((count.successes, count.trials, count.kind), (k, n, CountKind::Implied));
        for (ours, theirs) in cell.wilson.expect("found").into_iter().zip(wilson) {
            assert!((ours - theirs).abs() < 0.0005, "{ours} {theirs}");
        }
        assert_eq!(cell.against_base.as_ref().expect("tested").direction, Direction::Above);
        // 43/91 against 24/94 has p = 0.002, 0.08 after Holm over 39 tests.
        let direction = if index == 0 { Direction::NotDistinguishable } else { Direction::Above };
        assert_eq!(cell.against_baseline.as_ref().expect("tested").direction, direction);
    }
}

#[test]
fn the_entries_that_do_not_fit_are_the_twelve_of_the_notes() {
    let audit = paper();
    let mut misfits = Vec::new();
    for row in &audit.rows {
        for (cell, column) in row.cells.iter().zip(&audit.columns) {
            let Some(cell) = cell else { continue };
            let fits = |k: usize, n: usize| {
                cell.fits.iter().any(|other| other.trials == n && other.successes.contains(&k))
            };
            if cell.count.expect("found").kind == CountKind::Nearest {
                misfits.push((row.model.as_str(), column.name.as_str()));
                let expected: &[(usize, usize)] = match (row.model.as_str(), &*column.name) {
                    ("LLaMA 13b", "Step 1") => &[(20, 90)],
                    ("MedAlpaca 13b LoRA 8bit", "Step 1") => &[(17, 90)],
                    ("MedAlpaca 13b LoRA 8bit", "Step 3") => &[(35, 121)],
                    ("MedAlpaca 7b LoRA 8bit", "Step 2") => &[(26, 108)],
                    ("ChatDoctor", "Step 2") => &[(20, 108)],
                    ("ChatDoctor", "Step 3") => &[(18, 122)],
                    ("MedAlpaca 30b LoRA 8bit", "Step 1") => &[(29, 92)],
                    ("MedAlpaca 30b LoRA 8bit", "Step 2") => &[(36, 110)],
                    ("MedAlpaca 30b LoRA 8bit", "Step 3") => &[(44, 122)],
                    ("MedAlpaca 13b LoRA", "Step 1") => &[(23, 92)],
                    ("MedAlpaca 13b LoRA", "Step 2") => &[(28, 110)],
                    ("MedAlpaca 13b LoRA", "Step 3") => &[(27, 106), (28, 110), (35, 137)],
                    other => panic!("{other:?} was expected to fit"),
                };
                assert!(
                    expected.iter().all(|(k, n)| fits(*k, *n)),
                    "{} {}",
                    row.model,
                    column.name
                );
            }
        }
    }
    assert_eq!(misfits.len(), 12, "{misfits:?}");
    // Nothing from 111 to 136 prints the .255 of Step 3.
    let cell = audit.cell("MedAlpaca 13b LoRA", 2).expect("printed");
    assert!(!cell.fits.iter().any(|other| (111..137).contains(&other.trials)));
    // ChatDoctor's first entry does fit: 17/91.
    let count = audit.cell("ChatDoctor", 0).expect("printed").count.expect("found");
    assert_eq!((count.successes, count.trials, count.kind), (17, 91, CountKind::Implied));
}

#[test]
fn the_off_by_one_is_named_with_its_evidence_and_only_for_its_own_table() {
    let inference = paper().inference.expect("the paper's table");
    assert!(inference.cause.code.contains("i <= len(answers)"));
    assert!(inference.cause.place.contains("05fa7d5") && inference.cause.place.contains("f811d9a"));
    let left: Vec<_> = inference.columns.iter().map(|c| (c.questions, c.excluded)).collect();
    assert_eq!(left, [(119, 27), (120, 10), (137, 13)]);
    let lists: Vec<_> = ExcludedItems::notebook()
        .list
        .iter()
        .map(|list| (list.of.expect("stated"), list.numbers.len()))
        .collect();
    assert_eq!(left, lists, "the exam excludes the same items");

    let mut other = Table::paper();
    other.rows[0].values[0] = Some(PrintedShare::parse("0.187", Unit::Fraction).expect("valid"));
    let audit = Audit::new(&other);
    assert!(audit.inference.is_none() && audit.claims.is_empty());
}

#[test]
fn the_papers_own_file_is_audited_like_the_embedded_one() {
    let root = env!("CARGO_MANIFEST_DIR");
    let read =
        Table::read(&PathBuf::from(format!("{root}/golden/paper/table.toml"))).expect("valid");
    assert_eq!(read, Table::paper());
}

/// evaluation.md 0.6 and clinical.md 0.2.
#[test]
fn small_exams_detect_only_large_differences() {
    let standard_errors = [91, 109, 123].map(|n| {
        let share = Share::new(n / 2, n).expect("valid");
        (1000.0 * share.standard_error()).round() / 10.0
    });
    assert_eq!(standard_errors, [5.2, 4.8, 4.5]);
    let points =
        |difference: Option<f64>| (1000.0 * difference.expect("there is one")).round() / 10.0;
    let unpaired = |n| points(detectable_unpaired(n, n, 0.5, Power::USUAL).expect("valid"));
    assert_eq!([unpaired(91), unpaired(109), unpaired(123)], [20.8, 19.0, 17.9]);
    let paired = |n, flips| points(detectable_paired(n, flips, Power::USUAL).expect("valid"));
    assert_eq!([paired(91, 0.2), paired(123, 0.2), paired(323, 0.2)], [13.1, 11.3, 7.0]);
    assert_eq!([paired(119, 0.2), paired(119, 0.4)], [11.5, 16.2]);
    assert_eq!([paired(374, 0.2), paired(374, 0.4)], [6.5, 9.2]);
    assert_eq!([paired(1273, 0.2), paired(1273, 0.4)], [3.5, 5.0]);
    assert_eq!([paired(4183, 0.2), paired(4183, 0.4)], [1.9, 2.7]);
    // 0.473 of 119 questions.
    let interval = Share::new(56, 119).expect("valid").wilson(Confidence::P95);
    assert_eq!(format!("{interval:.3}"), "[0.383, 0.560]");
}

#[test]
fn given_numbers_of_questions_decide_before_found_ones() {
    let audit = Audit::new(&golden("percent-with-known-n"));
    let count = |model, index| audit.cell(model, index).expect("printed").count.expect("known");
    // 26.1 % is 24/92; 47.3 % is 43/91 by the row's own N.
    assert_eq!((count("base", 0).successes, count("base", 0).trials), (24, 92));
    assert_eq!((count("tuned", 0).successes, count("tuned", 0).trials), (43, 91));
    assert_eq!(count("small", 0).successes, 0);
    assert!(audit.cell("tuned", 1).is_none());
    assert_eq!(count("small", 1).successes, count("small", 1).trials);
    assert_eq!(audit.settings.candidates, 3, "110 was listed twice");
}

#[test]
fn an_accuracy_that_no_count_prints_is_said_to_fit_none() {
    let table = "[[column]]\nname = \"A\"\nn = 92\n[[row]]\nmodel = \"m\"\nvalues = [\"0.473\"]\n";
    let audit = Audit::new(&Table::parse("t", table.as_bytes()).expect("valid"));
    let cell = audit.cell("m", 0).expect("printed");
    assert_eq!(cell.count.expect("known").kind, CountKind::Nearest);
    assert!(cell.fits.iter().any(|other| other.trials == 91 && other.successes == [43]));
    let given = audit.columns[0].given.as_ref().expect("given");
    assert_eq!((given.n, given.rows), (92, 0));
}

#[test]
fn one_row_is_no_evidence_for_any_number_of_questions() {
    let audit = Audit::new(&golden("minimal"));
    assert!(!audit.columns[0].found_beyond_chance);
}

#[test]
fn a_column_no_candidate_explains_has_no_counts() {
    let table =
        "candidates = [3]\n[[column]]\nname = \"A\"\n[[row]]\nmodel = \"m\"\nvalues = [\"0.5\"]\n";
    let audit = Audit::new(&Table::parse("t", table.as_bytes()).expect("valid"));
    assert!(audit.columns[0].found.is_none());
    assert!(audit.cell("m", 0).expect("printed").count.is_none());
}

fn golden(name: &str) -> Table {
    let path = format!("{}/golden/audit/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    Table::read(&PathBuf::from(path)).expect("valid")
}

#[test]
fn the_papers_audit_prints_as_recorded() {
    let _guard = snapshots();
    insta::assert_snapshot!("audit_text", transcript(medharness().arg("audit")));
    let mut markdown = medharness();
    markdown.args(["audit", "--format", "markdown"]);
    insta::assert_snapshot!("audit_markdown", transcript(&mut markdown));
}

#[test]
fn a_users_table_prints_as_recorded() {
    let _guard = snapshots();
    let mut known = medharness();
    known.args(["audit", "golden/audit/percent-with-known-n.toml"]);
    insta::assert_snapshot!("audit_known_n", transcript(&mut known));
    let mut json = medharness();
    json.args(["audit", "golden/audit/minimal.toml", "--format", "json"]);
    let output = transcript(&mut json);
    // The candidates are many and alike: one of each is enough.
    insta::assert_snapshot!(
        "audit_json_minimal",
        output.lines().take(40).collect::<Vec<_>>().join("\n")
    );
}

#[test]
fn json_holds_the_figures_under_stable_names() {
    let output = medharness().args(["audit", "--format", "json"]).output().expect("runs");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["schema"], "medharness-audit/1");
    assert_eq!(json["columns"][0]["found"]["n"], 91);
    assert_eq!(json["columns"][0]["stated"][0]["rows"], 2);
    assert_eq!(json["columns"][2]["candidates"].as_array().map(Vec::len), Some(61));
    let row = json["rows"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["model"] == "MedAlpaca 13b"));
    let cell = &row.expect("there")["cells"][2];
    assert_eq!(cell["printed"], "0.602");
    assert_eq!((&cell["count"]["successes"], &cell["count"]["trials"]), (&74.into(), &123.into()));
    assert_eq!(cell["count"]["kind"], "implied");
    assert_eq!(cell["against_base"]["direction"], "above");
    assert_eq!(json["inference"]["columns"][0]["excluded"], 27);
    assert_eq!(json["claims"][0]["verdict"], "supported");
}

#[test]
fn every_bad_table_is_refused_with_its_place() {
    let _guard = snapshots();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/audit/bad");
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("there")
        .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut all = String::new();
    for name in &names {
        let mut command = medharness();
        let output =
            command.arg("audit").arg(format!("golden/audit/bad/{name}")).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{name}");
        assert!(output.stdout.is_empty(), "{name}: something was printed");
        let message = String::from_utf8_lossy(&output.stderr);
        let (error, hint) = message.split_once('\n').expect("error and hint");
        assert!(hint.is_empty() || hint.starts_with("hint: "), "{name}: {hint}");
        all += &format!("{error}\n");
    }
    insta::assert_snapshot!("audit_bad_tables", all);
    let missing = transcript(medharness().args(["audit", "golden/audit/no-such.toml"]));
    assert!(missing.starts_with("exit: 2"), "{missing}");
}
