//! The progress of a training on stderr, and its end by Ctrl-C.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use crate::{
    cli::{eval::stop_on_interrupt, note::note},
    train::{Defect, Update, Watch},
};

/// A bar with loss, learning rate, tokens a second and ETA.
pub(in crate::cli) struct Bar {
    bar: ProgressBar,
    stopped: Arc<AtomicBool>,
    begun: Instant,
    tokens: usize,
    is_first: bool,
    /// Loss, rate and speed of the last update.
    last: String,
}

impl Bar {
    pub(in crate::cli) fn new(shown: bool) -> Result<Self, CommandError> {
        let bar = if shown { ProgressBar::no_length() } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg} ETA {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Ok(Self {
            bar: bar.with_style(style),
            stopped: stop_on_interrupt()?,
            begun: Instant::now(),
            tokens: 0,
            is_first: true,
            last: String::new(),
        })
    }

    pub(in crate::cli) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Watch for Bar {
    fn updated(&mut self, update: &Update, total: u64) {
        if std::mem::take(&mut self.is_first) {
            self.bar.set_length(total);
            // The rate is of this session.
            self.bar.set_position(update.step - 1);
            self.bar.reset_eta();
        }
        self.tokens += update.tokens;
        let rate = self.tokens as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        self.bar.set_position(update.step);
        let Update { loss, rate: learning_rate, .. } = update;
        self.last = format!("loss {loss:.4} lr {learning_rate:.2e} {rate:.0} tokens/s");
        self.bar.set_message(self.last.clone());
    }

    /// An update can take minutes: its micro-batches are the sign of life.
    fn computed(&mut self, step: u64, done: usize, all: usize) {
        if all > 1 && done < all {
            let begin = if self.last.is_empty() { "" } else { " " };
            let text = format!("{}{begin}(update {step}: {done}/{all})", self.last);
            self.bar.set_message(text);
            self.bar.tick();
        }
    }

    fn validated(&mut self, step: u64, loss: f64, is_best: bool) {
        let best = if is_best { ", the best yet" } else { "" };
        self.bar.suspend(|| note(format_args!("update {step}: validation loss {loss:.4}{best}")));
    }

    fn skipped(&mut self, step: u64, defect: Defect, rows: &[usize]) {
        let text = format!("update {step} left out: {defect:?}, rows {rows:?}");
        self.bar.suspend(|| note(format_args!("{text}")));
    }

    fn stop(&mut self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
