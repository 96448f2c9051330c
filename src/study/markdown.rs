//! The study as Markdown.

use super::{AXES, Reproduction, tables, text::audit_lines};
use crate::reports::{escape, short_label};

/// Returns `report.md`.
pub(super) fn markdown(study: &Reproduction) -> String {
    let mut page = format!("# {}: printed and measured\n\n", escape(&study.table.name));
    for protocol in &study.protocols {
        let label = short_label(&protocol.id, protocol.sha256());
        page += &format!("- `{label}`: {}\n", escape(&protocol.title));
    }
    page += &format!("\nCells: {}.\n\n", study.counts(None).words());
    page += "## Table\n\n";
    page += &tables::rows(study).markdown();
    page += "\n## Cells\n\nA printed number is reproduced if our 95 % Wilson interval holds it and a \
             two-proportion z test does not tell the two apart.\n\n";
    page += &tables::cells(study).markdown();
    let downloads = tables::downloads(study);
    if !downloads.is_empty() {
        page += "\n## What to download\n\nNames on huggingface.co. `medharness reproduce \
                 --study paper --write-models-template FILE` writes a file to name them in.\n\n";
        page += &downloads.markdown();
    }
    page += "\n## Audit\n\n";
    for line in audit_lines(study) {
        page += &format!("- {}\n", escape(&line));
    }
    if let Some(inference) = &study.audit.inference {
        page += &format!("\nEvidence ({}):\n\n", escape(&inference.cause.place));
        for fact in &inference.facts {
            let kind = serde_json::to_value(fact.kind).unwrap_or_default();
            let kind = kind.as_str().unwrap_or_default().to_owned();
            page += &format!("- {kind}: {} ({})\n", escape(&fact.text), escape(&fact.place));
        }
    }
    page += &format!("\n## Claims\n\n{}", tables::claims(study).markdown());
    page += "\n## Dispute\n\n### Figures for the same cells\n\n";
    page += &tables::disputes(study).markdown();
    page += "\n### Other figures\n\n";
    page += &tables::figures(study).markdown();
    page += "\n### Findings without a number\n\n";
    page += &tables::remarks(study).markdown();
    page += "\n### States of the table\n\n";
    page += &tables::history(study).markdown();
    page += "\n### Axes\n\nWhere the shipped protocols stand; what a run adds to them:\n\n";
    for (axis, values) in AXES {
        page += &format!("- {axis}: {values}\n");
    }
    page += &format!("\n{}", tables::axes(study).markdown());
    page += "\n## Extractor matrix\n\nThe same reply under nine published rules, five options. \
             `A*`: nothing matched, and the rule answers regardless.\n\n";
    page + &tables::extractors(study).markdown()
}
