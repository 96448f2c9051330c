//! A training in a folder: begun, interrupted, continued, ended.
//!
//! The folder holds `train.json` (what it is), `metrics.jsonl` (what happened; the same for
//! TensorBoard), `checkpoint-STEP` folders, and at the end the weights. Killed at any moment and called again, a training goes on
//! from its newest checkpoint and ends with the same losses and weights, bit for bit.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    Best, Checkpoints, Dataset, Defect, Era, Event, LINEAGE, Layout, Lineage, MicroBatch,
    OnBadStep, Plan, Progress, Recipe, Recompute, Remainder, Schedule, Settings, TrainError,
    Trainer, Update, Validation,
    checkpoint::{require_finite, verify_weights, weights_file, write_weights},
    events::EventFile,
    journal::Journal,
    optimizer::edit,
    peak_memory,
};
use crate::{
    llama::Llama,
    stats::Seed,
    store::{RunLock, StoreError, sync_folder},
};

/// Sees a training as it goes on, and may stop it.
pub trait Watch {
    /// An update of `total` was made.
    fn updated(&mut self, update: &Update, total: u64);
    /// The rows held out were asked; `is_best` says whether these weights are the best yet. The loss may
    /// be no number where the recipe leaves bad updates out.
    fn validated(&mut self, step: u64, loss: f64, is_best: bool);
    /// An update was left out.
    fn skipped(&mut self, step: u64, defect: Defect, rows: &[usize]);
    /// `done` of the `all` micro-batches of update `step` were computed.
    fn computed(&mut self, step: u64, done: usize, all: usize) {
        let _ = (step, done, all);
    }
    /// Whether to stop, with a checkpoint of the last update that was finished; asked after every
    /// update, and within one after every micro-batch.
    fn stop(&mut self) -> bool;
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every update was made.
    Complete,
    /// Validation found no new best for as long as the recipe waits.
    Early,
    /// [`Watch::stop`] asked for it; called again it goes on.
    Interrupted,
}

/// What a training came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How far it came.
    pub progress: Progress,
    /// Everything that happened.
    pub events: Vec<Event>,
    /// The step whose weights were written; `None` if interrupted.
    pub result_step: Option<u64>,
    /// Updates that this process went through; 0 where the training had ended before.
    pub updates_here: u64,
}

impl Recipe {
    /// Returns how this recipe's rows become updates.
    pub fn plan(&self, rows: usize) -> Plan {
        Plan {
            rows,
            micro: self.batch.micro,
            accumulation: self.batch.accumulation,
            remainder: self.batch.remainder,
            epochs: self.schedule.epochs,
            max_steps: self.schedule.max_steps,
            // Without a row held out there is no validation that could move the order.
            eval_every: if self.holds_out() { self.run.eval_every } else { 0 },
        }
    }

    /// Whether any row is held out.
    pub(super) fn holds_out(&self) -> bool {
        let held = self.data.validation;
        held != Validation::Rows(0) && held != Validation::Share(0.0)
    }

    /// Whether the rows held out are asked after the last update, too.
    fn validates_at_the_end(&self) -> bool {
        self.data.order != Era::Y2023 || self.run.eval_every == 0
    }

    /// Returns what each of `total` updates needs to know.
    pub fn settings(&self, total: u64) -> Settings {
        let schedule = Schedule {
            kind: self.schedule.shape,
            base: self.optimizer.rate,
            warmup: self.schedule.warmup_updates(total),
            total,
        };
        Settings {
            optimization: self.optimizer,
            schedule,
            normalisation: self.batch.normalisation,
            accumulation: self.batch.accumulation,
            full_divisor: self.batch.remainder == Remainder::Carry,
            recompute: if self.weights.recompute { Recompute::Blocks } else { Recompute::Nothing },
            seed: Seed(self.data.seed),
            dropout: self.lora.as_ref().is_some_and(|lora| lora.dropout > 0.0),
        }
    }
}

