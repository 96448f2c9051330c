//! Float inner loops of the network, chosen once per process by CPU feature.
//!
//! [`scalar`] defines every kernel; the other files compile or spell out the same arithmetic for a
//! wider instruction set. Every sum has one order, every product-and-sum is one fused operation
//! ([`f32::mul_add`]), so that all sets give the same bits and a row's result does not depend on
//! which other rows are computed beside it.

pub mod scalar;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls behind checks of the processor")]
mod x86;

use std::sync::LazyLock;

pub use super::words::LANES;

use super::{
    Level, scalar as definition,
    words::{BLOCK_STEPS, Line, Pair, TileKernel, WORDS},
};

/// Heights of the tiles of [`Kernels::tile`], tallest first.
pub const TILE_ROWS: [usize; 5] = [12, 8, 4, 2, 1];

/// See [`Kernels::rms_norm_backward`].
type RmsNormBackward = fn(&[f32], &[f32], &[f32], f32, &mut [f32]) -> f32;

/// See [`Kernels::swiglu_backward`].
type SwigluBackward = fn(&[f32], &[f32], &[f32], &mut [f32], &mut [f32]);

/// See [`Kernels::adamw`].
type AdamWUpdate = fn(&AdamWFactors, &mut [f32], &[f32], &mut [f32], &mut [f32]);

/// Factors of an update of [`Kernels::adamw`].
#[derive(Debug, Clone, Copy)]
pub struct AdamWFactors {
    /// Of the parameter: 1 less its decay.
    pub shrink: f32,
    /// Of what is new in the first moment.
    pub fresh1: f32,
    /// Of what was in the second moment.
    pub keep2: f32,
    /// Of what is new in the second moment.
    pub fresh2: f32,
    /// Of the quotient that is added.
    pub size: f32,
    /// What the second moment's root is divided by.
    pub root: f32,
    /// Added to that.
    pub eps: f32,
}

/// See [`Kernels::tile`].
type PlainTile = fn(usize, &[f32], &[f32], &mut [[f32; LANES]]);

/// One implementation of every kernel.
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    /// Name written into run records, e.g. `avx512f`.
    pub name: &'static str,
    /// What a processor must have for it.
    pub level: Level,
    /// f32 words; the same bits on every set.
    pub(super) f32_tile: TileKernel,
    /// As [`Self::f32_tile`], bit for bit, of a right operand in bf16, 8 words a step.
    pub(super) spread_tile: Option<TileKernel>,
    /// bf16 words, where the processor multiplies them.
    pub(super) bf16_tile: Option<TileKernel>,
    pub(super) spread_f16: fn(&[Pair], &mut [Pair]),
    pub(super) spread_bf16: fn(&[Pair], &mut [Pair]),
    pub(super) split_bf16: fn(&[Pair], &mut [Line]),
    pub(super) spread_int8: fn(&[Pair], &[f32; LANES], &mut [Pair]),
    pub(super) narrow_pairs: fn(&[Pair], &mut [Pair]),
    pub(super) narrow_line: fn(&Pair, &mut Line),
    pub(super) narrow_rest: fn(&mut Pair),
    pub(super) halve_int8: fn(&[Pair], &mut [Pair]),
    pub(super) transpose: fn(&mut [Line; WORDS]),
    tile: PlainTile,
    softmax: fn(&mut [f32]) -> (f32, f32),
    exp_scaled: fn(&mut [f32], f32, f32),
    rms_norm: fn(&[f32], &[f32], f32, &mut [f32]),
    rms_norm_backward: RmsNormBackward,
    swiglu: fn(&[f32], &[f32], &mut [f32]),
    swiglu_backward: SwigluBackward,
    log_sum_exp: fn(&[f32]) -> f64,
    adamw: AdamWUpdate,
}

