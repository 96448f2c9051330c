//! One run beside one printed row: every cell with our number and a verdict.

use serde::Serialize;

use crate::{
    claims::{Audit, CellComparison, Measured, Table, compare_with_printed},
    protocol::Protocol,
    stats::Share,
    store::{ExamIdentity, Ledger, ModelIdentity, Part, Proportion, ProtocolIdentity, Run},
};

/// The protocol that the paper's numbers claim.
pub(super) const PAPER_PROTOCOL: &str = "paper-2023-04";

/// A row under one protocol.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowRun {
    /// Id and digest.
    pub protocol: ProtocolIdentity,
    /// The run, where there is one.
    pub run: Option<RunIdentity>,
    /// One a column; `None` where nothing is printed.
    pub cells: Vec<Option<Cell>>,
}

/// What a run's numbers depend on, without times and places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RunIdentity {
    /// Digest of everything below.
    pub run_id: String,
    /// Who answered.
    pub model: ModelIdentity,
    /// What was asked.
    pub exam: ExamIdentity,
    /// Seed.
    pub seed: u64,
    /// Digest of every reply.
    pub attempts_sha256: String,
}

/// One printed number and ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Our accuracy by the protocol's denominator, if measured.
    pub ours: Option<Proportion>,
    /// Our counts.
    pub ledger: Option<Ledger>,
    /// Printed against ours, with the verdict.
    pub comparison: CellComparison,
}

/// Returns a row under `protocol`: measured by `run`, or `Err` with the reason why there is none.
///
/// Comparable with the printed number is only what the same protocol made from as many questions
/// as the audit finds behind the column; the exam itself was published without a digest.
pub fn compare(
    table: &Table,
    audit: &Audit,
    row: &str,
    protocol: &Protocol,
    run: Result<&Run, &str>,
) -> RowRun {
    let values = table.row(row).map(|row| &row.values[..]).unwrap_or_default();
    let cells = values.iter().enumerate().map(|(column, printed)| {
        let printed = printed.as_ref()?;
        let n = audit.cell(row, column).and_then(|cell| Some(cell.count?.trials));
        let part = run.map(|run| part(run, &table.columns[column].name));
        let measured = measured(part, n, &protocol.id);
        let part = part.ok().flatten();
        Some(Cell {
            ours: part.and_then(|part| part.accuracies.headline.clone()),
            ledger: part.map(|part| part.ledger.clone()),
            comparison: compare_with_printed(printed, n, measured),
        })
    });
    RowRun {
        protocol: ProtocolIdentity {
            id: protocol.id.clone(),
            sha256: protocol.sha256().to_owned(),
        },
        run: run.ok().map(identity),
        cells: cells.collect(),
    }
}

/// The part of a run that a column is about: `Step 1` is part `1`.
fn part<'a>(run: &'a Run, column: &str) -> Option<&'a Part> {
    let name = column.strip_prefix("Step ").unwrap_or(column);
    run.summary.as_ref()?.parts.iter().find(|part| part.name == name)
}

fn measured(part: Result<Option<&Part>, &str>, n: Option<usize>, protocol: &str) -> Measured {
    let part = match part {
        Ok(Some(part)) => part,
        Ok(None) => return Measured::NotRun("the exam has no question of this step".to_owned()),
        Err(why) => return Measured::NotRun(why.to_owned()),
    };
    let share = part.accuracies.headline.as_ref();
    let Some(share) = share.and_then(|share| Share::new(share.successes, share.trials).ok()) else {
        return Measured::NotRun("no question of this step was asked".to_owned());
    };
    if part.ledger.errored > 0 {
        let (errored, asked) = (part.ledger.errored, part.ledger.asked);
        return Measured::NotComparable(format!("{errored} of {asked} questions got no reply"));
    }
    if protocol != PAPER_PROTOCOL {
        return Measured::NotComparable(format!(
            "made by {protocol}; the printed number by the author's script, {PAPER_PROTOCOL}"
        ));
    }
    match n {
        Some(n) if n == part.ledger.asked => Measured::Share(share),
        Some(n) => Measured::NotComparable(format!(
            "{} questions asked; the printed number is over {n}, so the exams differ",
            part.ledger.asked
        )),
        None => Measured::NotComparable("how many questions were asked is not known".to_owned()),
    }
}

fn identity(run: &Run) -> RunIdentity {
    RunIdentity {
        run_id: run.manifest.run_id.clone(),
        model: run.manifest.model.clone(),
        exam: run.manifest.exam.clone(),
        seed: run.manifest.seed,
        attempts_sha256: run.attempts_sha256.clone(),
    }
}
