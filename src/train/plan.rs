//! Which micro-batches make which update: gradient accumulation and its two rules.
//!
//! In 2023 (transformers 4.28) the counter of micro-batches runs on over the end of an epoch: an
//! update may hold the last of one epoch and the first of the next, an epoch counts for
//! `floor(micro-batches / accumulation)` updates, and training ends when as many are made. Today
//! (from 4.46) the last update of an epoch holds what is left, and the count is rounded up.
//! Goldens: as in `order`.

use serde::{Deserialize, Serialize};

use super::Sampler;

/// What happens to the micro-batches of an epoch that do not fill an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remainder {
    /// The next epoch completes it; updates are counted by rounding down (2023).
    Carry,
    /// They make a smaller update of their own (today).
    Own,
}

/// How the losses of an update's tokens are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalisation {
    /// Mean over each micro-batch, then over the micro-batches (before transformers 4.46): a token
    /// in a micro-batch with few labels counts more.
    MeanOfMeans,
    /// Sum over all labels of the update, divided by their number.
    Tokens,
}

/// How rows become updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Rows to train on.
    pub rows: usize,
    /// Rows of a micro-batch.
    pub micro: usize,
    /// Micro-batches of an update.
    pub accumulation: usize,
    /// The rule for an epoch's end.
    pub remainder: Remainder,
    /// Passes over the rows; may end within one.
    pub epochs: f64,
    /// Updates to make whatever the epochs; `None` for the epochs'.
    pub max_steps: Option<u64>,
    /// Updates from one validation to the next; 0 for none. They move the order of grouped rows.
    pub eval_every: u64,
}

/// The micro-batches of one update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Rows of each micro-batch, as places in the training rows.
    pub micro_batches: Vec<Vec<usize>>,
    /// Epoch, from 0, in which the update is made.
    pub epoch: u64,
}

impl Plan {
    /// Returns the micro-batches of an epoch.
    pub fn micro_batches(&self) -> usize {
        self.rows.div_ceil(self.micro)
    }

    /// Returns the updates that an epoch counts for, at least 1.
    pub fn updates_per_epoch(&self) -> u64 {
        let updates = match self.remainder {
            Remainder::Carry => self.micro_batches() / self.accumulation,
            Remainder::Own => self.micro_batches().div_ceil(self.accumulation),
        };
        updates.max(1) as u64
    }

    /// Returns the updates of the whole training.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "epochs are few")]
    pub fn updates(&self) -> u64 {
        self.max_steps
            .unwrap_or_else(|| (self.epochs * self.updates_per_epoch() as f64).ceil() as u64)
    }

    /// Returns every update of the training in turn.
    pub fn windows<'a>(
        &self,
        sampler: &'a Sampler,
        lengths: &'a [usize],
    ) -> impl Iterator<Item = Window> + use<'a> {
        let Self { micro, accumulation, remainder, .. } = *self;
        let per_epoch = self.micro_batches();
        let total = usize::try_from(self.updates()).unwrap_or(usize::MAX);
        let (every, updates) = (self.eval_every, self.updates_per_epoch());
        let until = move |epoch: u64| (epoch * updates).checked_div(every).unwrap_or(0);
        let mut counted = 0_usize;
        let mut open = Vec::new();
        sampler
            .epochs(lengths, move |epoch| until(epoch + 1) - until(epoch))
            .zip(0_u64..)
            .flat_map(move |(order, epoch)| {
                let mut windows = Vec::new();
                for (place, rows) in order.chunks(micro).enumerate() {
                    counted += 1;
                    open.push(rows.to_vec());
                    let is_last = place + 1 == per_epoch;
                    let closes = match remainder {
                        Remainder::Own => is_last || (place + 1).is_multiple_of(accumulation),
                        // An epoch no longer than an update is closed by its end as well.
                        Remainder::Carry => {
                            counted.is_multiple_of(accumulation)
                                || is_last && per_epoch <= accumulation
                        }
                    };
                    if closes {
                        windows.push(Window { micro_batches: std::mem::take(&mut open), epoch });
                    }
                }
                windows
            })
            .take(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Era;

    fn plan(rows: usize, micro: usize, accumulation: usize, remainder: Remainder) -> Plan {
        Plan { rows, micro, accumulation, remainder, epochs: 2.0, max_steps: None, eval_every: 0 }
    }

    fn sizes(plan: &Plan) -> Vec<usize> {
        let sampler = Sampler { era: Era::Current, seed: 42, group: None };
        let lengths = vec![1; plan.rows];
        plan.windows(&sampler, &lengths).map(|window| window.micro_batches.len()).collect()
    }

    /// Source: transformers 5.23.0 and 4.28.1 with 13 rows, batches of 2, accumulation of 3.
    #[test]
    fn an_epochs_end_closes_an_update_today_and_did_not_in_2023() {
        let today = plan(13, 2, 3, Remainder::Own);
        assert_eq!((today.updates(), sizes(&today)), (6, vec![3, 3, 1, 3, 3, 1]));
        let then = plan(13, 2, 3, Remainder::Carry);
        assert_eq!((then.updates(), sizes(&then)), (4, vec![3, 3, 3, 3]));
    }

    #[test]
    fn an_epoch_shorter_than_an_update_makes_one() {
        let short = plan(3, 2, 8, Remainder::Carry);
        assert_eq!((short.updates(), sizes(&short)), (2, vec![2, 2]));
    }

    /// The paper's small set: 5,347 rows, batches of 2, 64 of them an update.
    #[test]
    fn the_papers_small_run_has_41_updates_an_epoch() {
        let mut plan = plan(5347, 2, 64, Remainder::Carry);
        assert_eq!(plan.updates_per_epoch(), 41);
        plan.epochs = 3.0;
        assert_eq!(plan.updates(), 123);
    }

    #[test]
    fn a_limit_of_updates_runs_over_as_many_epochs_as_it_needs() {
        let mut plan = plan(4, 2, 1, Remainder::Own);
        plan.max_steps = Some(5);
        assert_eq!(sizes(&plan), [1; 5]);
        plan.max_steps = None;
        plan.epochs = 0.5;
        assert_eq!(plan.updates(), 1);
    }
}
