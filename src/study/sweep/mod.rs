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

/// The grids that are part of the program, by their names; the first is the default.
pub const GRIDS: [(&str, &str); 2] = [
    ("mini-lora", include_str!("../../../benchmarks/sweeps/mini-lora.toml")),
    ("mini-full", include_str!("../../../benchmarks/sweeps/mini-full.toml")),
];
