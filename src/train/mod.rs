//! Fine-tuning, step for step as transformers' Trainer does it.
//!
//! A [`Recipe`] says everything but the model and the rows. [`Split`], [`Sampler`] and [`Plan`]
//! give the rows of each update, [`MicroBatch`] their tokens, [`accumulate`] the gradients,
//! [`Trainer`] the updates. Results have the same bits on any number of threads, and with or
//! without [`Recompute`].

mod adamw;
mod base;
mod checkpoint;
mod curve;
mod dataset;
mod error;
mod estimate;
mod events;
mod gradient;
mod journal;
mod lineage;
mod loss;
mod memory;
mod micro_batch;
mod optimizer;
mod order;
mod plan;
mod prepare;
mod recipe;
mod report;
mod schedule;
mod session;
mod state;
mod tensors;
mod trainer;

pub use adamw::{AdamW, Moments, clip_factor, global_norm};
pub use base::{BaseSize, curriculum, reading_order, write_base, write_random};
pub use checkpoint::{Best, Checkpoints, Progress};
pub use curve::loss_curve;
pub use dataset::{Counts, Dataset};
pub use error::TrainError;
pub use estimate::{Estimate, Trainable, estimate, trainable};
pub use gradient::{Gradients, Recompute, accumulate, loss};
pub use journal::{Event, METRICS};
pub use lineage::{ExamOverlap, LINEAGE, Lineage};
pub use memory::{available_memory, peak_memory, restart_peak_memory};
pub use micro_batch::{Item, Layout, MicroBatch, Padding};
pub use optimizer::Optimizer;
pub use order::{Era, Sampler, Split, Validation};
pub use plan::{Normalisation, Plan, Remainder, Window};
pub use prepare::{MODEL_FILES, Prepared, Request};
pub use recipe::{
    BaseFormat, Batching, Begin, Data, Difference, End, Lora, OnBadStep, Optimization,
    OptimizerKind, Rate, Recipe, RecipeError, Run, Text, Weights,
};
pub use report::{Cost, report};
pub use schedule::{Schedule, ScheduleKind};
pub use session::{Ending, Outcome, Session, Watch};
pub use trainer::{Defect, Settings, Trainer, Update};
