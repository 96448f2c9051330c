//! The study as JSON and its cells as CSV.
//!
//! | key of `report.json` | what |
//! |---|---|
//! | `schema` | `medharness-reproduction/1`; another number where a key is taken away or means something else |
//! | `protocols` | id and sha256 of each column of measured values |
//! | `counts` | cells by verdict |
//! | `rows` | [`super::RowResult`]: digits as printed, weights, and per protocol the run with a [`super::Cell`] per column |
//! | `audit` | [`crate::claims::Audit`], claims with verdicts in it |
//! | `dispute` | other people's figures (`cells`: for cells of the table), remarks, sources, states of the table, axes |
//! | `extractors` | [`super::ExtractorMatrix`] |
//!
//! Without models it holds nothing that differs between two machines; with models, what the runs'
//! own identities say.

use serde_json::{Value, json};

use super::{AXES, Reproduction, reproduction::SCHEMA, tables::verdict};
use crate::reports::ReportError;

/// Returns `report.json`.
pub(super) fn json(study: &Reproduction) -> Value {
    let disputes: Vec<Value> = study
        .others
        .beside(&study.table, &study.audit)
        .into_iter()
        .map(|dispute| {
            json!({
                "figure": dispute.figure,
                "source": dispute.source,
                "printed": dispute.printed,
                "difference": dispute.test.as_ref().map(|test| test.difference),
                "p": dispute.test.as_ref().map(|test| test.p),
            })
        })
        .collect();
    json!({
        "schema": SCHEMA,
        "protocols": study.protocol_identities(),
        "counts": study.counts(None),
        "rows": study.rows,
        "audit": study.audit,
        "dispute": {
            "cells": disputes,
            "figures": study.others.figures,
            "remarks": study.others.remarks,
            "sources": study.others.sources,
            "history": study.history,
            "protocols": study.axes.0,
            "axes": study.axes.1,
            "axes_of_a_run": AXES.iter().map(|(name, values)| json!({ "name": name, "values": values })).collect::<Vec<_>>(),
        },
        "extractors": study.extractors,
    })
}

/// Returns `table.csv`: one line per row, protocol and column.
pub(super) fn csv(study: &Reproduction) -> Result<String, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "model",
        "column",
        "printed",
        "printed_successes",
        "printed_trials",
        "protocol",
        "protocol_sha256",
        "verdict",
        "why",
        "ours",
        "successes",
        "trials",
        "wilson_low",
        "wilson_high",
        "difference",
        "p",
    ])?;
    for row in &study.rows {
        for run in &row.runs {
            for (index, cell) in run.cells.iter().enumerate() {
                let Some(cell) = cell else { continue };
                let (name, why) = verdict(&cell.comparison.verdict);
                let count = cell.comparison.printed;
                let ours = cell.ours.as_ref();
                let text = |number: Option<String>| number.unwrap_or_default();
                writer.write_record([
                    row.model.clone(),
                    study.table.columns[index].name.clone(),
                    row.printed[index].clone().unwrap_or_default(),
                    text(count.map(|count| count.successes.to_string())),
                    text(count.map(|count| count.trials.to_string())),
                    run.protocol.id.clone(),
                    run.protocol.sha256.clone(),
                    name.to_owned(),
                    why.to_owned(),
                    text(ours.map(|ours| ours.value.to_string())),
                    text(ours.map(|ours| ours.successes.to_string())),
                    text(ours.map(|ours| ours.trials.to_string())),
                    text(ours.map(|ours| ours.wilson[0].to_string())),
                    text(ours.map(|ours| ours.wilson[1].to_string())),
                    text(cell.comparison.difference.map(|difference| difference.to_string())),
                    text(cell.comparison.p.map(|p| p.to_string())),
                ])?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
