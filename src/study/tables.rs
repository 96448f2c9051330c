//! The study's tables, for a terminal and for Markdown.

use super::{Cell, Reproduction};
use crate::{
    claims::{CellVerdict, ClaimVerdict, CountKind},
    reports::{TextTable, format, short_label},
};

/// Returns the verdict's name.
pub(super) fn verdict(verdict: &CellVerdict) -> (&'static str, &str) {
    match verdict {
        CellVerdict::Reproduced => ("reproduced", ""),
        CellVerdict::Differs => ("differs", ""),
        CellVerdict::NotComparable(why) => ("not comparable", why),
        CellVerdict::NotRun(why) => ("not run", why),
    }
}

/// Returns a claim's verdict in words.
pub(super) fn claim_verdict(verdict: ClaimVerdict) -> &'static str {
    match verdict {
        ClaimVerdict::Supported => "supported",
        ClaimVerdict::Contradicted => "contradicted",
        ClaimVerdict::NotTestable => "not testable from it",
    }
}

/// Returns the printed rows, each followed by what was measured for it.
pub(super) fn rows(study: &Reproduction) -> TextTable {
    let columns: Vec<&str> = study.table.columns.iter().map(|column| &*column.name).collect();
    let mut table = TextTable::new(&["model", "made by"], &[&columns[..], &["verdict"]].concat());
    for row in &study.rows {
        let mut cells = vec![row.model.clone(), "printed".to_owned()];
        cells.extend(row.printed.iter().map(|text| text.clone().unwrap_or("–".into())));
        if row.to_download.is_some() {
            cells.push("not run".to_owned());
        }
        table.row(cells);
        for run in row.runs.iter().filter(|run| run.run.is_some()) {
            let protocol = short_label(&run.protocol.id, &run.protocol.sha256);
            let mut cells = vec![String::new(), protocol];
            cells.extend(run.cells.iter().map(|cell| cell.as_ref().map_or("–".into(), measured)));
            let mut verdicts: Vec<&str> = run
                .cells
                .iter()
                .flatten()
                .map(|cell| verdict(&cell.comparison.verdict).0)
                .collect();
            verdicts.dedup();
            cells.push(verdicts.join(", "));
            table.row(cells);
        }
    }
    table
}

fn measured(cell: &Cell) -> String {
    cell.ours.as_ref().map_or("–".into(), |ours| format!("{:.3}", ours.value))
}

/// Returns every cell in full.
pub(super) fn cells(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(
        &["model", "column", "protocol", "verdict", "why"],
        &["printed", "as a count", "ours", "95 % Wilson", "difference"],
    );
    for row in &study.rows {
        for run in &row.runs {
            for (column, cell) in study.table.columns.iter().zip(&run.cells) {
                let Some(cell) = cell else { continue };
                let (name, why) = verdict(&cell.comparison.verdict);
                let index = study.table.column(&column.name).unwrap_or_default();
                table.row([
                    row.model.clone(),
                    column.name.clone(),
                    short_label(&run.protocol.id, &run.protocol.sha256),
                    name.to_owned(),
                    why.to_owned(),
                    row.printed[index].clone().unwrap_or_default(),
                    count(cell),
                    cell.ours.as_ref().map_or_else(String::new, |ours| {
                        format!("{:.3} ({} of {})", ours.value, ours.successes, ours.trials)
                    }),
                    cell.ours.as_ref().map_or_else(String::new, |o| format::interval(o.wilson)),
                    cell.comparison.difference.map_or_else(String::new, |difference| {
                        format!("{:+.1} points", 100.0 * difference)
                    }),
                ]);
            }
        }
    }
    table
}

/// The count behind printed digits; `about` where none prints them.
fn count(cell: &Cell) -> String {
    match cell.comparison.printed {
        Some(count) if count.kind == CountKind::Nearest => {
            format!("none of {}", count.trials)
        }
        Some(count) => format!("{}/{}", count.successes, count.trials),
        None => String::new(),
    }
}

/// Returns what to download for every row that was not run.
pub(super) fn downloads(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(&["row", "download", "note"], &[]);
    for row in &study.rows {
        let Some(to_download) = &row.to_download else { continue };
        let note = row.weights.as_ref().and_then(|weights| weights.note.clone());
        table.row([row.model.clone(), to_download.clone(), note.unwrap_or_default()]);
    }
    table
}