impl Kernels {
    /// Returns the set this process uses: the widest the CPU has within [`Level::limit`].
    pub fn get() -> &'static Self {
        static CHOSEN: LazyLock<Kernels> = LazyLock::new(|| {
            let limit = Level::limit().unwrap_or_default();
            let sets = Kernels::available();
            let chosen = sets.iter().rev().find(|set| limit.is_none_or(|limit| set.level <= limit));
            *chosen.expect("scalar kernels are always present")
        });
        &CHOSEN
    }

    /// Returns every set this CPU can run, narrowest (scalar) first. Tests walk this list.
    pub fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "one set only"))]
        let mut sets = vec![Self {
            name: "scalar",
            level: Level::Scalar,
            f32_tile: TileKernel {
                heights: definition::HEIGHTS,
                block_steps: BLOCK_STEPS,
                run: definition::f32_tile,
            },
            spread_tile: None,
            bf16_tile: None,
            spread_f16: definition::spread_f16,
            spread_bf16: definition::spread_bf16,
            split_bf16: definition::split_bf16,
            spread_int8: definition::spread_int8,
            narrow_pairs: definition::narrow_pairs,
            narrow_line: definition::narrow_line,
            narrow_rest: definition::narrow_rest,
            halve_int8: definition::halve_int8,
            transpose: definition::transpose,
            tile: scalar::tile,
            softmax: scalar::softmax,
            exp_scaled: scalar::exp_scaled,
            rms_norm: scalar::rms_norm,
            rms_norm_backward: scalar::rms_norm_backward,
            swiglu: scalar::swiglu,
            swiglu_backward: scalar::swiglu_backward,
            log_sum_exp: scalar::log_sum_exp,
            adamw: scalar::adamw,
        }];
        #[cfg(target_arch = "x86_64")]
        sets.extend(x86::kernels());
        sets
    }

    /// Computes `acc[r] += sum_k x[k][r] * w[k]` for `rows` rows, `k` ascending, one fused
    /// operation each.
    ///
    /// `x: [k, rows]`, `w: [k, LANES]` (a panel), `acc: [rows, LANES]`. For small operands that are
    /// not worth packing, as those of attention.
    ///
    /// # Panics
    ///
    /// If the lengths disagree or `rows` is not one of [`TILE_ROWS`].
    pub fn tile(&self, rows: usize, x: &[f32], w: &[f32], acc: &mut [[f32; LANES]]) {
        assert!(TILE_ROWS.contains(&rows), "no tile of {rows} rows");
        assert_eq!(acc.len(), rows, "tile: rows of the result");
        assert_eq!(x.len() * LANES, w.len() * rows, "tile: inner lengths");
        (self.tile)(rows, x, w, acc);
    }

    /// Replaces scores by `e^(score - highest)`; returns the highest and the sum of the results.
    ///
    /// The sum runs in 16 interleaved parts.
    pub fn softmax(&self, scores: &mut [f32]) -> (f32, f32) {
        (self.softmax)(scores)
    }

    /// Replaces each element by `e^(factor * x - shift)`.
    pub fn exp_scaled(&self, x: &mut [f32], factor: f32, shift: f32) {
        (self.exp_scaled)(x, factor, shift);
    }

    /// Writes `w * (x / sqrt(mean(x^2) + eps))` for one row.
    ///
    /// Source: Zhang and Sennrich 2019, equation 4, with the eps of LLaMA's implementation.
    pub fn rms_norm(&self, x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
        (self.rms_norm)(x, w, eps, out);
    }

    /// Writes the gradient of a row of [`Kernels::rms_norm`] for the gradient `g` of its result;
    /// returns `r = 1 / sqrt(mean(x^2) + eps)`.
    ///
    /// `r * (g * w - n * mean(g * w * n))` with `n = x * r`.
    pub fn rms_norm_backward(
        &self,
        x: &[f32],
        w: &[f32],
        g: &[f32],
        eps: f32,
        out: &mut [f32],
    ) -> f32 {
        (self.rms_norm_backward)(x, w, g, eps, out)
    }

    /// Writes `silu(gate) * up`, element by element.
    ///
    /// Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
    pub fn swiglu(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        (self.swiglu)(gate, up, out);
    }

    /// Writes the gradients of [`Kernels::swiglu`] for the gradient `g` of its result.
    ///
    /// With `s = sigmoid(gate)`: `g * up * s * (1 + gate * (1 - s))` and `g * gate * s`.
    pub fn swiglu_backward(
        &self,
        gate: &[f32],
        up: &[f32],
        g: &[f32],
        grad_gate: &mut [f32],
        grad_up: &mut [f32],
    ) {
        (self.swiglu_backward)(gate, up, g, grad_gate, grad_up);
    }

    /// Moves the moments by a gradient g and the parameter p by the moments m and v:
    /// `m += fresh1 (g - m)`, fused; `v = v keep2 + fresh2 g g`; `p = p shrink + size m / (sqrt(v) /
    /// root + eps)`, not fused.
    pub fn adamw(
        &self,
        factors: &AdamWFactors,
        parameter: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        (self.adamw)(factors, parameter, gradient, first, second);
    }

    /// Returns the natural logarithm of the sum of exponentials, NaN if an element is NaN.
    pub fn log_sum_exp(&self, x: &[f32]) -> f64 {
        (self.log_sum_exp)(x)
    }
}

#[cfg(test)]
mod tests;
