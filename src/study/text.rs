//! What `reproduce` ends with: one screen.

use std::path::Path;

use super::{Reproduction, tables};
use crate::claims::ClaimVerdict;

/// Returns the table with its verdicts, what the audit found, and where the page is.
pub fn text(study: &Reproduction, page: &Path) -> String {
    let mut text = format!("{}\n\n{}\n", study.table.name, tables::rows(study).text());
    text += &format!("cells     {}\n", study.counts(None).words());
    let missing = study.rows.iter().filter(|row| row.to_download.is_some()).count();
    if missing > 0 {
        text += &format!(
            "weights   {missing} of {} rows are not on this machine; the page names what to download\n",
            study.rows.len()
        );
    }
    for line in audit_lines(study) {
        text += &format!("audit     {line}\n");
    }
    text += &format!("claims    {}\n", claim_counts(study));
    text + &format!("page      {}\n", page.display())
}

/// The study in a few sentences.
pub(super) fn summary_lines(study: &Reproduction) -> Vec<String> {
    let columns = &study.audit.columns;
    let list =
        |numbers: Vec<usize>| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join("/");
    let found: Vec<usize> = columns.iter().filter_map(|c| Some(c.found.as_ref()?.n)).collect();
    let rows: Vec<usize> = columns.iter().filter_map(|c| Some(c.found.as_ref()?.rows)).collect();
    let mut printed: Vec<usize> = columns.iter().map(|column| column.printed).collect();
    printed.dedup();
    let stated = columns.iter().filter_map(|column| column.stated.first());
    let (stated, stated_rows) = stated.map(|stated| (stated.fit.n, stated.fit.rows)).unzip();
    let mut lines = vec![format!(
        "The printed digits are shares of {} questions in {} of {} rows; of the stated {} in {}.",
        list(found),
        list(rows),
        list(printed),
        list(stated),
        list(stated_rows)
    )];
    if let Some(inference) = &study.audit.inference {
        lines.push(format!("Inferred cause: {}.", inference.cause.summary));
    }
    let (claims, cells) = (claim_counts(study), study.counts(None).words());
    lines.push(format!("Claims in words: {claims}."));
    lines.push(format!("Cells of the table under the protocols here: {cells}."));
    lines
}

/// Claims by verdict, in words.
fn claim_counts(study: &Reproduction) -> String {
    let of = |verdict| study.audit.claims.iter().filter(|claim| claim.verdict == verdict).count();
    format!(
        "{} supported, {} contradicted, {} not testable from the table",
        of(ClaimVerdict::Supported),
        of(ClaimVerdict::Contradicted),
        of(ClaimVerdict::NotTestable)
    )
}

/// What the audit found, a line each.
pub(super) fn audit_lines(study: &Reproduction) -> Vec<String> {
    let mut lines = Vec::new();
    for column in &study.audit.columns {
        let Some(found) = &column.found else { continue };
        let stated: Vec<String> = column
            .stated
            .iter()
            .map(|stated| format!("{} explain {}", stated.fit.n, stated.fit.rows))
            .collect();
        lines.push(format!(
            "{}: {} questions explain {} of {} rows (by chance p = {:.0e}); stated: {}",
            column.name,
            found.n,
            found.rows,
            column.printed,
            found.p,
            stated.join(", ")
        ));
    }
    if let Some(inference) = &study.audit.inference {
        lines.push(format!("{} (inference): {}", inference.cause.summary, inference.cause.code));
    }
    lines
}