/// A training that may go on.
#[derive(Debug)]
pub struct Session<'a> {
    folder: &'a Path,
    recipe: &'a Recipe,
    dataset: &'a Dataset,
    network: &'a Llama,
    checkpoints: Checkpoints,
    progress: Progress,
    journal: Journal,
    events: EventFile,
    _lock: RunLock,
}

impl<'a> Session<'a> {
    /// Begins a training in a new folder, or continues the one that is there.
    ///
    /// `network` holds the base model with the recipe's fresh adapter, or all weights trainable.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherTraining`] if the folder holds another, [`StoreError::NotEmpty`] if it holds
    /// anything else; [`TrainError::Damaged`] if its newest checkpoint is, or the best where that is
    /// to be the result; [`TrainError::Finished`] if its result is there and no checkpoint;
    /// [`TrainError::Store`] if it cannot be written or is in use.
    pub fn open(
        folder: &'a Path,
        lineage: &Lineage,
        recipe: &'a Recipe,
        dataset: &'a Dataset,
        network: &'a Llama,
    ) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(|source| StoreError::Io {
            action: "create",
            path: folder.to_owned(),
            source,
        })?;
        refuse_foreign(folder)?;
        let lock = RunLock::take(folder)?;
        lineage.claim(folder)?;
        let checkpoints = Checkpoints::new(folder)?;
        let result = folder.join(weights_file(network));
        let progress = match checkpoints.steps()?.last() {
            Some(step) => checkpoints.load_weights(*step, network)?,
            None if result.exists() => return Err(TrainError::Finished { path: result }),
            None => Progress::default(),
        };
        if let Some(best) = progress.best.filter(|_| recipe.run.keep_best)
            && best.step != progress.step
        {
            // Better now than after the last update.
            checkpoints.check(best.step)?;
        }
        let journal = Journal::open(folder, progress.log_bytes, progress.log_sha256.as_deref())?;
        let events = EventFile::create(folder, &journal.events)?;
        Ok(Self {
            folder,
            recipe,
            dataset,
            network,
            checkpoints,
            progress,
            journal,
            events,
            _lock: lock,
        })
    }

    /// Returns how far the training had come when it was opened.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Makes every update that is left, and writes the weights.
    ///
    /// # Errors
    ///
    /// [`TrainError::BadStep`] where the recipe stops at it, [`TrainError::AllLeftOut`] if it left out
    /// every update; [`TrainError::Validation`] if a validation loss is not finite and the recipe stops
    /// at it, or its weights would be the result; [`TrainError::NotFinite`] and
    /// [`TrainError::EmptyAdapter`] if there is nothing to write; any other if something failed. The
    /// newest checkpoint is intact.
    pub fn run(mut self, watch: &mut dyn Watch) -> Result<Outcome, TrainError> {
        let recipe = self.recipe;
        let plan = recipe.plan(self.dataset.train.len());
        let total = plan.updates();
        let lengths = self.dataset.lengths();
        let rows_of_update = recipe.batch.micro * recipe.batch.accumulation;
        let sampler = self.dataset.sampler(&recipe.data, rows_of_update);
        let done = usize::try_from(self.progress.step).unwrap_or(usize::MAX);
        let layout = Layout::of(recipe, self.network.config());
        let validation = self.dataset.validation_batches(layout);
        let network = self.network;
        let mut trainer = Trainer::new(network, recipe.settings(total));
        (trainer.step, trainer.made) = (self.progress.step, self.progress.made);
        if self.progress.step > 0 {
            self.checkpoints.load_states(self.progress.step, network, &mut trainer.optimizer)?;
        }
        let before_s = self.progress.wall_s;
        let begun = Instant::now();
        let wall_s = || before_s + begun.elapsed().as_secs_f64();
        let begun_at = self.progress.step;
        let mut saved = begun_at;
        let mut ending = Ending::Complete;
        if self.progress.step > 0 && self.is_stale() {
            ending = Ending::Early;
        }
        for window in plan.windows(&sampler, &lengths).skip(done) {
            if ending == Ending::Early {
                break;
            }
            let trainer_step = trainer.step;
            let micros: Vec<MicroBatch> = window
                .micro_batches
                .iter()
                .map(|places| self.dataset.micro_batch(places, layout))
                .collect();
            // Heard between micro-batches, too: the unfinished update is made again.
            let mut go_on = |done: usize| {
                watch.computed(trainer_step + 1, done, micros.len());
                done == micros.len() || !watch.stop()
            };
            match trainer.update_while(&micros, &mut go_on) {
                Ok(None) => {
                    if saved != self.progress.step {
                        self.save(&trainer, wall_s())?;
                        saved = self.progress.step;
                    }
                    ending = Ending::Interrupted;
                    break;
                }
                Ok(Some(update)) => {
                    let Update { step, loss, rate, norm, tokens, learnt } = update;
                    let (epoch, wall_s) = (window.epoch, wall_s());
                    self.log(Event::Update {
                        step,
                        epoch,
                        loss,
                        rate,
                        norm,
                        tokens,
                        learnt,
                        wall_s,
                    })?;
                    watch.updated(&update, total);
                }
                Err(TrainError::BadStep { step, defect, rows })
                    if recipe.run.on_bad_step == OnBadStep::Skip =>
                {
                    trainer.skip();
                    watch.skipped(step, defect, &rows);
                    self.log(Event::Skipped { step, defect, rows })?;
                }
                Err(error) => {
                    // What was finished before can be gone on with. Its weights may be what broke this
                    // update, so nothing older goes for it; should that fail, the reason to report is
                    // the first one.
                    if matches!(error, TrainError::BadStep { .. }) && saved != self.progress.step {
                        let _ = self.save_keeping(&trainer, wall_s(), usize::MAX);
                    }
                    return Err(error);
                }
            }
            let step = trainer.step;
            (self.progress.step, self.progress.made) = (step, trainer.made);
            let due = |every: u64| every > 0 && step.is_multiple_of(every);
            let mut save = due(recipe.run.save_every);
            if due(recipe.run.eval_every) || step == total && recipe.validates_at_the_end() {
                if let Some(loss) = trainer.validate(&validation)? {
                    if !loss.is_finite() && recipe.run.on_bad_step == OnBadStep::Stop {
                        return Err(TrainError::Validation { step });
                    }
                    let best = self.progress.best;
                    let counts = loss.is_finite() && self.has_moved(step);
                    let is_best = counts && best.is_none_or(|best| loss < best.loss);
                    self.log(if loss.is_finite() {
                        Event::Validation { step, loss, wall_s: wall_s() }
                    } else {
                        Event::ValidationBroken { step }
                    })?;
                    watch.validated(step, loss, is_best);
                    if is_best {
                        self.progress.best = Some(Best { step, loss });
                        self.progress.without_best = 0;
                        save |= recipe.run.keep_best;
                    } else if self.has_moved(step) {
                        self.progress.without_best += 1;
                    }
                }
                if self.is_stale() {
                    (ending, save) = (Ending::Early, true);
                }
            }
            let interrupted = step < total && watch.stop();
            if save || interrupted || step == total {
                self.save(&trainer, wall_s())?;
                saved = step;
            }
            if interrupted {
                ending = Ending::Interrupted;
                break;
            }
        }
        debug_assert_eq!(saved, self.progress.step, "every end is saved");
        drop(trainer);
        let updates_here = self.progress.step - begun_at;
        self.finish(ending, updates_here)
    }

    /// Writes a checkpoint.
    fn save(&mut self, trainer: &Trainer<'_>, wall_s: f64) -> Result<(), TrainError> {
        self.save_keeping(trainer, wall_s, self.recipe.run.keep)
    }

    /// Writes a checkpoint beside at most `keep` older ones and the best.
    fn save_keeping(
        &mut self,
        trainer: &Trainer<'_>,
        wall_s: f64,
        keep: usize,
    ) -> Result<(), TrainError> {
        self.progress.wall_s = wall_s;
        self.progress.mem_peak = self.progress.mem_peak.max(peak_memory());
        let (bytes, sha256) = self.journal.sync()?;
        (self.progress.log_bytes, self.progress.log_sha256) = (bytes, Some(sha256));
        self.checkpoints.save(self.network, &trainer.optimizer, &self.progress, keep)
    }

    fn log(&mut self, event: Event) -> Result<(), TrainError> {
        self.events.append(&event)?;
        self.journal.append(event)
    }

    fn is_stale(&self) -> bool {
        let patience = self.recipe.run.patience;
        patience > 0 && self.progress.without_best >= patience
    }

    /// Writes the result and reads it back.
    fn finish(mut self, ending: Ending, updates_here: u64) -> Result<Outcome, TrainError> {
        let mut result_step = None;
        if ending != Ending::Interrupted {
            if self.progress.made == 0 {
                return Err(TrainError::AllLeftOut { steps: self.progress.step });
            }
            let step = match self.progress.best {
                Some(best) if self.recipe.run.keep_best => best.step,
                _ => self.progress.step,
            };
            if step != self.progress.step {
                self.checkpoints.load_weights(step, self.network)?;
            }
            self.require_result(step)?;
            write_weights(self.folder, self.network)?;
            sync_folder(self.folder)?;
            verify_weights(self.folder, self.network)?;
            result_step = Some(step);
        }
        self.journal.sync()?;
        let Self { progress, journal, .. } = self;
        Ok(Outcome { ending, progress, events: journal.events, result_step, updates_here })
    }

    /// Refuses weights of `step` that are broken or, as an adapter, change nothing.
    fn require_result(&self, step: u64) -> Result<(), TrainError> {
        if self.journal.events.contains(&Event::ValidationBroken { step }) {
            return Err(TrainError::Validation { step });
        }
        require_finite(step, self.network, None)?;
        if self.network.adapter_settings().is_none() {
            return Ok(());
        }
        for (name, variable) in self.network.variables() {
            // An embedding's branch begins with an A of zeros, any other with a B of zeros.
            if !name.ends_with(".lora_B.weight") && !name.ends_with(".lora_embedding_A") {
                continue;
            }
            let mut is_zero = true;
            edit(variable, |values| is_zero = values.iter().all(|value| *value == 0.0))?;
            if !is_zero {
                return Ok(());
            }
        }
        Err(TrainError::EmptyAdapter { step, rate_was_zero: !self.has_moved(step) })
    }

    /// Whether an update until `step` could change a fresh adapter: the first of a warm-up has the rate
    /// 0, and what is best by its loss would be the base model. Every weight trained is a result even so.
    fn has_moved(&self, step: u64) -> bool {
        let moves = |event: &Event| matches!(event, Event::Update { step: at, rate, .. } if *at <= step && *rate != 0.0);
        self.network.adapter_settings().is_none() || self.journal.events.iter().any(moves)
    }

    /// Returns the folder.
    pub fn folder(&self) -> PathBuf {
        self.folder.to_owned()
    }
}

/// Refuses a folder that holds files of something else: a result must not overwrite them.
fn refuse_foreign(folder: &Path) -> Result<(), TrainError> {
    let io = |source| StoreError::Io { action: "read", path: folder.to_owned(), source };
    if folder.join(LINEAGE).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let found = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        // Left by a process that was killed before it wrote `train.json`.
        if found != "lock" && !found.starts_with(LINEAGE) {
            return Err(StoreError::NotEmpty { path: folder.to_owned(), found }.into());
        }
    }
    Ok(())
}
