//! Which token comes next: transformers' filters in their order, then a draw of our own.
//!
//! Temperature, top-k with ties kept, top-p over what is left; greedy ties go to the lowest id.
//! The filtered distribution is transformers'; the draw depends on the seed of the attempt alone.
//! Source: `transformers` 5.23.0, `TemperatureLogitsWarper`, `TopKLogitsWarper`, `TopPLogitsWarper`.

use crate::{protocol::Sampling, stats::Generator};

/// Returns the most likely token, the lowest id of several.
///
/// `None` where the logits hold no distribution: one is NaN or infinite, or there is none.
pub fn greedy(logits: &[f32]) -> Option<u32> {
    if logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        return None;
    }
    // `max_by` keeps the last of equals, hence the reversal.
    let best = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]))?;
    u32::try_from(best).ok()
}

/// Returns the tokens that survive the filters with their probabilities, by ascending id.
///
/// `None` if a logit is NaN, or none is above negative infinity.
pub fn filtered(logits: &[f32], sampling: &Sampling) -> Option<Vec<(u32, f64)>> {
    #[expect(clippy::cast_possible_truncation, reason = "the reference divides in f32")]
    let temperature = sampling.temperature as f32;
    let mut kept: Vec<(u32, f32)> = Vec::with_capacity(logits.len());
    for (id, logit) in (0..).zip(logits) {
        if logit.is_nan() {
            return None;
        }
        if *logit > f32::NEG_INFINITY {
            kept.push((id, logit / temperature));
        }
    }
    if sampling.top_k > 0 && sampling.top_k < kept.len() {
        let mut scores: Vec<f32> = kept.iter().map(|(_, score)| *score).collect();
        let at = scores.len() - sampling.top_k;
        let (_, limit, _) = scores.select_nth_unstable_by(at, f32::total_cmp);
        let limit = *limit;
        kept.retain(|(_, score)| *score >= limit);
    }
    if sampling.top_p < 1.0 {
        keep_mass(&mut kept, sampling.top_p);
    }
    let probabilities = softmax(kept.iter().map(|(_, score)| *score))?;
    Some(kept.into_iter().map(|(id, _)| id).zip(probabilities).collect())
}

/// Drops the least likely tokens as long as what is dropped has at most `1 - top_p` of the mass.
///
/// Of equally likely tokens the lowest id is dropped first, as a stable ascending sort has it.
fn keep_mass(kept: &mut Vec<(u32, f32)>, top_p: f64) {
    // A sort by score alone is stable: ids ascend among equals.
    kept.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    let Some(probabilities) = softmax(kept.iter().map(|(_, score)| *score)) else { return };
    #[expect(clippy::cast_possible_truncation, reason = "the reference compares in f32")]
    let limit = (1.0 - top_p) as f32;
    let mut mass = 0.0_f64;
    let below = probabilities.iter().position(|probability| {
        // Probabilities in f32, summed in f64, compared in f32: as torch does on the CPU.
        #[expect(clippy::cast_possible_truncation, reason = "as in torch")]
        let probability = *probability as f32;
        mass += f64::from(probability);
        #[expect(clippy::cast_possible_truncation, reason = "as in torch")]
        let above = mass as f32 > limit;
        above
    });
    let dropped = below.unwrap_or(kept.len()).min(kept.len().saturating_sub(1));
    kept.drain(..dropped);
    kept.sort_unstable_by_key(|(id, _)| *id);
}

/// Returns `None` without a finite maximum.
fn softmax(scores: impl Iterator<Item = f32> + Clone) -> Option<Vec<f64>> {
    let highest = scores.clone().reduce(f32::max).filter(|highest| highest.is_finite())?;
    let mut values: Vec<f64> =
        scores.map(|score| libm::exp(f64::from(score) - f64::from(highest))).collect();
    let sum: f64 = values.iter().sum();
    for value in &mut values {
        *value /= sum;
    }
    Some(values)
}

/// Picks the next token; draws once from `random` unless greedy. `None` for logits without a
/// distribution.
pub fn pick(logits: &[f32], sampling: &Sampling, random: &mut Generator) -> Option<u32> {
    if sampling.greedy {
        return greedy(logits);
    }
    let kept = filtered(logits, sampling)?;
    let mut left = random.uniform();
    for (id, probability) in &kept {
        left -= probability;
        if left < 0.0 {
            return Some(*id);
        }
    }
    // Rounding left a sliver behind the last token.
    kept.last().map(|(id, _)| *id)
}
