//! numpy's default generator: PCG64 (XSL-RR 128/64) seeded through `SeedSequence`.
//!
//! Source: numpy 2.4.6, `default_rng(seed)` and `Generator.permutation`.

/// Multiplier of the 128-bit congruential step (PCG's default).
const MULTIPLIER: u128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645;

/// numpy's `default_rng(seed)`.
#[derive(Debug, Clone)]
pub struct Pcg64 {
    state: u128,
    increment: u128,
    /// High half of a 64-bit draw of which only the low half was used.
    spare: Option<u32>,
}

impl Pcg64 {
    /// Returns the generator that `numpy.random.default_rng(seed)` returns.
    pub fn new(seed: u64) -> Self {
        let words = seed_sequence(seed);
        let pair = |high: usize| u128::from(words[high]) << 64 | u128::from(words[high + 1]);
        let (initial, sequence) = (pair(0), pair(2));
        let mut generator = Self { state: 0, increment: sequence << 1 | 1, spare: None };
        generator.step();
        generator.state = generator.state.wrapping_add(initial);
        generator.step();
        generator
    }

    fn step(&mut self) {
        self.state = self.state.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
    }

    /// Returns the next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.step();
        let folded = low_half(self.state >> 64) ^ low_half(self.state);
        folded.rotate_right(u32::try_from(self.state >> 122).expect("six bits remain"))
    }

    /// Returns the next 32 bits: the low half of a 64-bit draw first, then its high half.
    pub fn next_u32(&mut self) -> u32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let draw = self.next_u64();
        self.spare = u32::try_from(draw >> 32).ok();
        u32::try_from(draw & 0xFFFF_FFFF).expect("32 bits remain")
    }

    /// Returns an integer in `0..=max` by masked rejection, as numpy's shuffles draw it.
    fn interval(&mut self, max: u64) -> u64 {
        if max == 0 {
            return 0;
        }
        let mask = u64::MAX >> max.leading_zeros();
        loop {
            let draw =
                if max <= 0xFFFF_FFFF { u64::from(self.next_u32()) } else { self.next_u64() };
            if draw & mask <= max {
                return draw & mask;
            }
        }
    }

    /// Returns `Generator.permutation(n)`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for last in (1..n).rev() {
            let other = self.interval(last as u64);
            order.swap(last, usize::try_from(other).expect("at most `last`, a usize"));
        }
        order
    }
}

fn low_half(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).expect("64 bits remain")
}

/// numpy's `SeedSequence(seed).generate_state(4, uint64)`.
fn seed_sequence(seed: u64) -> [u64; 4] {
    const POOL: usize = 4;
    let halves =
        [seed & 0xFFFF_FFFF, seed >> 32].map(|half| u32::try_from(half).expect("32 bits remain"));
    // A seed below 2^32 is one word of entropy; missing words are mixed in as zeros.
    let mut multiplier: u32 = 0x43B0_D7E5;
    let mut hash = |value: u32| {
        let value = value ^ multiplier;
        multiplier = multiplier.wrapping_mul(0x931E_8875);
        let value = value.wrapping_mul(multiplier);
        value ^ value >> 16
    };
    let mix = |x: u32, y: u32| {
        let mixed = x.wrapping_mul(0xCA01_F9DD).wrapping_sub(y.wrapping_mul(0x4973_F715));
        mixed ^ mixed >> 16
    };
    let mut pool = [0; POOL];
    for (index, slot) in pool.iter_mut().enumerate() {
        *slot = hash(halves.get(index).copied().unwrap_or(0));
    }
    for source in 0..POOL {
        for target in (0..POOL).filter(|target| *target != source) {
            pool[target] = mix(pool[target], hash(pool[source]));
        }
    }
    let mut multiplier: u32 = 0x8B51_F9DD;
    let mut words = [0; 2 * POOL];
    for (index, word) in words.iter_mut().enumerate() {
        let value = pool[index % POOL] ^ multiplier;
        multiplier = multiplier.wrapping_mul(0x58F3_8DED);
        let value = value.wrapping_mul(multiplier);
        *word = value ^ value >> 16;
    }
    std::array::from_fn(|index| u64::from(words[2 * index]) | u64::from(words[2 * index + 1]) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: numpy 2.4.6, `SeedSequence(42).generate_state(4, uint64)`.
    #[test]
    fn seed_sequence_of_42_is_numpys() {
        let expected = [
            0x9F1E_2E6D_CD54_0AB7,
            0xD578_73DC_79FB_94B6,
            0x7D28_2A1B_64D4_20B7,
            0x3365_7971_4692_D5FF,
        ];
        assert_eq!(seed_sequence(42), expected);
    }

    #[test]
    fn an_empty_permutation_is_empty() {
        assert!(Pcg64::new(1).permutation(0).is_empty());
    }
}
