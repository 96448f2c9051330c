//! Reports of runs: every field or its reason, numbers that can be worked out again, inert texts.

#![expect(clippy::unwrap_used, reason = "a test fails where it does not hold")]

use medharness::{
    reports::{self, Report, RunRecords, SCHEMA},
    store::AttemptRecord,
};
use serde_json::{Value, json};

use crate::{
    report_fixture::{HOSTILE, run},
    snapshots,
};

fn runs() -> Vec<RunRecords> {
    vec![run("first", 1), run("second", 4)]
}

fn report_json(runs: &[RunRecords]) -> Value {
    reports::json(&Report::new(runs).unwrap()).unwrap()
}

#[test]
fn text_markdown_and_csv_are_recorded() {
    let _guard = snapshots();
    let runs = runs();
    let report = Report::new(&runs).unwrap();
    insta::assert_snapshot!("report_text", reports::text(&report));
    insta::assert_snapshot!("report_markdown", reports::markdown(&report));
    insta::assert_snapshot!("report_csv", reports::csv(&report.runs).unwrap());
}

#[test]
fn every_field_of_the_schema_is_filled_and_no_other() {
    let runs = runs();
    let report = Report::new(&runs).unwrap();
    for (group, filled) in reports::fields(&report, &report.runs[0]) {
        let names: Vec<&str> = filled.iter().map(|(name, _)| *name).collect();
        let listed: Vec<&str> = group.fields.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, listed, "group {}", group.name);
    }
}

#[test]
fn a_report_without_any_one_field_is_refused() {
    let whole = report_json(&runs());
    reports::check(&whole).expect("a whole report passes");
    for group in SCHEMA {
        for (field, _) in group.fields {
            let mut torn = whole.clone();
            torn["runs"][0][group.name].as_object_mut().unwrap().remove(*field).unwrap();
            let error = reports::check(&torn).expect_err(field).to_string();
            assert!(error.contains(&format!("{}.{field}", group.name)), "{error}");
            let mut blank = whole.clone();
            blank["runs"][1][group.name][*field] = json!({ "not_reported": " " });
            reports::check(&blank).expect_err("a reason must be given");
        }
    }
}

#[test]
fn another_schema_version_is_refused() {
    let mut report = report_json(&runs());
    report["schema_version"] = json!(2);
    let error = reports::check(&report).unwrap_err().to_string();
    assert_eq!(error, "not a report of schema version 1: `schema_version` is 2");
}

#[test]
fn the_json_schema_lists_every_field() {
    let schema = reports::json_schema();
    for group in SCHEMA {
        let required = &schema["properties"]["runs"]["items"]["properties"][group.name]["required"];
        assert_eq!(required.as_array().unwrap().len(), group.fields.len(), "{}", group.name);
    }
}

#[test]
fn a_ledger_that_does_not_add_up_prints_no_accuracy() {
    for spoil in [
        |run: &mut RunRecords| run.summary.parts[0].ledger.correct += 1,
        |run: &mut RunRecords| run.summary.parts[1].ledger.not_run += 1,
        |run: &mut RunRecords| run.summary.parts[2].ledger.unparsed_by_reason.clear(),
    ] {
        let mut runs = runs();
        spoil(&mut runs[0]);
        let error = Report::new(&runs).unwrap_err().to_string();
        assert!(error.contains("does not add up"), "{error}");
    }
}

