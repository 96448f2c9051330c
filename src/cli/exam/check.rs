//! `medharness exam check`: the report of an exam as text, JSON or Markdown.

use std::{fmt::Display, path::PathBuf};

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::{CommandError, Context, Input, unreadable};
use crate::{
    cli::Format,
    exam::{AnswerKey, Comparison, Exam, ExcludedItems, LoadOptions, Part, Report},
};

/// Arguments of `exam check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// List of further questions to leave out (TOML; the form is that of
    /// `golden/paper/excluded_items.toml`)
    #[arg(long, value_name = "FILE")]
    exclude: Option<PathBuf>,
    /// Compare the answers with an official key: {"step1": {"1": "A", …}, …}
    #[arg(long, value_name = "FILE")]
    answer_key: Option<PathBuf>,
    /// Compare the answers with another exam's, question by question of similar text
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Prints the report.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let exclude = args.exclude.as_ref().map(|path| {
        ExcludedItems::read(path).map(|items| (path.clone(), items)).map_err(unreadable)
    });
    let exam = args.input.read(exclude.transpose()?)?;
    let mut comparisons = Vec::new();
    if let Some(path) = &args.answer_key {
        let key = AnswerKey::read(path).map_err(unreadable)?;
        comparisons.push(key.compare(&exam).map_err(unreadable)?);
    }
    if let Some(path) = &args.against {
        let other = Exam::read(path, &LoadOptions::default()).map_err(unreadable)?;
        comparisons.push(Comparison::of_exams(&exam, &other, &path.display().to_string()));
    }
    let report = Report::new(&exam, comparisons);
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&report).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&report, false),
        Format::Markdown => page(&report, true),
    };
    context.out.write_all(text.as_bytes())?;
    match report.blocking {
        0 => exam.require_asked().map_err(CommandError::check),
        errors => Err(CommandError::check(format!("{errors} error(s) in `{}`", report.name))),
    }
}

/// The report for a reader; `markdown` or plain text.
fn page(report: &Report, markdown: bool) -> String {
    let mut page = Page { text: String::new(), markdown };
    page.heading(1, &format!("Exam {}", report.name));
    page.line(&format!("format   {}", report.format.name()));
    page.line(&format!("sha256   {}", report.sha256));
    for file in &report.files {
        page.line(&format!(
            "file     {} ({} bytes, sha256 {})",
            file.name, file.bytes, file.sha256
        ));
    }
    page.heading(2, "Questions");
    page.table(&questions(&report.parts));
    page.heading(2, "Options a question, answers (of those asked)");
    page.table(&distributions(&report.parts));
    page.heading(2, "Scores without a model");
    page.table(&baselines(&report.parts));
    excluded(&mut page, report);
    for comparison in &report.comparisons {
        page.heading(2, &format!("Compared with {}", comparison.with));
        let Comparison { compared, agreeing, only_here, only_there, .. } = comparison;
        page.line(&format!(
            "{compared} questions in both, {agreeing} with the same answer; \
             {only_here} only here, {only_there} only there"
        ));
    }
    page.heading(2, &format!("{} errors, {} warnings", report.errors, report.warnings));
    for finding in &report.findings {
        page.line(&format!("{}: {finding}", finding.severity));
    }
    page.text
}

/// Header and rows.
type Rows = (Vec<String>, Vec<Vec<String>>);

fn columns<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

fn questions(parts: &[Part]) -> Rows {
    let row = |part: &Part| {
        let counts = [part.total, part.excluded, part.asked, part.non_ascii];
        let mut row = vec![part.name.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row
    };
    let header = columns(["step", "total", "excluded", "asked", "with non-ASCII"]);
    (header, parts.iter().map(row).collect())
}

fn distributions(parts: &[Part]) -> Rows {
    let list = |counts: &mut dyn Iterator<Item = (String, usize)>| {
        counts.map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    let row = |part: &Part| {
        let options =
            &mut part.option_counts.iter().map(|(name, count)| (name.to_string(), *count));
        let answers = &mut part.answers.iter().map(|(name, count)| (name.to_string(), *count));
        vec![part.name.clone(), list(options), list(answers)]
    };
    (columns(["step", "options", "answers"]), parts.iter().map(row).collect())
}

fn baselines(parts: &[Part]) -> Rows {
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let row = |part: &Part| match &part.baselines {
        None => columns([&part.name, "-", "-", "-"]),
        Some(baselines) => {
            let (letter, share) = baselines.best_constant;
            let constant = format!("{letter} {}", percent(share));
            let (uniform, longest) =
                (percent(baselines.uniform), percent(baselines.longest_option));
            vec![part.name.clone(), uniform, constant, longest]
        }
    };
    let header = columns(["step", "uniform chance", "best constant letter", "longest option"]);
    (header, parts.iter().map(row).collect())
}

fn excluded(page: &mut Page, report: &Report) {
    if report.excluded.is_empty() {
        return;
    }
    page.heading(2, &format!("{} excluded", report.excluded.len()));
    let mut reasons: Vec<&String> = report.excluded.values().collect();
    reasons.sort_unstable();
    reasons.dedup();
    for reason in reasons {
        let ids = report.excluded.iter().filter(|(_, other)| *other == reason);
        let ids: Vec<String> = ids.map(|(id, _)| id.to_string()).collect();
        page.line(&format!("{reason} ({}): {}", ids.len(), ids.join(", ")));
    }
}

/// Text or Markdown, built line by line.
struct Page {
    text: String,
    markdown: bool,
}

impl Page {
    fn heading(&mut self, level: usize, words: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let mark = if self.markdown { "#".repeat(level) + " " } else { String::new() };
        let end = if self.markdown { "\n\n" } else { "\n" };
        self.push(&format!("{gap}{mark}{words}{end}"));
    }

    fn line(&mut self, words: &str) {
        // Findings quote the exam: no line break, escape code or markup of it may become the page's.
        let words = words.replace(char::is_control, " ");
        let words =
            if self.markdown { format!("- {}", escaped(&words)) } else { format!("  {words}") };
        self.push(&format!("{words}\n"));
    }

    fn table(&mut self, (header, rows): &Rows) {
        let mut table = Table::new();
        let preset = if self.markdown { presets::ASCII_MARKDOWN } else { presets::NOTHING };
        table.load_style(preset).set_header(header);
        let is_number = |text: &str| text.parse::<usize>().is_ok();
        for row in rows {
            table.add_row(row.iter().map(|text| {
                let cell = Cell::new(text);
                if is_number(text) { cell.set_alignment(CellAlignment::Right) } else { cell }
            }));
        }
        for line in table.to_string().lines() {
            self.push(&format!("{}\n", line.trim_end()));
        }
    }

    fn push(&mut self, text: &impl Display) {
        self.text.push_str(&text.to_string());
    }
}

/// `text` with the characters that Markdown would take for its own.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_<>|#[]".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
