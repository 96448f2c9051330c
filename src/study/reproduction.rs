//! The study's result: printed rows beside measured ones, and everything known about the print.

use serde::Serialize;

use super::{Axis, ExtractorMatrix, RowRun, RowWeights, Weights, axes, compare, rows::Runs};
use crate::{
    claims::{Audit, CellVerdict, History, Others, Table},
    protocol::Protocol,
    store::ProtocolIdentity,
};

/// Version of `report.json`.
pub(super) const SCHEMA: &str = "medharness-reproduction/1";

/// Everything that `reproduce` shows.
#[derive(Debug, Clone)]
pub struct Reproduction {
    /// The printed table.
    pub table: Table,
    /// What its digits can mean, and the claims about it.
    pub audit: Audit,
    /// The protocols of the columns, in order.
    pub protocols: Vec<Protocol>,
    /// The printed rows, in order.
    pub rows: Vec<RowResult>,
    /// Earlier states of the table.
    pub history: History,
    /// Other people's figures.
    pub others: Others,
    /// Where every shipped protocol stands.
    pub axes: (Vec<String>, Vec<Axis>),
    /// What each published rule reads in the same replies.
    pub extractors: ExtractorMatrix,
}

/// One printed row.
#[derive(Debug, Clone, Serialize)]
pub struct RowResult {
    /// Its name.
    pub model: String,
    /// The row of the model it was made from.
    pub base: Option<String>,
    /// Digits as printed; `None` where none are.
    pub printed: Vec<Option<String>>,
    /// What was published.
    pub weights: Option<RowWeights>,
    /// What to download, where the row was not run.
    pub to_download: Option<String>,
    /// One a protocol.
    pub runs: Vec<RowRun>,
}

/// Cells by verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Our interval holds the printed number.
    pub reproduced: usize,
    /// It does not.
    pub differs: usize,
    /// The two do not speak of the same thing.
    pub not_comparable: usize,
    /// There is none of ours.
    pub not_run: usize,
}

impl Reproduction {
    /// Puts the paper's table beside `runs`; a row without one says what to download.
    pub fn of_paper(protocols: Vec<Protocol>, runs: &Runs) -> Self {
        let table = Table::paper();
        let audit = Audit::new(&table);
        let weights = Weights::paper();
        let rows = table
            .rows
            .iter()
            .map(|row| {
                let to_download = weights.to_download(&row.model);
                let absent = format!("weights not on this machine: {to_download}");
                let runs: Vec<RowRun> = protocols
                    .iter()
                    .map(|protocol| {
                        let run = runs.get(&(row.model.clone(), protocol.id.clone()));
                        compare(&table, &audit, &row.model, protocol, run.ok_or(absent.as_str()))
                    })
                    .collect();
                let is_run = runs.iter().any(|run| run.run.is_some());
                RowResult {
                    model: row.model.clone(),
                    base: row.base.clone(),
                    printed: row
                        .values
                        .iter()
                        .map(|value| value.as_ref().map(|value| value.text().to_owned()))
                        .collect(),
                    weights: weights.row(&row.model).cloned(),
                    to_download: (!is_run).then_some(to_download),
                    runs,
                }
            })
            .collect();
        let shipped: Vec<Protocol> =
            Protocol::builtin_ids().filter_map(Protocol::builtin).collect();
        let names = shipped.iter().map(|protocol| protocol.id.clone()).collect();
        Self {
            audit,
            protocols,
            rows,
            history: History::paper(),
            others: Others::paper(),
            axes: (names, axes(&shipped)),
            extractors: ExtractorMatrix::compute(),
            table,
        }
    }

    /// Returns the identities of the protocols of the columns.
    pub fn protocol_identities(&self) -> Vec<ProtocolIdentity> {
        let identity = |protocol: &Protocol| ProtocolIdentity {
            id: protocol.id.clone(),
            sha256: protocol.sha256().to_owned(),
        };
        self.protocols.iter().map(identity).collect()
    }

    /// Counts the cells by verdict, over all protocols or one.
    pub fn counts(&self, protocol: Option<&str>) -> Counts {
        let mut counts = Counts::default();
        let runs = self.rows.iter().flat_map(|row| &row.runs);
        let runs = runs.filter(|run| protocol.is_none_or(|id| run.protocol.id == id));
        for cell in runs.flat_map(|run| run.cells.iter().flatten()) {
            match cell.comparison.verdict {
                CellVerdict::Reproduced => counts.reproduced += 1,
                CellVerdict::Differs => counts.differs += 1,
                CellVerdict::NotComparable(_) => counts.not_comparable += 1,
                CellVerdict::NotRun(_) => counts.not_run += 1,
            }
        }
        counts
    }
}

impl Counts {
    /// Returns the counts in words.
    pub fn words(&self) -> String {
        let Self { reproduced, differs, not_comparable, not_run } = self;
        format!(
            "{reproduced} reproduced, {differs} differ, {not_comparable} not comparable, \
             {not_run} not run"
        )
    }
}
