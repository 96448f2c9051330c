//! The HTML report in a real browser: it loads, sorts, filters, pages, compares, and stays inert.

#![expect(clippy::unwrap_used, reason = "a test fails where it does not hold")]

use std::path::PathBuf;

use medharness::{
    protocol::RuleId,
    reports::{self, Report},
};
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    report_fixture::{HOSTILE, run},
};

/// Writes the report of two runs and opens it.
#[track_caller]
fn open(width: u32, scheme: &str) -> Option<(Browser, tempfile::TempDir)> {
    let browser = Browser::start()?;
    let folder = tempfile::tempdir().unwrap();
    let page: PathBuf = folder.path().join("report.html");
    let mut runs = vec![run("first", 1), run("second", 4)];
    runs[0].questions[5].text = HOSTILE.to_owned();
    runs[1].questions[5].text = HOSTILE.to_owned();
    let report = Report::new(&runs).unwrap();
    std::fs::write(&page, reports::html(&report).unwrap()).unwrap();
    browser.open(&page, width, scheme);
    Some((browser, folder))
}

/// Text of every visible cell in one column of a table.
fn column(browser: &Browser, table: &str, index: usize) -> Vec<String> {
    let cells = browser.script(&format!(
        "return [...document.getElementById('{table}').tBodies[0].rows].filter((r) => !r.hidden)
           .map((r) => r.cells[{index}].dataset.value ?? r.cells[{index}].textContent.trim())"
    ));
    serde_json::from_value(cells).unwrap()
}

fn shares(cells: &[String]) -> Vec<f64> {
    cells.iter().map(|cell| cell.parse().unwrap()).collect()
}

#[test]
fn a_click_on_a_heading_sorts_and_says_so() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let before = column(&browser, "results-table", 2);
    let heading = "#results-table th:nth-child(3)";
    let sorted = || browser.script(&format!("return document.querySelector('{heading}').ariaSort"));
    browser.click(&format!("{heading} button"));
    let falling = shares(&column(&browser, "results-table", 2));
    assert_eq!(sorted(), "descending");
    assert!(falling.windows(2).all(|two| two[0] >= two[1]), "{falling:?}");
    browser.click(&format!("{heading} button"));
    let rising = shares(&column(&browser, "results-table", 2));
    assert_eq!(sorted(), "ascending");
    assert!(rising.windows(2).all(|two| two[0] <= two[1]), "{rising:?}");
    browser.click(&format!("{heading} button"));
    assert_eq!(sorted(), "none");
    assert_eq!(column(&browser, "results-table", 2), before, "the third click restores the order");
}

#[test]
fn typing_filters_the_rows_and_counts_them() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    browser.type_into("input[data-filters=results-table]", "second  STEP");
    assert_eq!(column(&browser, "results-table", 0), ["second"; 3]);
    let status =
        browser.script("return document.getElementById('results-table-status').textContent");
    assert_eq!(status, "3 of 8 rows");
}

#[test]
fn questions_are_paged_filtered_and_opened() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let shown = || browser.script("return document.querySelectorAll('#q-list details').length");
    assert_eq!(shown(), 25);
    browser.click("#q-list .pager button:nth-child(2)");
    assert_eq!(shown(), 11);
    browser.click("#q-outcome button[data-value=c]");
    let expected = run("first", 1).summary.parts[0].ledger.correct;
    assert_eq!(shown(), expected);
    browser.type_into("#q-words", "zzz no such text");
    assert_eq!(shown(), 0);
    let status = browser.script("return document.querySelector('#q-list .status').textContent");
    assert_eq!(status, "No question matches.");
}

#[test]
fn an_opened_question_shows_attempts_and_every_rules_reading() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let retried = run("first", 1).attempts.iter().find(|a| a.attempt == 2).unwrap().clone();
    browser.type_into("#q-words", &retried.question_id.0);
    browser.click("#q-list details summary");
    let pre = browser
        .script("return [...document.querySelectorAll('#q-list pre')].map((p) => p.textContent)");
    assert_eq!(pre, json!(["I think that", retried.text]));
    let rules = browser.script(
        "return [...document.querySelectorAll('#q-list .rules')].map((list) => list.children.length)",
    );
    assert_eq!(rules, json!([RuleId::ALL.len(), RuleId::ALL.len()]));
}

