//! Fine-tuning, step for step as transformers' Trainer does it.

mod schedule;

pub use schedule::{Schedule, ScheduleKind};
