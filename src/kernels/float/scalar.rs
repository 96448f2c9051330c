//! The definition of each float kernel: plain loops with a stated order.
//!
//! The bodies are inlined into the wider sets, which compile them for their instruction set.
//! A sum over a row runs in [`ACCUMULATORS`] interleaved partial sums, folded by halves.

use super::{AdamWFactors, LANES};

/// Interleaved partial sums of a dot product.
const ACCUMULATORS: usize = 16;

/// See [`Kernels::tile`](super::Kernels::tile).
pub fn tile(rows: usize, x: &[f32], w: &[f32], acc: &mut [[f32; LANES]]) {
    for (x, w) in x.chunks_exact(rows).zip(w.chunks_exact(LANES)) {
        for (&x, acc) in x.iter().zip(&mut *acc) {
            for (w, acc) in w.iter().zip(acc) {
                *acc = x.mul_add(*w, *acc);
            }
        }
    }
}

/// Folds the partial sums: halves are added until one is left.
#[inline(always)]
fn fold(mut sums: [f32; ACCUMULATORS]) -> f32 {
    let mut width = ACCUMULATORS / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// Returns the dot product of two vectors of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; ACCUMULATORS];
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<ACCUMULATORS>(), b.as_chunks::<ACCUMULATORS>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..ACCUMULATORS {
            sums[i] = a[i].mul_add(b[i], sums[i]);
        }
    }
    for (sum, (a, b)) in sums.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *sum = a.mul_add(*b, *sum);
    }
    fold(sums)
}

/// Returns `e^x` within 2 units in the last place; 0 below -87.3, infinity above 88.7, NaN for NaN.
///
/// Our own, because the C library's differs between machines.
/// Source: range reduction and polynomial of Cephes `expf` (Moshier).
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.722_83;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(LOW, HIGH);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, clamped));
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = r.mul_add(p, c);
    }
    let p = (r * r).mul_add(p, r) + 1.0;
    // 2^n in two factors, so that neither end overflows on the way.
    let bits = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let half = (bits.cast_signed() >> 1).cast_unsigned();
    let rest = bits.wrapping_sub(half);
    let power = |n: u32| f32::from_bits(n.wrapping_add(127) << 23);
    let e = p * power(half) * power(rest);
    if x < LOW {
        0.0
    } else if x > HIGH {
        f32::INFINITY
    } else {
        e
    }
}

/// Returns the largest element; NaN is passed over.
#[inline(always)]
fn highest(x: &[f32]) -> f32 {
    let mut highest = [f32::NEG_INFINITY; ACCUMULATORS];
    let (chunks, tail) = x.as_chunks::<ACCUMULATORS>();
    for chunk in chunks {
        for i in 0..ACCUMULATORS {
            highest[i] = if chunk[i] > highest[i] { chunk[i] } else { highest[i] };
        }
    }
    for (highest, x) in highest.iter_mut().zip(tail) {
        *highest = if *x > *highest { *x } else { *highest };
    }
    highest.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// See [`Kernels::softmax`](super::Kernels::softmax).
#[inline(always)]
pub fn softmax(scores: &mut [f32]) -> (f32, f32) {
    let highest = highest(scores);
    let mut sums = [0.0; ACCUMULATORS];
    let (chunks, tail) = scores.as_chunks_mut::<ACCUMULATORS>();
    for chunk in chunks {
        for i in 0..ACCUMULATORS {
            chunk[i] = exp(chunk[i] - highest);
            sums[i] += chunk[i];
        }
    }
    for (sum, score) in sums.iter_mut().zip(tail) {
        *score = exp(*score - highest);
        *sum += *score;
    }
    (highest, fold(sums))
}

/// See [`Kernels::exp_scaled`](super::Kernels::exp_scaled).
#[inline(always)]
pub fn exp_scaled(x: &mut [f32], factor: f32, shift: f32) {
    for x in x {
        *x = exp(x.mul_add(factor, -shift));
    }
}

/// See [`Kernels::adamw`](super::Kernels::adamw).
#[inline(always)]
pub fn adamw(
    factors: &AdamWFactors,
    parameter: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let AdamWFactors { shrink, fresh1, keep2, fresh2, size, root, eps } = *factors;
    let moments = first.iter_mut().zip(second);
    for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
        *m = fresh1.mul_add(g - *m, *m);
        *v = *v * keep2 + fresh2 * g * g;
        *p = *p * shrink + size * *m / (v.sqrt() / root + eps);
    }
}

/// See [`Kernels::rms_norm`](super::Kernels::rms_norm).
#[inline(always)]
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32, out: &mut [f32]) {
    let factor = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(w) {
        *out = w * (x * factor);
    }
}

/// See [`Kernels::rms_norm_backward`](super::Kernels::rms_norm_backward).
#[inline(always)]
pub fn rms_norm_backward(x: &[f32], w: &[f32], g: &[f32], eps: f32, out: &mut [f32]) -> f32 {
    let factor = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
    for ((out, g), w) in out.iter_mut().zip(g).zip(w) {
        *out = g * w;
    }
    // With n = x * r: dx = r * (g * w - n * mean(g * w * n)).
    let mean = dot(out, x) * factor / x.len() as f32;
    for (out, x) in out.iter_mut().zip(x) {
        *out = factor * (*out - x * factor * mean);
    }
    factor
}

/// See [`Kernels::swiglu`](super::Kernels::swiglu).
#[inline(always)]
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

/// See [`Kernels::swiglu_backward`](super::Kernels::swiglu_backward).
#[inline(always)]
pub fn swiglu_backward(
    gate: &[f32],
    up: &[f32],
    g: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) {
    let grads = grad_gate.iter_mut().zip(grad_up);
    for (((gate, up), g), (grad_gate, grad_up)) in gate.iter().zip(up).zip(g).zip(grads) {
        let s = 1.0 / (1.0 + exp(-gate));
        *grad_gate = g * up * s * (1.0 + gate * (1.0 - s));
        *grad_up = g * gate * s;
    }
}

/// See [`Kernels::log_sum_exp`](super::Kernels::log_sum_exp).
///
/// Exponentials in f32, summed in f64 in 16 interleaved parts.
#[inline(always)]
pub fn log_sum_exp(x: &[f32]) -> f64 {
    let highest = highest(x);
    if !highest.is_finite() || x.iter().any(|x| x.is_nan()) {
        return if highest == f32::INFINITY { f64::INFINITY } else { f64::NAN };
    }
    let mut sums = [0.0_f64; ACCUMULATORS];
    let (chunks, tail) = x.as_chunks::<ACCUMULATORS>();
    for chunk in chunks {
        for i in 0..ACCUMULATORS {
            sums[i] += f64::from(exp(chunk[i] - highest));
        }
    }
    for (sum, x) in sums.iter_mut().zip(tail) {
        *sum += f64::from(exp(x - highest));
    }
    f64::from(highest) + libm::log(sums.iter().sum::<f64>())
}
