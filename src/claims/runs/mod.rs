//! Two runs of one exam: what changed, whether it is more than chance, and whether it may pass.
//!
//! Everything works on [`Outcomes`] alone: what each question counted as. Formatting is left to the
//! command line and to `reports`.

mod compare;
mod gate;
mod outcomes;

pub use compare::{
    CompareError, Comparison, Flip, FlipKind, PartComparison, Settings, Side, Verdict, compare,
};
pub use gate::{Fails, Failure, Gate, GateError, GateSettings, READ, Tolerance, gate};
pub use outcomes::{ExamKey, Item, Outcomes, OutcomesError};