/// Counts everything again from the attempts, as a reader of the files would.
#[test]
fn every_count_of_the_json_can_be_worked_out_from_the_attempts() {
    let runs = runs();
    let report = report_json(&runs);
    for (run, json) in runs.iter().zip(report["runs"].as_array().unwrap()) {
        let last = |id: &str| run.attempts.iter().rfind(|a| a.question_id.0 == id);
        let asked: Vec<_> =
            run.questions.iter().filter_map(|q| Some((q, last(&q.id.0)?))).collect();
        let part = &json["results"]["parts"][0];
        let correct = asked.iter().filter(|(q, a)| {
            a.text.starts_with(&format!("{}: {}", q.answer, q.option(q.answer).unwrap()))
        });
        let correct = correct.count();
        assert_eq!(part["ledger"]["correct"], correct);
        assert_eq!(part["ledger"]["asked"], asked.len());
        assert_eq!(json["data"]["scored"], asked.len());
        let value = correct as f64 / asked.len() as f64;
        assert_eq!(part["accuracies"]["headline"]["value"], value);
        let error = (value * (1.0 - value) / asked.len() as f64).sqrt();
        assert_eq!(json["results"]["standard_error"]["all"], error);
        assert_eq!(json["evidence"]["attempts"], run.attempts.len());
        assert_eq!(json["integrity"]["skipped"], run.questions.len() - asked.len());
        let failed = asked.iter().filter(|(_, a)| a.error.is_some()).count();
        assert_eq!(json["integrity"]["failed"].as_object().unwrap().len(), failed);
        let retried = run.attempts.iter().filter(|a| a.attempt == 2).count();
        assert_eq!(json["integrity"]["retried"], retried);
        let total: f64 = run.timings.iter().map(|timing| timing.wall_s).sum();
        assert_eq!(json["cost"]["questions_per_s"], asked.len() as f64 / total);
        // The rule `startswith` reads what begins with an offered letter.
        let begins = |a: &AttemptRecord| a.text.starts_with(['A', 'B', 'C', 'D']);
        let read = asked.iter().filter(|(_, a)| a.error.is_none() && begins(a)).count();
        let rules = json["results"]["rules"].as_array().unwrap();
        let rule = rules.iter().find(|rule| rule["rule"] == "startswith").unwrap();
        assert_eq!(rule["parsed"], read);
    }
    let right = |run: &RunRecords| -> Vec<String> {
        let right = run
            .attempts
            .iter()
            .filter(|a| a.is_final && a.outcome == medharness::protocol::Outcome::Correct);
        right.map(|a| a.question_id.0.clone()).collect()
    };
    let (first, second) = (right(&runs[0]), right(&runs[1]));
    let pair = &report["pairs"][0];
    assert_eq!(pair["lost"], first.iter().filter(|id| !second.contains(id)).count());
    assert_eq!(pair["gained"], second.iter().filter(|id| !first.contains(id)).count());
}

#[test]
fn the_page_loads_nothing_from_anywhere() {
    let runs = runs();
    let page = reports::html(&Report::new(&runs).unwrap()).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://"), "an address");
    assert!(!page.contains("@import") && !page.contains("url("), "a style from elsewhere");
    let links = regex::Regex::new(r#"<[a-z]+ [^>]*?\b(?:src|href|srcset|data)="([^"]*)""#).unwrap();
    let without_script = page.split("<script").next().unwrap();
    for link in links.captures_iter(without_script) {
        assert!(link[1].starts_with('#'), "a link to {}", &link[1]);
    }
}

#[test]
fn hostile_replies_cannot_leave_the_data_they_lie_in() {
    let mut runs = runs();
    runs[0].label = HOSTILE.to_owned();
    runs[0].manifest.model.name = HOSTILE.to_owned();
    runs[0].questions[3].text = HOSTILE.to_owned();
    let page = reports::html(&Report::new(&runs).unwrap()).unwrap();
    assert_eq!(page.matches("<script").count(), 2, "data and program, nothing else");
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<img"), "an element out of a reply");
    assert!(!page.contains("86420"), "a template ran inside a reply");
    let island = page.split("id=\"data\"").nth(1).unwrap();
    let island = island.split_once('>').unwrap().1.split("</script").next().unwrap();
    let data: Value = serde_json::from_str(island).expect("the island is JSON");
    assert_eq!(data["exams"][0]["questions"][3]["text"], HOSTILE);
}

#[test]
fn runs_of_different_exams_are_not_paired() {
    let mut runs = runs();
    runs[1].manifest.exam.sha256 = "00".repeat(32);
    let report = Report::new(&runs).unwrap();
    assert!(report.pairs.is_empty());
    assert!(report.warnings().iter().any(|warning| warning.contains("different exams")));
}

#[test]
fn a_run_differs_from_itself_in_nothing() {
    let runs = vec![run("one", 1), run("again", 1)];
    let report = Report::new(&runs).unwrap();
    let pair = report.pairs_once().next().unwrap();
    assert_eq!((pair.lost, pair.gained, pair.p), (0, 0, 1.0));
}
