//! torch's CPU generator: the Mersenne Twister mt19937, and the draws torch makes of it.
//!
//! Source: torch 2.13.0, `torch.Generator`, `randperm`, `Tensor.uniform_`.

/// Words of state.
const SIZE: usize = 624;
/// Distance of the word that is folded in.
const SHIFT: usize = 397;

/// torch's CPU generator.
#[derive(Debug, Clone)]
pub struct Mt19937 {
    words: [u32; SIZE],
    next: usize,
}

impl Mt19937 {
    /// Returns the generator after `manual_seed(seed)`; only the low 32 bits count, as in torch.
    pub fn new(seed: u64) -> Self {
        let mut words = [0; SIZE];
        words[0] = u32::try_from(seed & 0xFFFF_FFFF).expect("32 bits remain");
        for (index, step) in (1..SIZE).zip(1u32..) {
            let before = words[index - 1];
            words[index] = (before ^ before >> 30).wrapping_mul(1_812_433_253).wrapping_add(step);
        }
        Self { words, next: SIZE }
    }

    fn refill(&mut self) {
        for index in 0..SIZE {
            let joined =
                self.words[index] & 0x8000_0000 | self.words[(index + 1) % SIZE] & 0x7FFF_FFFF;
            let twist = if joined & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.words[index] = self.words[(index + SHIFT) % SIZE] ^ joined >> 1 ^ twist;
        }
        self.next = 0;
    }

    /// Returns the next 32 bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == SIZE {
            self.refill();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= word << 7 & 0x9D2C_5680;
        word ^= word << 15 & 0xEFC6_0000;
        word ^ word >> 18
    }

    /// Returns the next 64 bits: the first draw is the high half.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        high << 32 | u64::from(self.next_u32())
    }

    /// Returns a value in `low..high` as `uniform_` draws an f32: 24 random bits, scaled and shifted in
    /// one fused operation.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        const STEP: f32 = 1.0 / 16_777_216.0;
        let unit = (self.next_u32() & 0x00FF_FFFF) as f32 * STEP;
        unit.mul_add(high - low, low)
    }

    /// Returns `torch.randperm(n)`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for first in 0..n.saturating_sub(1) {
            let offset = u64::from(self.next_u32()) % (n - first) as u64;
            order.swap(first, first + usize::try_from(offset).expect("below n, a usize"));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the reference implementation's published output for seed 5489 (Matsumoto and
    /// Nishimura 1998, as fixed by the C++ standard): draw 10,000 is 4,123,659,995.
    #[test]
    fn draw_ten_thousand_is_the_published_one() {
        let mut generator = Mt19937::new(5489);
        let last = (0..10_000).map(|_| generator.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
