//! The project's random numbers: xoshiro256++, seeded through SplitMix64.
//!
//! Written out here, so that a seed means the same numbers in every version of every dependency
//! and on every machine. Not for secrets.
//!
//! Source: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators" (2021);
//! bounded numbers after D. Lemire, "Fast random integer generation in an interval" (2019).

use super::Seed;

/// A sequence of random numbers, fixed by its seed.
///
/// # Examples
///
/// ```
/// use medharness::stats::{Generator, Seed};
///
/// let mut numbers = Generator::new(Seed(7));
/// let die = 1 + numbers.below(6);
/// assert!((1..=6).contains(&die));
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    state: [u64; 4],
}

impl Generator {
    /// Starts at `seed`: the state is the first four numbers of SplitMix64 from there.
    pub fn new(seed: Seed) -> Self {
        let mut at = seed.0;
        Self { state: std::array::from_fn(|_| split_mix(&mut at)) }
    }

    /// Starts the sequence number `index` of a family that shares a seed.
    ///
    /// `index` is added to the seed after a first SplitMix64 step, so that neighbouring seeds and
    /// neighbouring indices stay apart. Used for resamples, one sequence each.
    pub fn numbered(seed: Seed, index: u64) -> Self {
        let mut at = seed.0;
        Self::new(Seed(split_mix(&mut at).wrapping_add(index)))
    }

    /// Returns 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Returns a whole number in `0..bound`, every one equally likely; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut product = u128::from(self.next_u64()) * u128::from(bound);
        if low(product) < bound {
            let rejected = bound.wrapping_neg() % bound;
            while low(product) < rejected {
                product = u128::from(self.next_u64()) * u128::from(bound);
            }
        }
        high(product)
    }

    /// Returns a position in `0..len`; 0 for a length of 0.
    pub fn index(&mut self, len: usize) -> usize {
        below_len(self.below(len as u64))
    }

    /// Returns a number in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Returns a standard normal number (Box-Muller, cosine branch, two draws each).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }

    /// Puts `items` into a random order (Fisher-Yates, from the last position down).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

/// Steps SplitMix64 on and returns its number: for where draws are keyed rather than in sequence.
pub(crate) fn split_mix(at: &mut u64) -> u64 {
    *at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *at;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
fn low(product: u128) -> u64 {
    product as u64
}

fn below_len(position: u64) -> usize {
    usize::try_from(position).expect("smaller than a length")
}

fn high(product: u128) -> u64 {
    (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::{Generator, split_mix};

    /// From the authors' C code (prng.di.unimi.it/splitmix64.c) started at 1234567.
    #[test]
    fn split_mix_gives_its_authors_numbers() {
        let mut at = 1_234_567;
        let first: [u64; 3] = std::array::from_fn(|_| split_mix(&mut at));
        assert_eq!(
            first,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    /// From the authors' C code (prng.di.unimi.it/xoshiro256plusplus.c) started at 1, 2, 3, 4.
    #[test]
    fn xoshiro_gives_its_authors_numbers() {
        let mut generator = Generator { state: [1, 2, 3, 4] };
        let first: [u64; 6] = std::array::from_fn(|_| generator.next_u64());
        assert_eq!(
            first,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386,
                9_228_616_714_210_784_205,
                9_973_669_472_204_895_162
            ]
        );
    }
}