/// Returns the claims with their verdicts.
pub(super) fn claims(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(&["claim", "by", "verdict", "because"], &[]);
    for judged in &study.audit.claims {
        table.row([
            judged.claim.text.clone(),
            judged.claim.source.place.clone(),
            claim_verdict(judged.verdict).to_owned(),
            judged.because.clone(),
        ]);
    }
    table
}

/// Returns other people's figures for cells of the table, beside them.
pub(super) fn disputes(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(
        &["model", "column", "by", "their protocol"],
        &["table", "theirs", "difference", "p"],
    );
    for dispute in study.others.beside(&study.table, &study.audit) {
        let test = dispute.test.as_ref();
        table.row([
            dispute.figure.model.clone(),
            dispute.figure.exam.clone(),
            dispute.source.place.clone(),
            dispute.source.protocol.clone(),
            dispute.printed.clone(),
            format!("{:.3}", dispute.figure.value),
            test.map_or_else(String::new, |t| format!("{:+.1} points", 100.0 * t.difference)),
            test.map_or_else(String::new, |test| {
                format::p_value(test.p).trim_start_matches("= ").to_owned()
            }),
        ]);
    }
    table
}

/// Returns every other figure.
pub(super) fn figures(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(&["model", "exam", "by", "date", "note"], &["printed"]);
    let beside = study.others.beside(&study.table, &study.audit);
    for figure in &study.others.figures {
        if beside.iter().any(|dispute| std::ptr::eq(dispute.figure, figure)) {
            continue;
        }
        let source = study.others.sources.get(&figure.source);
        table.row([
            figure.model.clone(),
            figure.exam.clone(),
            source.map(|source| source.place.clone()).unwrap_or_default(),
            source.map(|source| source.date.clone()).unwrap_or_default(),
            figure.note.clone().unwrap_or_default(),
            figure.printed.clone(),
        ]);
    }
    table
}

/// Returns findings without a number.
pub(super) fn remarks(study: &Reproduction) -> TextTable {
    let mut table = TextTable::new(&["model", "finding", "by"], &[]);
    for remark in &study.others.remarks {
        let source = study.others.sources.get(&remark.source);
        let place = source.map(|source| source.place.clone()).unwrap_or_default();
        table.row([remark.model.clone(), remark.text.clone(), place]);
    }
    table
}

/// Returns the states of the README's table, a line a model and state.
pub(super) fn history(study: &Reproduction) -> TextTable {
    let mut table =
        TextTable::new(&["date", "commit", "file", "model"], &["Step 1", "Step 2", "Step 3"]);
    for state in &study.history.0 {
        for (model, values) in &state.rows {
            let words = [&state.date, &state.commit, &state.place, model];
            table.row(words.into_iter().chain(values).cloned());
        }
    }
    table
}

/// Returns where every shipped protocol stands on every axis.
pub(super) fn axes(study: &Reproduction) -> TextTable {
    let (protocols, axes) = &study.axes;
    let heads: Vec<&str> =
        std::iter::once("axis").chain(protocols.iter().map(String::as_str)).collect();
    let mut table = TextTable::new(&heads, &[]);
    for axis in axes {
        table.row(std::iter::once(axis.name.to_owned()).chain(axis.values.iter().cloned()));
    }
    table
}

/// Returns what each rule reads in each reply; `A*` is returned by default.
pub(super) fn extractors(study: &Reproduction) -> TextTable {
    let matrix = &study.extractors;
    let heads: Vec<&str> =
        std::iter::once("reply").chain(matrix.rules.iter().map(String::as_str)).collect();
    let mut table = TextTable::new(&heads, &[]);
    for row in &matrix.rows {
        let picked = row.picked.iter().zip(&row.by_default);
        let picked =
            picked.map(|(text, default)| if *default { format!("{text}*") } else { text.clone() });
        table.row(std::iter::once(reply(&row.reply)).chain(picked));
    }
    table
}

/// The reply on one line.
pub(super) fn reply(reply: &str) -> String {
    if reply.is_empty() { "(empty)".to_owned() } else { reply.replace('\n', "\\n") }
}
