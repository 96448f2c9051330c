//! One update after another: micro-batches, accumulation, clipping, learning rate, weights.

use serde::{Deserialize, Serialize};

use super::{
    Gradients, MicroBatch, Normalisation, Optimization, Optimizer, Recompute, Schedule, TrainError,
    accumulate, clip_factor, loss,
};
use crate::{llama::Llama, stats::Seed};

/// What an update needs to know besides the network and the rows.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How an update is made.
    pub optimization: Optimization,
    /// The learning rate over the updates.
    pub schedule: Schedule,
    /// How losses are weighted.
    pub normalisation: Normalisation,
    /// Micro-batches of a full update.
    pub accumulation: usize,
    /// Whether an update with fewer micro-batches is still divided by [`Settings::accumulation`]
    /// (2023), not by their number.
    pub full_divisor: bool,
    /// Which activations are kept.
    pub recompute: Recompute,
    /// Seed of the dropout.
    pub seed: Seed,
    /// Whether the adapter's dropout is on.
    pub dropout: bool,
}

/// What an update did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Its number, from 1.
    pub step: u64,
    /// Loss in nats a token, under the settings' normalisation.
    pub loss: f64,
    /// Learning rate it was made with.
    pub rate: f64,
    /// Norm of the gradients before clipping.
    pub norm: f64,
    /// Tokens that went through the network.
    pub tokens: usize,
    /// Tokens that entered the loss.
    pub learnt: usize,
}

/// What is wrong with an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Defect {
    /// No token of a micro-batch (of the update, where tokens are weighted alike) has a label.
    NothingToLearn,
    /// The loss is infinite or no number.
    LossNotFinite,
    /// A loss of exactly 0, which no softmax gives over more than one token: the numbers broke.
    LossZero,
    /// A gradient is infinite or no number.
    GradientNotFinite,
}

/// A training in memory.
#[derive(Debug)]
pub struct Trainer<'a> {
    network: &'a Llama,
    settings: Settings,
    /// The optimizer with its states.
    pub optimizer: Optimizer,
    /// Updates gone by, those left out included.
    pub step: u64,
    /// Updates made: what the optimizer's bias correction counts.
    pub made: u64,
}

impl<'a> Trainer<'a> {
    /// Returns the training of `network`'s variables before its first update.
    pub fn new(network: &'a Llama, settings: Settings) -> Self {
        let optimizer = Optimizer::new(&settings.optimization, network.variables());
        Self { network, settings, optimizer, step: 0, made: 0 }
    }

    /// Returns the learning rate of the next update.
    pub fn rate(&self) -> f64 {
        self.settings.schedule.rate(self.step)
    }

    /// Makes the next update of these micro-batches.
    ///
    /// # Errors
    ///
    /// [`TrainError::BadStep`] if there is a [`Defect`]: no weight is changed then, and
    /// [`Trainer::skip`] goes on. [`TrainError::NoGradient`] if a weight got no gradient.
    pub fn update(&mut self, window: &[MicroBatch]) -> Result<Update, TrainError> {
        let update = self.update_while(window, &mut |_| true)?;
        Ok(update.expect("nothing stops it"))
    }

    /// Makes the next update as [`Trainer::update`], asking after each micro-batch with their number
    /// so far whether to go on; `None`, and nothing has changed, if not.
    ///
    /// # Errors
    ///
    /// As [`Trainer::update`].
    pub fn update_while(
        &mut self,
        window: &[MicroBatch],
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Option<Update>, TrainError> {
        let learnt: usize = window.iter().map(MicroBatch::learnt).sum();
        if learnt == 0 {
            return Err(self.bad(Defect::NothingToLearn, window));
        }
        let settings = &self.settings;
        let divisor = if settings.full_divisor { settings.accumulation } else { window.len() };
        let mut gradients = Gradients::new(self.network);
        let mut loss = 0.0;
        for (done, micro) in (1..).zip(window) {
            let here = std::slice::from_ref(micro);
            let scale = match settings.normalisation {
                Normalisation::Tokens => 1.0 / learnt as f64,
                Normalisation::MeanOfMeans if micro.learnt() == 0 => {
                    return Err(self.bad(Defect::NothingToLearn, here));
                }
                Normalisation::MeanOfMeans => 1.0 / (micro.learnt() * divisor) as f64,
            };
            if micro.learnt() == 0 {
                if !go_on(done) {
                    return Ok(None);
                }
                continue;
            }
            let rows: Vec<u64> = micro.examples.iter().map(|row| *row as u64).collect();
            let draw = settings.dropout.then(|| micro.batch.draw(settings.seed, self.step, &rows));
            let sum = accumulate(
                self.network,
                micro,
                draw.as_ref(),
                narrow(scale),
                settings.recompute,
                &mut gradients,
            )?;
            if !sum.is_finite() {
                return Err(self.bad(Defect::LossNotFinite, here));
            }
            if sum == 0.0 {
                return Err(self.bad(Defect::LossZero, here));
            }
            loss += sum * scale;
            if !go_on(done) {
                return Ok(None);
            }
        }
        self.apply(window, gradients, loss).map(Some)
    }

    /// Clips the gradients and changes the weights.
    fn apply(
        &mut self,
        window: &[MicroBatch],
        mut gradients: Gradients,
        loss: f64,
    ) -> Result<Update, TrainError> {
        let norm = gradients.norm();
        if !norm.is_finite() {
            return Err(self.bad(Defect::GradientNotFinite, window));
        }
        let settings = &self.settings;
        let variables = self.network.variables();
        if let Some(place) = gradients.values().iter().position(Vec::is_empty) {
            return Err(TrainError::NoGradient { name: variables[place].0.clone() });
        }
        if settings.optimization.max_norm > 0.0 {
            gradients.scale(clip_factor(norm, settings.optimization.max_norm));
        }
        let rate = self.rate();
        self.optimizer.update(rate, self.made + 1, variables, &gradients)?;
        self.step += 1;
        self.made += 1;
        let tokens = window.iter().map(MicroBatch::tokens).sum();
        let learnt = window.iter().map(MicroBatch::learnt).sum();
        Ok(Update { step: self.step, loss, rate, norm, tokens, learnt })
    }

    fn bad(&self, defect: Defect, micros: &[MicroBatch]) -> TrainError {
        let rows = micros.iter().flat_map(|micro| micro.examples[..micro.rows].to_vec());
        TrainError::BadStep { step: self.step + 1, defect, rows: rows.collect() }
    }

    /// Leaves an update out: the learning rate goes on, the weights stay.
    pub fn skip(&mut self) {
        self.step += 1;
    }

    /// Returns the validation loss: the mean over the batches of their mean losses, each counted as
    /// often as it has rows, as the reference's evaluation takes it; `None` if no token is learnt.
    ///
    /// Batches without a token to learn do not count, as transformers 5 leaves out what is no
    /// number.
    ///
    /// # Errors
    ///
    /// If the network fails.
    pub fn validate(&self, batches: &[MicroBatch]) -> Result<Option<f64>, TrainError> {
        let (mut sum, mut rows) = (0.0, 0);
        for batch in batches.iter().filter(|batch| batch.learnt() > 0) {
            let mean = loss(self.network, batch)? / batch.learnt() as f64;
            sum += mean * batch.rows as f64;
            rows += batch.rows;
        }
        Ok((rows > 0).then(|| sum / rows as f64))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}
