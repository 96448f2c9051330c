//! The definition of each float kernel: plain loops with a stated order.
//!
//! The bodies are inlined into the wider sets, which compile them for their instruction set.
//! A sum over a row runs in [`ACCUMULATORS`] interleaved partial sums, folded by halves.

use super::{AttendBackward, KeyValues, LANES, Weight};

/// Interleaved partial sums of a dot product.
const ACCUMULATORS: usize = 16;

/// See [`Kernels::tile`](super::Kernels::tile).
pub fn tile<W: Weight>(rows: usize, x: &[f32], w: &[W], acc: &mut [[f32; LANES]]) {
    for (x, w) in x.chunks_exact(rows).zip(w.chunks_exact(LANES)) {
        for (&x, acc) in x.iter().zip(&mut *acc) {
            for (w, acc) in w.iter().zip(acc) {
                *acc = x.mul_add(w.to_f32(), *acc);
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

/// Adds `factor * x` to `acc`.
#[inline(always)]
fn add_scaled(acc: &mut [f32], factor: f32, x: &[f32]) {
    for (acc, x) in acc.iter_mut().zip(x) {
        *acc = factor.mul_add(*x, *acc);
    }
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

/// See [`Kernels::attend`](super::Kernels::attend).
#[inline(always)]
pub fn attend(
    query: &[f32],
    parts: &[KeyValues<'_>],
    scale: f32,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) -> f32 {
    let d = query.len();
    scores.clear();
    let mut highest = f32::NEG_INFINITY;
    for part in parts {
        for j in 0..part.len {
            let score = dot(query, &part.keys[j * part.stride..][..d]) * scale;
            highest = highest.max(score);
            scores.push(score);
        }
    }
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    let mut sum = 0.0;
    for score in scores.iter() {
        sum += score;
    }
    out.fill(0.0);
    let mut weights = scores.iter();
    for part in parts {
        for (j, weight) in (0..part.len).zip(&mut weights) {
            add_scaled(out, *weight, &part.values[j * part.stride..][..d]);
        }
    }
    let inverse = 1.0 / sum;
    for value in out.iter_mut() {
        *value *= inverse;
    }
    highest + libm::logf(sum)
}

/// See [`Kernels::attend_backward`](super::Kernels::attend_backward).
#[inline(always)]
pub fn attend_backward(
    input: &AttendBackward<'_>,
    grad_query: &mut [f32],
    grad_keys: &mut [f32],
    grad_values: &mut [f32],
) {
    let AttendBackward { query, seen, log_sum, scale, out, grad } = *input;
    let d = query.len();
    // With p the softmax and o the output: ds_j = p_j * (g . v_j - g . o).
    let mean = dot(grad, out);
    for j in 0..seen.len {
        let row = j * seen.stride..j * seen.stride + d;
        let (key, value) = (&seen.keys[row.clone()], &seen.values[row.clone()]);
        let p = exp(dot(query, key).mul_add(scale, -log_sum));
        let ds = p * (dot(grad, value) - mean) * scale;
        add_scaled(&mut grad_values[row.clone()], p, grad);
        add_scaled(&mut grad_keys[row], ds, query);
        add_scaled(grad_query, ds, key);
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

/// See [`Kernels::swiglu`](super::Kernels::swiglu).
#[inline(always)]
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

/// See [`Kernels::log_sum_exp`](super::Kernels::log_sum_exp).
///
/// Exponentials in f32, summed in f64 in 16 interleaved parts.
#[inline(always)]
pub fn log_sum_exp(x: &[f32]) -> f64 {
    let highest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
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
