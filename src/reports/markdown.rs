//! The report as Markdown: results, ledger, rules, differences, then every field of every run.

use super::{Field, NOT_REPORTED, Report, escape, fields, tables};

/// Fields whose value is a table or a page of its own; in Markdown they are only pointed to.
const LONG: [(&str, &str); 4] = [
    ("parts", "see Results and Ledger"),
    ("rules", "see Reading rules"),
    ("paired", "see Differences"),
    ("text", "see protocol.toml of the run"),
];

/// Returns the report, without its title where it goes into a comment: it begins with a heading.
pub fn markdown(report: &Report<'_>) -> String {
    let mut page = String::from("# Report\n\n");
    for run in &report.runs {
        page += &format!("- {}\n", escape(&run.records.sentence()));
    }
    for warning in report.warnings() {
        page += &format!("- **{}**\n", escape(&warning));
    }
    page += &format!("\n## Results\n\n{}", tables::results(report).markdown());
    page += &format!("\n## Ledger\n\n{}", tables::ledgers(report).markdown());
    let rules = tables::rules(report);
    if !rules.is_empty() {
        page += &format!(
            "\n## Reading rules\n\nWhat each rule reads in the last reply to each question.\n\n{}",
            rules.markdown()
        );
    }
    if report.runs.len() > 1 {
        page += "\n## Differences\n\n";
        for pair in report.pairs_once() {
            page += &format!("- {}\n", escape(&pair.words));
        }
    }
    for run in &report.runs {
        page += &format!("\n## Fields of {}\n", escape(&run.records.label));
        for (group, filled) in fields(report, run) {
            page += &format!("\n### {}\n\n", group.title);
            for (name, field) in filled {
                page += &format!("- {name}: {}\n", words(name, &field));
            }
        }
    }
    page
}

fn words(name: &str, field: &Field) -> String {
    let long = LONG.iter().find(|(long, _)| *long == name);
    match (field, long) {
        (Field::Reported(_), Some((_, where_to))) => (*where_to).to_owned(),
        (Field::Reported(_), None) => escape(&field.words()),
        (Field::NotReported(reason), _) => format!("`{NOT_REPORTED}`: {}", escape(reason)),
    }
}
