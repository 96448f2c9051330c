//! `medharness corpus overlap`: exam questions in training rows, and the accuracy without them.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Serialize;

use super::{CommandError, Context, unreadable};
use crate::{
    claims::runs::Outcomes,
    cli::{
        Format,
        page::{Page, p_value, percent, range},
    },
    corpus::{
        Overlap, OverlapLevel, OverlapSearch, OverlapSettings, each_row,
        overlap::{CleanAccuracy, ItemOverlap, SubsetAccuracy},
    },
    exam::{Exam, LoadOptions},
    store::write_whole,
};

/// Questions shown to a reader; JSON has them all.
const MOST_SHOWN: usize = 50;
/// Words of a common run shown to a reader.
const MOST_WORDS: usize = 25;

/// Arguments of `corpus overlap`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The exam
    #[arg(long, value_name = "PATH")]
    exam: PathBuf,
    /// Training rows: JSON, JSON lines or Parquet of {instruction, input, output}
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// A run of this exam, or its file of outcomes: its accuracy with and without these questions
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
    /// Words that stand in a row in more than this many questions are a turn of phrase
    #[arg(long, value_name = "N", default_value_t = OverlapSettings::default().common_items)]
    common_items: usize,
    /// Similarity (Jaccard, of the sets of 5-word runs) from which a row is a near duplicate
    #[arg(long, value_name = "SHARE", default_value_t = OverlapSettings::default().near)]
    near: f64,
    /// Also write every question, one JSON object a line, to this file
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The result as JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    overlap: &'a Overlap,
    /// By level from which a question is dirty; `None` without a run.
    accuracy: Option<&'a [CleanAccuracy; 3]>,
}

/// Searches and prints.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if !(args.near > 0.0 && args.near <= 1.0) {
        return Err(CommandError::input("--near must lie above 0 and not above 1"));
    }
    let exam = Exam::read(&args.exam, &LoadOptions::default()).map_err(CommandError::input)?;
    let settings = OverlapSettings { common_items: args.common_items, near: args.near };
    let outcomes = args.run.as_ref().map(|run| Outcomes::open(run)).transpose();
    let outcomes = outcomes.map_err(CommandError::input)?;
    if let Some(outcomes) = outcomes.as_ref().filter(|run| run.exam.sha256 != exam.sha256()) {
        let asked = &outcomes.exam.name;
        return Err(CommandError::input(format!("the run asked `{asked}`, which is another exam"))
            .with_hint("name the exam of the run; its copy is RUN/exam.jsonl"));
    }
    let mut search = OverlapSearch::new(&exam, settings);
    for path in &args.data {
        let name = path.display().to_string();
        let mut damaged = None;
        each_row(path, |number, row| match row {
            Ok(row) => drop(search.add(&name, number, &row)),
            Err(reason) => drop(damaged.get_or_insert((number, reason))),
        })
        .map_err(unreadable)?;
        if let Some((number, reason)) = damaged {
            // A row that cannot be searched might hold a question.
            let row = format!("`{name}`, row {number}: {reason}");
            return Err(CommandError::input(row)
                .with_hint("`medharness corpus audit` lists every unreadable row"));
        }
    }
    let overlap = search.finish();
    let accuracy = outcomes.map(|outcomes| {
        let answered: BTreeMap<_, _> =
            outcomes.items.iter().map(|item| (item.id.clone(), item.is_correct())).collect();
        overlap.accuracies(&answered)
    });
    if let Some(path) = &args.items {
        let lines = overlap.items.iter().map(|item| Ok(serde_json::to_string(item)? + "\n"));
        let lines: Result<String, serde_json::Error> = lines.collect();
        let lines = lines.map_err(CommandError::internal)?;
        write_whole(path, lines.as_bytes()).map_err(CommandError::input)?;
    }
    let text = match args.format {
        Format::Json => {
            let report = Report { overlap: &overlap, accuracy: accuracy.as_ref() };
            serde_json::to_string_pretty(&report).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&overlap, accuracy.as_ref(), false),
        Format::Markdown => page(&overlap, accuracy.as_ref(), true),
    };
    context.out.write_all(text.as_bytes())?;
    overlap.require_none().map_err(CommandError::check)
}

