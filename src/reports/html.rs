//! The report as one HTML file: what the tables hold, with plots, questions and differences.

use minijinja::{Value, context, value::Serde};

use super::{
    Field, Report, ReportError, RunReport, fields, format,
    island::island,
    page::{Page, safe},
    plot::{self, Mark},
};
use crate::store::Part;

const TEMPLATE: &str = include_str!("page/report.html");

/// Returns the page.
///
/// # Errors
///
/// [`ReportError::Template`], [`ReportError::Plot`], [`ReportError::Json`] if a library fails.
pub fn html(report: &Report<'_>) -> Result<String, ReportError> {
    let mut rows = Vec::new();
    let mut marks = Vec::new();
    for run in &report.runs {
        for (place, part) in run.records.summary.parts.iter().enumerate() {
            rows.push(row(run, part, place == 0)?);
            let reference = part.baselines.as_ref().map(|baselines| baselines.best_constant.1);
            if let Some(share) = &part.accuracies.headline {
                let label = format!("{} · {}", clipped(&run.records.label, 26), part_title(part));
                marks.push(Mark::new(&label, share, reference));
            }
        }
    }
    let rules: Vec<Value> = report.runs.iter().flat_map(rule_rows).collect();
    let groups: Vec<Value> = report.runs.iter().map(|run| group_rows(report, run)).collect();
    let title = match &report.runs[..] {
        [run] => {
            format!("{} on {}", run.records.manifest.model.name, run.records.manifest.exam.name)
        }
        runs => format!("{} side by side", format::count(runs.len(), "run")),
    };
    let island = island(&report.runs, &report.pairs)?;
    let mut sections = vec![("results", "Results"), ("ledger", "Ledger")];
    if !rules.is_empty() {
        sections.push(("rules", "Reading rules"));
    }
    sections.push(("questions", "Questions"));
    if report.runs.len() > 1 {
        sections.push(("differences", "Differences"));
    }
    sections.push(("fields", "All fields"));
    let page = Page {
        title: &title,
        kicker: "medharness report",
        sections: &sections,
        footer: "Made by medharness from run directories alone. This file loads nothing from \
                 anywhere.",
        island: &island,
    };
    page.render(
        TEMPLATE,
        context! {
            runs => report.runs.iter().map(|run| run.records.sentence()).collect::<Vec<_>>(),
            warnings => report.warnings(),
            rows,
            forest => safe(plot::forest(&marks)?),
            rules,
            pairs => report.pairs_once().map(|pair| pair.words.clone()).collect::<Vec<_>>(),
            groups,
            several => report.runs.len() > 1,
        },
    )
}

fn part_title(part: &Part) -> String {
    match &*part.name {
        "all" => "all".to_owned(),
        "none" => "no step".to_owned(),
        step => format!("Step {step}"),
    }
}

fn row(run: &RunReport<'_>, part: &Part, is_first: bool) -> Result<Value, ReportError> {
    let manifest = &run.records.manifest;
    let accuracies = &part.accuracies;
    let reference = part.baselines.as_ref().map(|baselines| baselines.best_constant.1);
    let mark = accuracies.headline.as_ref().map(|share| Mark::new("", share, reference));
    let interval = mark.map(|mark| plot::interval(&mark)).transpose()?;
    let reasons: Vec<String> = part
        .ledger
        .unparsed_by_reason
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {}", reason.replace('_', " ")))
        .collect();
    Ok(context! {
        label => &*run.records.label,
        model => &*manifest.model.name,
        protocol => &*manifest.protocol.id,
        protocol_hash => manifest.protocol.sha256.get(..8),
        protocol_sha256 => &*manifest.protocol.sha256,
        part => part_title(part),
        part_order => run.records.summary.parts.iter().position(|each| each.name == part.name),
        is_first,
        ledger => Serde(&part.ledger),
        reasons => reasons.join(", "),
        bar => safe(plot::ledger(&part.ledger)?),
        headline => accuracies.headline.as_ref().map(|share| share.value),
        headline_text => format::share(accuracies.headline.as_ref()),
        headline_trials => accuracies.headline.as_ref().map(|share| share.trials),
        wilson => accuracies.headline.as_ref().map(|share| format::interval(share.wilson)),
        interval => interval.map(safe),
        parsed_only => accuracies.parsed_only.as_ref().map(|share| share.value),
        parsed_only_text => format::share(accuracies.parsed_only.as_ref()),
        bounds => accuracies.bounds.map(format::interval),
        bounds_low => accuracies.bounds.map(|bounds| bounds[0]),
        letter => accuracies.letter.as_ref().map(|share| share.value),
        letter_text => format::share(accuracies.letter.as_ref()),
        chance => part.baselines.as_ref().map(|baselines| format::percent(baselines.uniform)),
        chance_value => part.baselines.as_ref().map(|baselines| baselines.uniform),
        constant => part.baselines.as_ref().map(|baselines| {
            format!("{} {}", baselines.best_constant.0, format::percent(baselines.best_constant.1))
        }),
        constant_value => reference,
    })
}

fn rule_rows(run: &RunReport<'_>) -> Vec<Value> {
    let totals = run.readings.totals.iter().filter(|total| total.replies > 0);
    totals
        .map(|total| {
            let share = total.correct as f64 / total.replies as f64;
            context! {
                label => &*run.records.label,
                total => Serde(total),
                share,
                share_text => format::percent(share),
            }
        })
        .collect()
}

fn group_rows(report: &Report<'_>, run: &RunReport<'_>) -> Value {
    let groups: Vec<Value> = fields(report, run)
        .into_iter()
        .map(|(group, filled)| {
            let absent = filled.iter().filter(|(_, field)| matches!(field, Field::NotReported(_)));
            let absent = absent.count();
            let rows: Vec<Value> = filled
                .iter()
                .map(|(name, field)| {
                    let is_absent = matches!(field, Field::NotReported(_));
                    context! { name => name.replace('_', " "), words => pretty(field), is_absent }
                })
                .collect();
            let reported = rows.len() - absent;
            context! { title => group.title, serves => group.serves, rows, reported, absent }
        })
        .collect();
    context! { label => &*run.records.label, groups }
}

/// Words bare, records indented.
fn pretty(field: &Field) -> String {
    match field {
        Field::Reported(value) if value.is_array() || value.is_object() => {
            serde_json::to_string_pretty(value).unwrap_or_default()
        }
        field => field.words(),
    }
}

/// The text, cut to `most` characters.
fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
