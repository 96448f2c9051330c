//! The results as a screen of text.

use super::{Report, tables};

/// Returns the results of every run, part by part, with their ledgers and what the rules read.
pub fn text(report: &Report<'_>) -> String {
    let mut text = String::new();
    for run in &report.runs {
        text += &format!("{}\n", run.records.sentence());
    }
    text += &format!("\n{}\n{}", tables::results(report).text(), tables::ledgers(report).text());
    let rules = tables::rules(report);
    if !rules.is_empty() {
        text += &format!("\nWhat each rule reads in the last replies:\n{}", rules.text());
    }
    for pair in report.pairs_once() {
        text += &format!("\n{}\n", pair.words);
    }
    for warning in report.warnings() {
        text += &format!("\nnote: {warning}\n");
    }
    text
}
