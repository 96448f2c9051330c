//! A hyperparameter study of one row: which settings move it, chosen on a split that is not the exam.
//!
//! A [`Grid`] names settings of the row's recipe and their values; a [`Sweep`] is a grid put together
//! with its study, checked; its points are trained, asked and used again as the study's rows are.
//! The validation split may share no question with the exam or the vignettes.

mod grid;
mod report;
mod run;

pub use grid::{Combine, Grid, Point, Vary};
pub use report::{Moved, PointResult, SWEEP_FILES, SweepResult, sweep_text, write_sweep};
pub use run::Sweep;

/// The grid that is part of the program.
pub const MINI_LORA: &str = include_str!("../../../benchmarks/sweeps/mini-lora.toml");
