//! `train_report.md`: what was trained, from what, how it went, what it cost.

use std::fmt::Write as _;

use super::{Counts, Ending, Event, Lineage, Outcome, Recipe, TrainError};

/// What the report says besides lineage and outcome.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Elements trained.
    pub trained: u64,
    /// What the length limit did to the rows to train on.
    pub counts: Counts,
    /// Memory foreseen, in bytes.
    pub mem_estimate: u64,
    /// Largest memory held, in bytes; `None` where the system does not say.
    pub mem_peak: Option<u64>,
}

/// Returns the report in Markdown.
///
/// # Errors
///
/// [`TrainError::Recipe`] if the recipe names one to compare with that there is not.
pub fn report(lineage: &Lineage, outcome: &Outcome, cost: Cost) -> Result<String, TrainError> {
    let Lineage { recipe, data, rows, base, overlap, kernel_set, tool_version, .. } = lineage;
    let mut text = format!("# Training: {}\n\n{}\n\n", recipe.name, recipe.about);
    let losses: Vec<f64> = outcome
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Update { loss, .. } => Some(*loss),
            _ => None,
        })
        .collect();
    let tokens: usize = outcome.events.iter().map(tokens).sum();
    let skipped = outcome.events.iter().filter(|e| matches!(e, Event::Skipped { .. })).count();
    let wall_s = outcome.progress.wall_s;
    let loss = |loss: Option<&f64>| loss.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {value} |");
    };
    line("what", "value".into());
    line("---", "---".into());
    let ending = match outcome.ending {
        Ending::Complete => "complete",
        Ending::Early => "stopped early: no better validation loss",
        Ending::Interrupted => "interrupted",
    };
    line("ended", ending.into());
    line("updates", format!("{} made, {skipped} left out", outcome.progress.made));
    line("training loss", format!("{} to {}", loss(losses.first()), loss(losses.last())));
    let best =
        outcome.progress.best.map(|best| format!("{:.4} at update {}", best.loss, best.step));
    line("best validation loss", best.unwrap_or_else(|| "-".into()));
    let result = outcome.result_step.map_or_else(|| "-".into(), |step| format!("of update {step}"));
    line("weights written", result);
    line("elements trained", cost.trained.to_string());
    line("time", format!("{wall_s:.1} s"));
    line("tokens", format!("{tokens}, {:.0} a second", tokens as f64 / wall_s.max(1e-9)));
    let mib = |bytes: u64| format!("{:.0} MiB", bytes as f64 / (1 << 20) as f64);
    line("memory foreseen", mib(cost.mem_estimate));
    line("largest memory", cost.mem_peak.map_or_else(|| "-".into(), mib));
    line("rows", format!("{rows} of `{}`, sha256 {}", data.name, data.sha256));
    line("rows cut or not learnt", cost.counts.cut().unwrap_or_else(|| "none".into()));
    for file in base {
        line("base", format!("`{}`, sha256 {}", file.name, file.sha256));
    }
    line("program", format!("medharness {tool_version}, kernels {kernel_set}"));
    for exam in overlap {
        let found = format!("{} of {} questions", exam.overlapping, exam.questions);
        line("overlap", format!("{found} of {} in {} rows", exam.exam, exam.overlapping_rows));
    }
    if overlap.is_empty() {
        line("overlap", "no exam was named: not looked for".into());
    }
    text += "\n![loss](loss.svg)\n";
    if let Some(other) = &recipe.compare {
        text += &differences(recipe, other)?;
    }
    text += "\n## Recipe\n\n| setting | value | source |\n|---|---|---|\n";
    for (key, value) in recipe.values() {
        let source = recipe.sources.get(&key).map_or("", String::as_str);
        let _ = writeln!(text, "| {key} | {value} | {} |", source.replace('|', "\\|"));
    }
    Ok(text)
}

fn tokens(event: &Event) -> usize {
    match event {
        Event::Update { tokens, .. } => *tokens,
        _ => 0,
    }
}

fn differences(recipe: &Recipe, other: &str) -> Result<String, TrainError> {
    let mut text = format!("\n## Differences from {other}\n\n| setting | there | here | why |\n");
    text += "|---|---|---|---|\n";
    for difference in recipe.differences(&Recipe::named(other)?) {
        let show = |value: Option<serde_json::Value>| {
            value.map_or_else(|| "-".to_owned(), |value| value.to_string())
        };
        let (theirs, ours) = (show(difference.theirs), show(difference.ours));
        let _ = writeln!(text, "| {} | {theirs} | {ours} | {} |", difference.key, difference.why);
    }
    Ok(text)
}
