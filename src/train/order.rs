//! Which rows are held out, and in which order the others are seen.
//!
//! Sources: datasets 5.2.0, `train_test_split` (numpy's permutation); torch 2.13.0, `RandomSampler`;
//! accelerate 1.15.0, `SeedableRandomSampler`; transformers 4.28.1 and 5.23.0, `_get_train_sampler`
//! and `LengthGroupedSampler`. Goldens: `golden/train/trainer.json`, `golden/train/trainer_2023.json`.

use serde::{Deserialize, Serialize};

use crate::stats::random::{Mt19937, Pcg64};

/// How many rows are held out for validation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Validation {
    /// That many.
    Rows(usize),
    /// That share, rounded up.
    Share(f64),
}

impl Validation {
    /// Returns the number of rows held out of `rows`; `None` if no row is left to train on, or the
    /// share is not within 0..1.
    pub fn count(self, rows: usize) -> Option<usize> {
        #[expect(clippy::cast_possible_truncation, reason = "at most `rows`")]
        #[expect(clippy::cast_sign_loss, reason = "not negative")]
        let count = match self {
            Self::Rows(count) => count,
            Self::Share(share) if (0.0..1.0).contains(&share) => {
                (share * rows as f64).ceil() as usize
            }
            Self::Share(_) => return None,
        };
        (count < rows).then_some(count)
    }
}

/// Rows to train on and rows held out, by their places in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To train on, in the order of the shuffled data set.
    pub train: Vec<usize>,
    /// Held out.
    pub validation: Vec<usize>,
}

impl Split {
    /// Returns the shuffled split of `rows` rows; `None` where [`Validation::count`] is.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::train::{Split, Validation};
    ///
    /// let split = Split::new(10, Validation::Rows(2), 42).expect("rows are left");
    /// assert_eq!(split.validation, [5, 6]);
    /// assert_eq!(split.train, [0, 7, 3, 2, 4, 9, 1, 8]);
    /// ```
    pub fn new(rows: usize, validation: Validation, seed: u64) -> Option<Self> {
        let count = validation.count(rows)?;
        let mut order = Pcg64::new(seed).permutation(rows);
        let train = order.split_off(count);
        Some(Self { train, validation: order })
    }
}

/// Whose order of rows is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Era {
    /// transformers 4.28 on one device: one generator for all epochs, seeded by a draw.
    #[serde(rename = "2023")]
    Y2023,
    /// transformers 5 with accelerate: each epoch has its own seed.
    #[serde(rename = "current")]
    Current,
    /// That of the rows, in every epoch: a curriculum is read as it is written. The rows are those
    /// behind the split, which shuffles a file; nothing else is drawn.
    #[serde(rename = "as-written")]
    AsWritten,
}

/// The order of rows in every epoch.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// Whose order.
    pub era: Era,
    /// The training's seed.
    pub seed: u64,
    /// Rows of one update; `Some` groups rows of similar length.
    pub group: Option<usize>,
}

impl Sampler {
    /// Returns the order of each epoch in turn, of rows with `lengths` tokens; `validations` says how
    /// many validations an epoch has.
    ///
    /// Endless. Grouped rows of the present era are drawn from torch's global generator. Each
    /// validation draws from it too, and so does torch's dropout, which is not followed.
    pub fn epochs<'a>(
        &'a self,
        lengths: &'a [usize],
        validations: impl Fn(u64) -> u64 + 'a,
    ) -> impl Iterator<Item = Vec<usize>> + 'a {
        let mut generator = Mt19937::new(self.seed);
        if self.era == Era::Y2023 {
            // The sampler's generator is seeded with 63 random bits of the global one.
            generator = Mt19937::new(generator.next_u64() & u64::MAX >> 1);
        }
        (0..).map(move |epoch| {
            let order = self.epoch(epoch, lengths, &mut generator);
            if self.era == Era::Current {
                // The loader of each validation draws the seed of its workers.
                for _ in 0..validations(epoch) {
                    generator.next_u64();
                }
            }
            order
        })
    }

    fn epoch(&self, epoch: u64, lengths: &[usize], generator: &mut Mt19937) -> Vec<usize> {
        let n = lengths.len();
        match (self.era, self.group) {
            (Era::AsWritten, None) => (0..n).collect(),
            (Era::Current, None) => Mt19937::new(self.seed.wrapping_add(epoch)).permutation(n),
            (Era::Current, Some(rows)) => {
                // The loader draws the seed of its workers first.
                generator.next_u64();
                grouped(lengths, rows, generator)
            }
            (Era::Y2023, None) => {
                let order = generator.permutation(n);
                // torch draws a second permutation for the part of an epoch beyond whole ones: none.
                generator.permutation(n);
                order
            }
            (Era::Y2023 | Era::AsWritten, Some(rows)) => grouped(lengths, rows, generator),
        }
    }
}

/// Shuffles, then sorts by falling length within groups of up to 50 updates; the longest row of
/// all is swapped to the front, so that memory runs out early or never.
fn grouped(lengths: &[usize], rows: usize, generator: &mut Mt19937) -> Vec<usize> {
    let multiple = (lengths.len() / (rows * 4)).clamp(1, 50);
    let mut order = generator.permutation(lengths.len());
    let size = (multiple * rows).max(1);
    order.chunks_mut(size).for_each(|group| group.sort_by_key(|i| std::cmp::Reverse(lengths[*i])));
    let firsts = (0..order.len()).step_by(size);
    // Of equally long ones the first, as torch's argmax.
    let longest =
        firsts.reduce(|best, at| if lengths[order[at]] > lengths[order[best]] { at } else { best });
    if let Some(longest) = longest {
        order.swap(0, longest);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_up_and_leaves_rows_to_train_on() {
        assert_eq!(Validation::Share(0.1).count(5942), Some(595));
        assert_eq!(Validation::Rows(0).count(3), Some(0));
        assert_eq!(Validation::Rows(3).count(3), None);
        assert_eq!(Validation::Share(1.0).count(3), None);
        assert_eq!(Validation::Share(-0.1).count(3), None);
        assert_eq!(Validation::Share(f64::NAN).count(3), None);
    }

    #[test]
    fn every_row_is_seen_once_an_epoch() {
        let lengths: Vec<_> = (0..37).map(|i| i * 7 % 11).collect();
        for era in [Era::Y2023, Era::Current] {
            for group in [None, Some(1), Some(4), Some(100)] {
                let sampler = Sampler { era, seed: 42, group };
                for mut order in sampler.epochs(&lengths, |_| 0).take(3) {
                    if group.is_some() {
                        assert_eq!(lengths[order[0]], 10, "the longest row comes first");
                    }
                    order.sort_unstable();
                    assert!(order.into_iter().eq(0..37));
                }
            }
        }
    }

    #[test]
    fn no_rows_have_an_empty_order() {
        let sampler = Sampler { era: Era::Current, seed: 1, group: Some(2) };
        assert_eq!(sampler.epochs(&[], |_| 0).next(), Some(vec![]));
    }
}
