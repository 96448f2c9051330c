//! Fine-tuning, step for step as transformers' Trainer does it.

mod adamw;
mod schedule;

pub use adamw::{AdamW, Moments, clip_factor, global_norm};
pub use schedule::{Schedule, ScheduleKind};