fn page(overlap: &Overlap, accuracy: Option<&[CleanAccuracy; 3]>, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, &format!("Overlap of {} training rows with {}", overlap.rows, overlap.exam));
    page.facts([
        ("exam", format!("{} questions, sha256 {}", overlap.items.len(), overlap.exam_sha256)),
        ("rows", format!("{} overlap with a question", overlap.overlapping_rows.len())),
        (
            "phrases",
            format!(
                "{} runs of 13 words and {} of 8 stand in more than {} questions and do not count",
                overlap.common_grams_13, overlap.common_grams_8, overlap.settings.common_items
            ),
        ),
    ]);
    page.heading(2, "Questions by what stands in the rows; each line includes those below it");
    let count = |level| overlap.at_least(level).count();
    let share = |n: usize| percent(Some(n as f64 / overlap.items.len().max(1) as f64));
    let near = overlap.settings.near;
    let kinds = [
        (OverlapLevel::Touched, "8 words in a row".to_owned()),
        (OverlapLevel::Overlapping, format!("13 words in a row, or similarity {near} or more")),
        (OverlapLevel::Copied, "the whole question".to_owned()),
    ];
    page.table(
        &["level", "questions", "%", "meaning"],
        kinds.map(|(level, meaning)| {
            vec![level.name().into(), count(level).to_string(), share(count(level)), meaning]
        }),
    );
    if let Some(accuracy) = accuracy {
        accuracies(&mut page, accuracy);
    }
    strongest(&mut page, overlap);
    page.finish()
}

fn accuracies(page: &mut Page, accuracy: &[CleanAccuracy; 3]) {
    page.heading(2, "Accuracy of the run in %, 95 % Wilson interval, the line drawn at each level");
    let of = |subset: Option<SubsetAccuracy>| {
        subset.map_or_else(
            || "-".to_owned(),
            |s| {
                let value = percent(Some(s.value));
                format!("{value} ({} of {}; {})", s.correct, s.questions, range(s.wilson))
            },
        )
    };
    page.table(
        &["dirty from", "full", "clean", "dirty", "dirty - clean (points)", "p"],
        accuracy.iter().map(|line| {
            vec![
                line.dirty_from.name().into(),
                of(line.full),
                of(line.clean),
                of(line.dirty),
                line.difference.map_or_else(|| "-".into(), |d| format!("{:+.1}", 100.0 * d)),
                line.p.map_or_else(|| "-".into(), p_value),
            ]
        }),
    );
}

fn strongest(page: &mut Page, overlap: &Overlap) {
    let dirty = overlap.at_least(OverlapLevel::Touched).count();
    if dirty == 0 {
        return;
    }
    let shown = overlap.strongest(MOST_SHOWN);
    page.heading(2, &format!("Strongest evidence ({} of {dirty} questions)", shown.len()));
    page.table(
        &["question", "level", "copies", "rows", "13-grams", "8-grams", "run", "Jaccard", "row"],
        shown.iter().map(|item| evidence(item)),
    );
    page.heading(2, "Longest runs in common");
    page.list(shown.iter().filter_map(|item| {
        let run = item.longest_run.as_ref()?;
        let mut words: Vec<&str> = run.text.split(' ').take(MOST_WORDS).collect();
        if run.words > MOST_WORDS {
            words.push("…");
        }
        Some(format!("{} ({} words, {}): {}", item.id, run.words, run.row, words.join(" ")))
    }));
}

fn evidence(item: &ItemOverlap) -> Vec<String> {
    vec![
        item.id.to_string(),
        item.level.name().into(),
        item.copies.to_string(),
        item.rows.to_string(),
        format!("{}/{}", item.grams_13_found, item.grams_13),
        format!("{}/{}", item.grams_8_found, item.grams_8),
        item.longest_run.as_ref().map_or_else(|| "-".into(), |run| run.words.to_string()),
        item.nearest.as_ref().map_or_else(|| "-".into(), |near| format!("{:.2}", near.jaccard)),
        item.worst.as_ref().map_or_else(|| "-".into(), ToString::to_string),
    ]
}
