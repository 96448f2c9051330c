//! The audit of training rows for a reader: text, Markdown, one HTML page with plots.

mod html;
mod page;

pub use html::html;
pub use page::{markdown, text};

use crate::corpus::audit::{
    Audit, Check, ClassRecall, Distribution, IdentifierClass, SourceAudit, Tally,
};

/// The word for a check or a class of identifiers: its name in JSON, with blanks.
fn word(name: &impl serde::Serialize) -> String {
    let name = serde_json::to_value(name).ok();
    let name = name.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    name.replace('_', " ")
}

/// What counts as a near duplicate, and how surely one is found.
fn near(audit: &Audit) -> String {
    format!(
        "near duplicates from a similarity of {} on; two rows just so similar are compared with \
         probability {:.1} %, more similar ones more often",
        audit.settings.near,
        100.0 * audit.near_found_with
    )
}

/// How tokens were counted.
fn tokens(audit: &Audit) -> String {
    audit.settings.encoding.as_ref().map_or_else(
        || "tokens not counted: no tokenizer was named".to_owned(),
        |encoding| {
            let end = encoding.eos.map_or_else(|| "none".to_owned(), |id| format!("id {id}"));
            format!("tokens at a length of {}, end token {end}", encoding.max_length)
        },
    )
}

/// Rows that a check found; a dash where it was not looked for.
fn found(source: &SourceAudit, check: Check) -> String {
    source.checks.get(&check).map_or_else(|| "–".to_owned(), |tally| tally.rows.to_string())
}

/// The first rows that a check found, each file named once.
fn places(tally: &Tally) -> String {
    let files = tally.first.chunk_by(|a, b| a.file == b.file);
    let words = files.map(|places| {
        let rows: Vec<String> = places.iter().map(|place| place.row.to_string()).collect();
        format!("{}, row {}", places[0].file, rows.join(", "))
    });
    words.collect::<Vec<_>>().join("; ")
}

/// A distribution in one line: `min, 5 %, quartiles, 95 %, max`.
fn spread(lengths: Option<&Distribution>) -> Vec<String> {
    let Some(d) = lengths else { return vec!["–".to_owned(); 7] };
    let mut cells: Vec<String> =
        [d.min, d.p5, d.p25, d.median, d.p75, d.p95, d.max].iter().map(usize::to_string).collect();
    cells.truncate(7);
    cells
}

/// Columns of [`spread`].
const SPREAD: [&str; 7] = ["min", "5 %", "25 %", "median", "75 %", "95 %", "max"];

/// The recall of a class on the synthetic set.
fn recall_of(recall: &[ClassRecall], class: IdentifierClass) -> String {
    let recall = recall.iter().find(|recall| recall.class == Some(class));
    recall.map_or_else(|| "–".to_owned(), |recall| format!("{} of {}", recall.found, recall.texts))
}

/// The name of a histogram's bin: 0, 1, 2–3, 4–7, …
fn bin_name(bin: usize) -> String {
    match bin {
        0 | 1 => bin.to_string(),
        _ => {
            let from = 1_usize << (bin - 1);
            if from >= 1024 { format!("{}k", from / 1024) } else { format!("{from}+") }
        }
    }
}
