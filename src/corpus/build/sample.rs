//! Which rows of a source are taken: those with the smallest random keys.

use std::collections::BinaryHeap;

use crate::stats::{Generator, Seed};

/// A sample without replacement over a stream of unknown length.
pub(super) struct Sample {
    take: usize,
    keys: Generator,
    offered: usize,
    /// Key and number of each row taken so far, the largest key on top.
    taken: BinaryHeap<(u64, usize)>,
}

impl Sample {
    /// Takes `take` rows of the source called `name`.
    pub(super) fn new(take: usize, seed: Seed, name: &str) -> Self {
        let keys = Generator::new(seed.derive(name, 1));
        Self { take, keys, offered: 0, taken: BinaryHeap::new() }
    }

    /// Offers the next row.
    pub(super) fn offer(&mut self) {
        self.offered += 1;
        self.taken.push((self.keys.next_u64(), self.offered));
        if self.taken.len() > self.take {
            self.taken.pop();
        }
    }

    /// Returns the numbers of the rows taken, from 1, ascending.
    pub(super) fn finish(self) -> Vec<usize> {
        let mut numbers: Vec<usize> = self.taken.into_iter().map(|(_, number)| number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(take: usize, of: usize, seed: u64) -> Vec<usize> {
        let mut sample = Sample::new(take, Seed(seed), "wikidoc");
        (0..of).for_each(|_| sample.offer());
        sample.finish()
    }

    #[test]
    fn samples_are_seeded_distinct_and_of_the_right_size() {
        let first = sample(100, 1000, 1);
        assert_eq!(first.len(), 100);
        assert!(first.windows(2).all(|two| two[0] < two[1]));
        assert_eq!(first, sample(100, 1000, 1));
        assert_ne!(first, sample(100, 1000, 2));
        assert_eq!(sample(5, 3, 1), [1, 2, 3]);
        assert!(sample(0, 3, 1).is_empty());
    }

    #[test]
    fn every_row_is_as_likely_as_any_other() {
        let mut counts = [0; 20];
        for seed in 0..2000 {
            sample(5, 20, seed).iter().for_each(|number| counts[number - 1] += 1);
        }
        // 500 expected, standard deviation 19.4.
        assert!(counts.iter().all(|count| (410..590).contains(count)), "{counts:?}");
    }
}
