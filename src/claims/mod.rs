//! What the paper and others printed, and what those numbers can and cannot mean.
//!
//! | what | where |
//! |---|---|
//! | a printed table, the paper's or a user's own | [`Table`] |
//! | which counts and denominators it can stand for | [`Audit`] |
//! | claims in words, each with the test the table allows | [`Claims`] |
//! | two runs: compared, gated | [`runs`] |
//! | other states and other people's figures | [`History`], [`Others`] |
//! | our number against a printed one | [`compare_with_printed`] |
//!
//! The data lie in `golden/paper` and are embedded; each entry names its source. Every verdict is
//! computed here, none is written in the data. Nothing is formatted here.

mod audit;
mod cell;
mod columns;
mod error;
mod evidence;
mod file;
mod others;
pub mod runs;
mod statement;
mod table;

pub use audit::{
    Alternative, Audit, CellAudit, Comparison, Count, CountKind, Direction, RowAudit, Settings,
    TableIdentity,
};
pub use cell::{CellComparison, CellVerdict, MIN_QUESTIONS, Measured, compare_with_printed};
pub use columns::{BaselineAudit, ColumnAudit, Fit, StatedFit};
pub use error::ClaimsError;
pub use evidence::{Cause, Denominator, Evidence, Fact, FactKind, Inference, Reading};
pub use others::{Dispute, Figure, History, Others, Remark, State};
pub use statement::{Claim, ClaimVerdict, Claims, Judged, Scale, Test};
pub use table::{Baseline, Candidates, Column, Row, Source, Stated, Table};
