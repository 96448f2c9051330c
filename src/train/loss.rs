//! Cross-entropy of the next token, over the rows that have one to predict, and its gradient.
//!
//! The output matrix is applied to those rows alone, some at a time: no more than a piece of the
//! logits is ever held, and the gradient of a piece is made where the piece is.
//! Source: transformers 5.23.0, `ForCausalLMLoss` (f32 logits, labels shifted, -100 left out).

use rayon::prelude::*;

use super::Gradients;
use crate::{
    kernels::float::Kernels,
    llama::{NetworkError, Stages},
};

/// Logits held at once, in values: 16 MiB.
const LOGITS: usize = 1 << 22;

/// Returns the summed, unscaled loss in nats of a pass, and the gradient of `states` times the scale
/// that is given with what receives the output matrix's; empty where none is.
///
/// `states: [t, d]` behind the last norm, `targets: [t]`. Sums over rows are in f64, in order.
pub(super) fn cross_entropy(
    stages: &Stages<'_>,
    states: &[f32],
    targets: &[Option<u32>],
    mut wanted: Option<(f32, &mut Gradients)>,
) -> Result<(f64, Vec<f32>), NetworkError> {
    let width = states.len() / targets.len().max(1);
    let vocabulary = stages.vocabulary();
    let learnt: Vec<(usize, u32)> =
        targets.iter().enumerate().filter_map(|(row, t)| Some((row, (*t)?))).collect();
    let mut grad_states = vec![0.0; if wanted.is_some() { states.len() } else { 0 }];
    let mut sum = 0.0;
    for piece in learnt.chunks((LOGITS / vocabulary).max(1)) {
        let at: Vec<usize> = piece.iter().map(|(row, _)| *row).collect();
        let mut rows = Vec::with_capacity(piece.len() * width);
        for row in &at {
            rows.extend_from_slice(&states[row * width..][..width]);
        }
        let mut logits = stages.logits(&rows, &at)?;
        let scale = wanted.as_ref().map(|(scale, _)| *scale);
        sum += losses(&mut logits.values, vocabulary, piece, scale);
        let Some((_, gradients)) = &mut wanted else { continue };
        let grad = logits.pull_back(&rows, *gradients)?;
        for (row, grad) in at.into_iter().zip(grad.chunks(width)) {
            grad_states[row * width..][..width].copy_from_slice(grad);
        }
    }
    Ok((sum, grad_states))
}

/// Returns the summed loss of `logits`, `[rows, vocabulary]`; with a scale they become the
/// gradient, `scale * (softmax - one-hot)`.
fn losses(logits: &mut [f32], vocabulary: usize, rows: &[(usize, u32)], scale: Option<f32>) -> f64 {
    let row = |(logits, (_, target)): (&mut [f32], &(usize, u32))| {
        let target = usize::try_from(*target).expect("a token id fits");
        let log_sum = Kernels::get().log_sum_exp(logits);
        let loss = log_sum - f64::from(logits[target]);
        if let Some(scale) = scale {
            #[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
            let log_sum = log_sum as f32;
            Kernels::get().exp_scaled(logits, 1.0, log_sum);
            logits.iter_mut().for_each(|share| *share *= scale);
            logits[target] -= scale;
        }
        loss
    };
    let losses: Vec<f64> = logits.par_chunks_mut(vocabulary).zip(rows).map(row).collect();
    losses.into_iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_logits_cost_the_logarithm_of_their_number() {
        let mut logits = vec![0.5; 2 * 8];
        let sum = losses(&mut logits, 8, &[(0, 3), (1, 7)], Some(2.0));
        assert!((sum - 2.0 * 8_f64.ln()).abs() < 1e-12, "{sum}");
        assert!((logits[0] - 0.25).abs() < 1e-6 && (logits[3] + 1.75).abs() < 1e-6);
    }

    /// Finite differences of the summed loss in one logit.
    #[test]
    fn the_gradient_is_that_of_the_loss() {
        let logits = [0.3_f32, -1.2, 2.0, 0.7, 0.0];
        let loss = |logits: &[f32]| losses(&mut logits.to_vec(), 5, &[(0, 1)], None);
        let mut grads = logits.to_vec();
        losses(&mut grads, 5, &[(0, 1)], Some(1.0));
        for i in 0..5 {
            let step = 1e-2;
            let (mut up, mut down) = (logits, logits);
            up[i] += step;
            down[i] -= step;
            let slope = (loss(&up) - loss(&down)) / f64::from(up[i] - down[i]);
            assert!((slope - f64::from(grads[i])).abs() < 1e-4, "{i}: {slope} {}", grads[i]);
        }
    }

    #[test]
    fn a_logit_that_is_no_number_is_seen_in_the_loss() {
        assert!(losses(&mut [0.0, f32::NAN], 2, &[(0, 0)], None).is_nan());
    }
}