#[test]
fn differences_list_the_flips_and_filter_them() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let runs = [run("first", 1), run("second", 4)];
    let reports = Report::new(&runs).unwrap();
    let pair = reports.pairs_once().next().unwrap();
    let shown = || browser.script("return document.querySelectorAll('#d-list details').length");
    assert_eq!(shown(), pair.lost + pair.gained);
    browser.click("#d-kind button[data-value=lost]");
    assert_eq!(shown(), pair.lost);
    browser.click("#d-kind button[data-value=gained]");
    assert_eq!(shown(), pair.gained);
    let words = browser.script("return document.getElementById('d-summary').textContent");
    assert_eq!(words, Value::String(pair.words.clone()));
}

#[test]
fn hostile_replies_stay_text() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    browser.type_into("#q-words", "owned");
    browser.script(
        "for (const item of document.querySelectorAll('#q-list details')) item.open = true",
    );
    let texts = browser
        .script("return [...document.querySelectorAll('#q-list pre')].map((p) => p.textContent)");
    let texts = texts.as_array().unwrap().clone();
    assert!(texts.contains(&json!(HOSTILE)), "the reply is shown as it is");
    assert_eq!(browser.script("return document.querySelectorAll('img').length"), 0);
    assert_eq!(browser.script("return document.title"), "2 runs side by side");
    assert_eq!(browser.console(), json!([]), "no script failed and nothing was refused");
}

#[test]
fn nothing_is_fetched() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let fetched =
        browser.script("return performance.getEntriesByType('resource').map((e) => e.name)");
    assert_eq!(fetched, json!([]));
}

#[test]
fn colours_follow_the_reader_and_the_button() {
    let Some((browser, folder)) = open(1280, "light") else { return };
    let ground = || browser.script("return getComputedStyle(document.body).backgroundColor");
    let light = ground();
    browser.open(&folder.path().join("report.html"), 1280, "dark");
    let dark = ground();
    assert_ne!(light, dark);
    browser.click("#theme");
    assert_eq!(ground(), light, "the button says light");
    browser.click("#theme");
    assert_eq!(ground(), dark, "the button says dark");
}

#[test]
fn a_narrow_window_needs_no_sideways_scrolling_of_the_page() {
    for width in [390, 1280] {
        let Some((browser, _folder)) = open(width, "light") else { return };
        browser.script("document.querySelector('#q-list details').open = true");
        let overflow = browser.script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
        );
        assert_eq!(overflow, 0, "at {width}");
    }
}

#[test]
fn everything_can_be_reached_and_named_without_a_mouse() {
    let Some((browser, _folder)) = open(1280, "light") else { return };
    let unnamed = browser.script(
        "return [...document.querySelectorAll('button, select, input, [role=region], [role=group]')]
           .filter((e) => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map((e) => e.outerHTML)",
    );
    assert_eq!(unnamed, json!([]));
    let loose = browser.script(
        "return [...document.querySelectorAll('table')].filter((t) => !t.tHead || [...t.tHead.rows[0].cells]
           .some((c) => c.tagName !== 'TH' || c.scope !== 'col')).map((t) => t.id)",
    );
    assert_eq!(loose, json!([]));
}

#[test]
fn the_studys_page_sorts_filters_and_fits_at_both_widths() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/paper/index.html");
    let Some(browser) = Browser::start() else { return };
    for (width, scheme) in [(390, "light"), (390, "dark"), (1280, "dark"), (1280, "light")] {
        browser.open(&page, width, scheme);
        let overflow = browser.script(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
        );
        assert_eq!(overflow, 0, "at {width}");
    }
    browser.click("#printed-table th:nth-child(3) button");
    let rising: Vec<String> = column(&browser, "printed-table", 2);
    // What is not printed goes last.
    assert_eq!(rising.last().map(String::as_str), Some(""));
    let rising = shares(&rising[..rising.len() - 1]);
    assert_eq!(rising.len(), 13);
    assert!(rising.windows(2).all(|two| two[0] <= two[1]), "{rising:?}");
    browser.type_into("input[data-filters=printed-table]", "13b lora");
    let rows = column(&browser, "printed-table", 0);
    assert_eq!(rows, ["MedAlpaca 13b LoRA 8bit", "MedAlpaca 13b LoRA"]);
    let fetched =
        browser.script("return performance.getEntriesByType('resource').map((e) => e.name)");
    assert_eq!(fetched, json!([]));
    assert_eq!(browser.console(), json!([]), "no script failed and nothing was refused");
}
