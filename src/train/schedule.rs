//! Learning-rate schedules, equal to transformers' in every bit of the f64.
//!
//! The rate of an update is `base * multiplier(t)` with `t` the number of updates already made, so
//! with warm-up the first update has rate 0. Source: transformers 5.23.0, `optimization.py`;
//! goldens in `golden/train/schedules.json`.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Shape of a schedule after its warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", deny_unknown_fields)]
#[non_exhaustive]
pub enum ScheduleKind {
    /// 1 throughout, without warm-up.
    Constant,
    /// 1 after the warm-up.
    ConstantWithWarmup,
    /// Falls linearly to 0.
    Linear,
    /// Falls along `cycles` of a cosine; half a cycle ends at 0.
    Cosine {
        /// Waves until the last step; transformers' default is 0.5.
        cycles: f64,
    },
    /// As [`ScheduleKind::Cosine`], down to a share of the base rate.
    CosineWithMinimum {
        /// Waves until the last step.
        cycles: f64,
        /// Lowest multiplier.
        minimum: f64,
    },
    /// A cosine that starts anew `cycles` times.
    CosineWithRestarts {
        /// Number of falls.
        cycles: f64,
    },
    /// Falls to `end` along `(1 - progress)^power`.
    Polynomial {
        /// Rate (not multiplier) at the end and after it; transformers' default is 1e-7.
        end: f64,
        /// Exponent; 1 is linear.
        power: f64,
    },
    /// `1 / sqrt((t + timescale - warmup) / timescale)`.
    InverseSqrt {
        /// Updates; `None` is the warm-up's length, or 10,000 without one.
        timescale: Option<u64>,
    },
}

/// A schedule over a whole training run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its shape.
    pub kind: ScheduleKind,
    /// Learning rate that the multiplier scales.
    pub base: f64,
    /// Updates over which the rate rises linearly from 0.
    pub warmup: u64,
    /// Updates of the whole run.
    pub total: u64,
}

impl Schedule {
    /// Returns the learning rate of the update made after `done` updates.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::train::{Schedule, ScheduleKind};
    ///
    /// let kind = ScheduleKind::Cosine { cycles: 0.5 };
    /// let schedule = Schedule { kind, base: 1.0, warmup: 2, total: 6 };
    /// assert_eq!(schedule.rate(0), 0.0);
    /// assert_eq!(schedule.rate(1), 0.5);
    /// assert_eq!(schedule.rate(2), 1.0);
    /// ```
    pub fn rate(&self, done: u64) -> f64 {
        self.base * self.multiplier(done)
    }

    fn multiplier(&self, done: u64) -> f64 {
        if matches!(self.kind, ScheduleKind::Constant) {
            return 1.0;
        }
        if done < self.warmup {
            return done as f64 / self.warmup.max(1) as f64;
        }
        let after = (done - self.warmup) as f64;
        let span = self.total.saturating_sub(self.warmup);
        let progress = after / span.max(1) as f64;
        let wave = |cycles: f64| 0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos());
        match self.kind {
            ScheduleKind::Constant | ScheduleKind::ConstantWithWarmup => 1.0,
            ScheduleKind::Linear => (self.total as f64 - done as f64).max(0.0) / span.max(1) as f64,
            ScheduleKind::Cosine { cycles } => wave(cycles).max(0.0),
            ScheduleKind::CosineWithMinimum { cycles, minimum } => {
                (wave(cycles) * (1.0 - minimum) + minimum).max(0.0)
            }
            ScheduleKind::CosineWithRestarts { .. } if progress >= 1.0 => 0.0,
            ScheduleKind::CosineWithRestarts { cycles } => {
                (0.5 * (1.0 + (PI * ((cycles * progress) % 1.0)).cos())).max(0.0)
            }
            ScheduleKind::Polynomial { end, .. } if done > self.total => end / self.base,
            ScheduleKind::Polynomial { end, power } => {
                let remaining = 1.0 - progress;
                ((self.base - end) * remaining.powf(power) + end) / self.base
            }
            ScheduleKind::InverseSqrt { timescale } => {
                let default = if self.warmup > 0 { self.warmup } else { 10_000 };
                let timescale = timescale.unwrap_or(default) as f64;
                let shift = timescale - self.warmup as f64;
                1.0 / ((done as f64 + shift) / timescale).sqrt()
            }
        }
    }
}
