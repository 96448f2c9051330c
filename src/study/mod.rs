//! What `reproduce` does: which printed rows, which runs, in which order, and what comes of it.
//!
//! | what | where |
//! |---|---|
//! | the weights behind each printed row | [`Weights`] |
//! | which of them are on this machine, as the user says | [`Mapping`] |
//! | asking them the exam under each protocol | [`run_rows`] |
//! | printed and measured side by side, each cell with a verdict | [`Reproduction`] |
//! | the same as text, Markdown, CSV, JSON, HTML | [`text()`], [`write()`] |
//!
//! | the same study in miniature, trained and asked here | [`mini`] |
//! | which settings move a row of the miniature | [`sweep`] |
//!
//! Without models everything that needs none is made, and every row says what to download. What is
//! written depends on the runs alone: no time stamp, no path, no machine.

mod axes;
mod comparison;
mod error;
mod extractors;
mod mapping;
pub mod mini;
mod reproduction;
mod rows;
pub mod sweep;
mod weights;

mod html;
mod json;
mod markdown;
mod pages;
mod tables;
mod text;
mod write;

pub use axes::{AXES, Axis, axes};
pub use comparison::{Cell, RowRun, compare};
pub use error::StudyError;
pub use extractors::{ExtractorMatrix, ExtractorRow};
pub use mapping::{Mapping, ModelSpec, template};
pub use reproduction::{Counts, Reproduction, RowResult};
pub use rows::{Plan, RowProgress, Runs, run_rows};
pub use text::text;
pub use weights::{RowWeights, Weights};
pub use write::{FILES, FILES_OF_RUNS, write, write_runs};
