//! The miniature: the paper's study with models small enough to train and ask anywhere.
//!
//! | what | where |
//! |---|---|
//! | rows, bases, recipes, data, exam, protocols: the file `study.toml` | [`Study`] |
//! | the one that is part of the program | [`lay_out`] |
//! | training and asking every row, continued and re-used | [`run()`] |
//! | rows made at the same time | [`Workers`], [`make_row`] |
//! | what came of it, item by item, in one file | [`Record`] |
//! | accuracies, strata, differences, claims with their tests | [`Record::claims`] |
//! | whether one repeats another | [`gate()`] |
//! | the report | [`text()`], [`write_report`] |

pub(in crate::study) mod ask;
pub(in crate::study) mod definition;
mod gate;
mod materials;
mod record;
pub(in crate::study) mod report;
mod results;
pub(in crate::study) mod run;
pub(in crate::study) mod tables;
pub(in crate::study) mod train;
mod watch;
pub(in crate::study) mod workers;

pub use definition::{Family, Method, RowDefinition, Study};
pub use gate::{RunGate, StudyGate, gate};
pub use materials::lay_out;
pub use record::{ExamItem, ExamRecord, Record, RowRecord, RunRecord, SeedRecord, TrainingRecord};
pub use report::{REPORT_FILES, text, write_report};
pub use results::{
    Accuracy, Claim, Counted, Difference, Expected, Finding, Stratum, Test, Verdict,
};
pub use run::{Options, make_row, run};
pub use watch::{Doing, Watch};
pub use workers::{Telling, Workers};

/// A time in seconds to two digits, as records keep it.
pub(in crate::study) fn hundredths(wall_s: f64) -> f64 {
    (100.0 * wall_s).round() / 100.0
}
