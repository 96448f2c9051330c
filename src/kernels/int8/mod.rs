//! Products of int8 matrices, exact, and of floats with an int8 matrix, for LLM.int8().
//!
//! Each kernel has a scalar version that *defines* the result, one file per instruction set, and a
//! field in [`Kernels`]. Integer kernels, the conversions and the f32 products equal the scalar
//! version bit for bit on every set: each output is one chain of operations in a fixed order,
//! vectors only hold several outputs. The bf16 products state their bound. Threads share out
//! whole chains, so results do not depend on their number. What the codes mean is left to `quant`.

mod packed;
mod product;
mod scalar;

#[cfg(target_arch = "aarch64")]
#[expect(unsafe_code, reason = "calls behind a check of the processor")]
mod arm;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vendor intrinsics, each with its SAFETY comment")]
mod x86;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use super::Precision;
use super::{
    Level,
    words::{LANES, Pair, TileKernel},
};
pub use packed::{MAX_INPUTS, PackError, PackedInt8};
pub use product::Sums;

/// One implementation of every kernel.
///
/// Fields are the tile functions of one instruction set; the products built of them are methods
/// (see [`Kernels::int8_product`]).
#[derive(Clone, Copy)]
pub struct Kernels {
    /// Name written into run records, e.g. `avx512vnni`.
    pub name: &'static str,
    /// What a processor must have for it.
    pub level: Level,
    tile: TileKernel,
    /// What the words of the left operand are combined with by exclusive or: 128 is added to each
    /// code where it must be unsigned, and taken off again by `corrections`.
    shift: u32,
    dequantize_row: fn(&[i32], f32, &[f32], f32, &mut [f32]),
    dequantize_lanes: fn(&Pair, f32, &[f32; LANES], f32, &mut [f32; LANES]),
    round_to_half: fn(&[f32], &mut [f32]),
    all_below: fn(&[f32], f32) -> bool,
    absmax_below: fn(&[f32], f32) -> f32,
    quantize_row: fn(&[f32], f32, f32, &mut [i8]),
}

impl Kernels {
    /// Returns the set this process uses: the fastest there is within [`Level::limit`].
    pub fn get() -> &'static Self {
        static CHOSEN: LazyLock<Kernels> = LazyLock::new(|| {
            let limit = Level::limit().unwrap_or_default();
            let sets = Kernels::available();
            let chosen = sets.iter().rev().find(|set| limit.is_none_or(|limit| set.level <= limit));
            *chosen.expect("the scalar set is always there")
        });
        &CHOSEN
    }

    /// Returns every set this processor can run, `scalar` first, the fastest last.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::kernels::int8::Kernels;
    ///
    /// assert_eq!(Kernels::available()[0].name, "scalar");
    /// ```
    pub fn available() -> Vec<Self> {
        #[cfg_attr(
            not(any(target_arch = "x86_64", target_arch = "aarch64")),
            expect(unused_mut, reason = "only the scalar set")
        )]
        let mut sets = vec![scalar::KERNELS];
        #[cfg(target_arch = "x86_64")]
        sets.extend(x86::kernels());
        #[cfg(target_arch = "aarch64")]
        sets.extend(arm::kernels());
        sets
    }

    /// Writes each value rounded to half precision (ties to even), in f32.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn round_to_half(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "one value an element");
        (self.round_to_half)(x, out);
    }

    /// Returns whether the magnitude of every element is below `limit`; NaN is not.
    pub fn all_below(&self, x: &[f32], limit: f32) -> bool {
        (self.all_below)(x, limit)
    }

    /// Returns the largest magnitude in `x` that is below `limit`, 0 if there is none.
    pub fn absmax_below(&self, x: &[f32], limit: f32) -> f32 {
        (self.absmax_below)(x, limit)
    }

    /// Writes `round_half_even(x * scale)` where `|x| < limit`, else 0.
    ///
    /// The caller keeps the products of those elements within -127.5 to 127.5.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn quantize_row(&self, x: &[f32], scale: f32, limit: f32, out: &mut [i8]) {
        assert_eq!(x.len(), out.len(), "one code an element");
        (self.quantize_row)(x, scale, limit, out);
    }
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kernels({})", self.name)
    }
}
