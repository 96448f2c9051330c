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
    /// The second normal value of a pair.
    spare_normal: Option<f64>,
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
        Self { words, next: SIZE, spare_normal: None }
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

    /// Returns `n` values as `normal_(0, deviation)` draws f32 on the CPU: Box-Muller on blocks of 16
    /// uniform draws, below 16 values one pair at a time.
    ///
    /// The draws are torch's; values differ from its vectorised functions by a few units in the
    /// last place.
    pub fn normals(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        const BLOCK: usize = 16;
        if n < BLOCK {
            return self.few_normals(n, deviation);
        }
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform(0.0, 1.0)).collect();
        for block in values.chunks_exact_mut(BLOCK) {
            box_muller(block, deviation);
        }
        if !n.is_multiple_of(BLOCK) {
            // The last block is drawn anew, over the end of the one before.
            let last = &mut values[n - BLOCK..];
            last.iter_mut().for_each(|value| *value = self.uniform(0.0, 1.0));
            box_muller(last, deviation);
        }
        values
    }

    #[expect(clippy::cast_possible_truncation, reason = "torch draws in f64 and stores f32")]
    fn few_normals(&mut self, n: usize, deviation: f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(n);
        while values.len() < n {
            let normal = match self.spare_normal.take() {
                Some(normal) => normal,
                None => {
                    let (turn, size) = (self.uniform_f64(), self.uniform_f64());
                    let radius = (-2.0 * libm::log1p(-size)).sqrt();
                    let angle = std::f64::consts::TAU * turn;
                    self.spare_normal = Some(radius * libm::sin(angle));
                    radius * libm::cos(angle)
                }
            };
            values.push((normal * f64::from(deviation)) as f32);
        }
        values
    }

    /// A value in [0, 1) of 53 random bits.
    fn uniform_f64(&mut self) -> f64 {
        (self.next_u64() & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
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

/// Makes 16 uniform values normal: the first eight are radii, the others angles.
fn box_muller(block: &mut [f32], deviation: f32) {
    let (radii, angles) = block.split_at_mut(8);
    for (radius, angle) in radii.iter_mut().zip(angles) {
        let size = (-2.0 * libm::logf(1.0 - *radius)).sqrt();
        let turn = std::f32::consts::TAU * *angle;
        *radius = size * libm::cosf(turn) * deviation;
        *angle = size * libm::sinf(turn) * deviation;
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
