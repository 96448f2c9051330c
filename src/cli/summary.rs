//! The numbers of a run on stdout, for the commands that end with one.

use super::{
    CommandError, Context, Format,
    page::{Page, percent, range},
};
use crate::store::{Manifest, Part, Summary};

/// Writes the summary in the form asked for; JSON is `summary.json` itself.
pub(super) fn write(
    manifest: &Manifest,
    summary: &Summary,
    format: Format,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    let text = match format {
        Format::Json => {
            serde_json::to_string_pretty(summary).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(manifest, summary, false),
        Format::Markdown => page(manifest, summary, true),
    };
    Ok(context.out.write_all(text.as_bytes())?)
}

fn page(manifest: &Manifest, summary: &Summary, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    let (exam, protocol) = (&manifest.exam, &summary.protocol);
    page.heading(1, &format!("{} on {}", manifest.model.name, exam.name));
    page.facts([
        ("run", summary.run_id.clone()),
        ("exam", format!("{} questions, sha256 {}", exam.total, exam.sha256)),
        ("protocol", format!("{}, sha256 {}", protocol.id, protocol.sha256)),
        ("seed", manifest.seed.to_string()),
    ]);
    page.heading(2, "Questions");
    page.table(
        &[
            "step", "total", "excluded", "not run", "asked", "correct", "wrong", "unparsed",
            "errored",
        ],
        summary.parts.iter().map(ledger),
    );
    page.heading(2, "Accuracy in %, 95 % Wilson interval");
    page.table(
        &["step", "headline", "interval", "strict", "parsed only", "bounds", "letter"],
        summary.parts.iter().map(accuracies),
    );
    page.heading(2, "Scores without a model in %, and what asking again changed");
    page.table(
        &[
            "step",
            "uniform",
            "constant",
            "longest",
            "first attempt",
            "asked again",
            "gained",
            "lost",
        ],
        summary.parts.iter().map(baselines),
    );
    let reasons = &summary.parts[0].ledger.unparsed_by_reason;
    if !reasons.is_empty() {
        page.heading(2, "Unparsed, by reason");
        page.table(
            &["reason", "questions"],
            reasons.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]),
        );
    }
    page.finish()
}

fn ledger(part: &Part) -> Vec<String> {
    let ledger = &part.ledger;
    let counts = [
        ledger.total,
        ledger.excluded,
        ledger.not_run,
        ledger.asked,
        ledger.correct,
        ledger.wrong,
        ledger.unparsed,
        ledger.errored,
    ];
    std::iter::once(part.name.clone()).chain(counts.map(|count| count.to_string())).collect()
}

fn accuracies(part: &Part) -> Vec<String> {
    let a = &part.accuracies;
    let value = |share: &Option<crate::store::Proportion>| percent(share.as_ref().map(|p| p.value));
    vec![
        part.name.clone(),
        value(&a.headline),
        a.headline.as_ref().map_or_else(|| "-".to_owned(), |p| range(p.wilson)),
        value(&a.strict),
        value(&a.parsed_only),
        a.bounds.map_or_else(|| "-".to_owned(), range),
        value(&a.letter),
    ]
}

fn baselines(part: &Part) -> Vec<String> {
    let b = part.baselines.as_ref();
    let constant = b.map_or_else(
        || "-".to_owned(),
        |b| format!("{} ({})", percent(Some(b.best_constant.1)), b.best_constant.0),
    );
    vec![
        part.name.clone(),
        percent(b.map(|b| b.uniform)),
        constant,
        percent(b.map(|b| b.longest_option)),
        percent(part.accuracy_at_attempt.first().map(|p| p.value)),
        part.retries.retried.to_string(),
        part.retries.gained.to_string(),
        part.retries.lost.to_string(),
    ]
}
