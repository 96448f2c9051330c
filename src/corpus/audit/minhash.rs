//! MinHash signatures over 5-word runs, and buckets that bring similar ones together.
//!
//! 14 buckets of 8 hashes, as datatrove has it: rows whose sets of runs have Jaccard similarity s
//! meet in a bucket with probability 1 - (1 - s^8)^14, that is 0.77 at 0.75, 0.92 at 0.8, 0.99 at
//! 0.85. What meets is then compared by all 112 minima.

use std::collections::HashMap;

use crate::stats::{Generator, Seed};

/// Chances to meet.
pub const BUCKETS: usize = 14;
/// Minima that must be equal to meet once.
pub const HASHES_A_BUCKET: usize = 8;
const HASHES: usize = BUCKETS * HASHES_A_BUCKET;
const SHINGLE: usize = 5;
/// Fixes the family of hash functions; any other would do as well.
const FAMILY: Seed = Seed(0x6d69_6e68_6173_6831);

/// Returns the probability that two rows whose sets of runs have Jaccard similarity `similarity` meet
/// in a bucket, and so are compared at all: 1 - (1 - s^8)^14.
///
/// # Examples
///
/// ```
/// use medharness::corpus::audit::found_with;
///
/// assert!((found_with(0.8) - 0.92).abs() < 0.005);
/// assert!(found_with(0.5) < 0.06);
/// ```
pub fn found_with(similarity: f64) -> f64 {
    let all = |probability: f64, times: usize| (0..times).fold(1.0, |all, _| all * probability);
    1.0 - all(1.0 - all(similarity, HASHES_A_BUCKET), BUCKETS)
}

/// Smallest hash of a set of runs under each of 112 functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinHash(Box<[u32; HASHES]>);

impl MinHash {
    /// Returns the signature of a text's words (of the text as one run, if it has fewer than five);
    /// `None` without a word.
    pub fn of<'a>(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let hashes: Vec<u64> = words.map(|word| fnv(word.as_bytes())).collect();
        if hashes.is_empty() {
            return None;
        }
        let mut minima = Box::new([u32::MAX; HASHES]);
        let functions = functions();
        for run in hashes.windows(SHINGLE.min(hashes.len())) {
            let bytes: Vec<u8> = run.iter().flat_map(|hash| hash.to_le_bytes()).collect();
            let hash = fnv(&bytes);
            for (least, (factor, term)) in minima.iter_mut().zip(functions) {
                let mixed = hash.wrapping_mul(*factor).wrapping_add(*term) >> 32;
                *least = (*least).min(u32::try_from(mixed).unwrap_or(u32::MAX));
            }
        }
        Some(Self(minima))
    }

    /// Returns the share of equal minima, an estimate of the Jaccard similarity (standard error at
    /// most 0.05).
    pub fn similarity(&self, other: &Self) -> f64 {
        let equal = self.0.iter().zip(other.0.iter()).filter(|(a, b)| a == b).count();
        equal as f64 / HASHES as f64
    }
}

/// Odd factors and terms of multiply-shift hashing, in the order of the minima.
fn functions() -> &'static [(u64, u64); HASHES] {
    static FUNCTIONS: std::sync::LazyLock<[(u64, u64); HASHES]> = std::sync::LazyLock::new(|| {
        let mut numbers = Generator::new(FAMILY);
        std::array::from_fn(|_| (numbers.next_u64() | 1, numbers.next_u64()))
    });
    &FUNCTIONS
}

/// FNV-1a with a final mix, so that the high bits depend on every byte.
fn fnv(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

/// Signatures that are unlike each other, findable by what they have in common.
#[derive(Default)]
pub(super) struct Leaders {
    signatures: Vec<(usize, MinHash)>,
    buckets: HashMap<(usize, [u32; HASHES_A_BUCKET]), Vec<usize>>,
}

impl Leaders {
    /// Returns the first row kept whose signature equals `signature` in a share of `near` or more;
    /// keeps it as row `row` if there is none.
    pub(super) fn find_or_keep(
        &mut self,
        row: usize,
        signature: MinHash,
        near: f64,
    ) -> Option<usize> {
        let keys = signature.0.chunks_exact(HASHES_A_BUCKET).map(|bucket| {
            <[u32; HASHES_A_BUCKET]>::try_from(bucket).expect("chunks of this length")
        });
        let keys: Vec<_> = keys.enumerate().collect();
        let met = keys.iter().filter_map(|key| self.buckets.get(key)).flatten();
        let alike = met.filter(|place| self.signatures[**place].1.similarity(&signature) >= near);
        if let Some(first) = alike.min() {
            return Some(self.signatures[*first].0);
        }
        for key in keys {
            self.buckets.entry(key).or_default().push(self.signatures.len());
        }
        self.signatures.push((row, signature));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(from: usize, to: usize) -> Vec<String> {
        (from..to).map(|n| format!("word{n}")).collect()
    }

    fn signature(words: &[String]) -> MinHash {
        MinHash::of(words.iter().map(String::as_str)).unwrap()
    }

    #[test]
    fn the_estimate_lies_near_the_similarity() {
        // 200 words share 100 + n with the other: Jaccard (96 + n) / (296 - n) of runs.
        let whole = signature(&text(0, 200));
        for shift in [0, 20, 60, 100, 200] {
            let other = signature(&text(shift, 200 + shift));
            let common = (196_f64 - shift as f64).max(0.0);
            let jaccard = common / (392.0 - common);
            assert!((whole.similarity(&other) - jaccard).abs() < 0.15, "{shift}");
        }
    }

    #[test]
    fn similar_rows_meet_as_often_as_the_formula_says() {
        // 20 runs of 200 changed: Jaccard about 0.8, found with 0.92.
        let found = (0..100).filter(|case| {
            let words = text(case * 1000, case * 1000 + 200);
            let mut other = words.clone();
            for changed in other.iter_mut().step_by(50).take(4) {
                changed.push('x');
            }
            let mut leaders = Leaders::default();
            leaders.find_or_keep(0, signature(&words), 0.0);
            leaders.find_or_keep(1, signature(&other), 0.0).is_some()
        });
        // Runs changed: 1 + 3 x 5 of 196, Jaccard 180 / 212 = 0.849, probability 0.988.
        assert!(found.count() >= 94);
    }

    #[test]
    fn short_texts_are_compared_whole() {
        let [yes, no] = ["Yes", "No"].map(|word| MinHash::of([word].into_iter()).unwrap());
        assert!(yes.similarity(&no) < 0.1);
        assert_eq!(MinHash::of(std::iter::empty()), None);
    }
}
