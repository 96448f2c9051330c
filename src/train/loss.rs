//! Cross-entropy of the next token, over the rows that have one to predict, and its gradient.
//!
//! The output matrix is applied to those rows alone, some at a time: no more than a piece of the
//! logits is ever held, and the gradient of a piece is made where the piece is.
//! Source: transformers 5.23.0, `ForCausalLMLoss` (f32 logits, labels shifted, -100 left out).

use candle_core::{Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

use super::tape;
use crate::{
    kernels::float::Kernels,
    llama::{Llama, NetworkError},
    lora::Draw,
};

/// Logits held at once, in values: 16 MiB.
const LOGITS: usize = 1 << 22;

/// What the loss is scaled by, where its gradient is wanted.
pub(super) struct Wanted<'a> {
    /// Factor of the summed loss.
    pub(super) scale: f32,
    /// Takes what the loss gives the output matrix.
    pub(super) collect: &'a mut dyn FnMut(&mut GradStore) -> Result<(), NetworkError>,
}

/// Returns the summed, unscaled loss in nats, and the gradient of `states` if it is wanted.
///
/// `states: [t, d]` behind the last norm, without history; `targets: [t]`; `draw` is what the
/// dropout of the `t` rows drops. Sums over rows are in f64, in order.
pub(super) fn cross_entropy(
    network: &Llama,
    states: &Tensor,
    targets: &[Option<u32>],
    draw: Option<&Draw>,
    mut wanted: Option<Wanted<'_>>,
) -> Result<(f64, Option<Tensor>), NetworkError> {
    let (tokens, width) = states.dims2()?;
    let vocabulary = network.config().vocab_size;
    let learnt: Vec<(usize, u32)> =
        targets.iter().enumerate().filter_map(|(row, t)| Some((row, (*t)?))).collect();
    let values: Vec<f32> = states.flatten_all()?.to_vec1()?;
    let mut grad_states = vec![0.0; if wanted.is_some() { tokens * width } else { 0 }];
    let mut sum = 0.0;
    for piece in learnt.chunks((LOGITS / vocabulary).max(1)) {
        let mut rows = Vec::with_capacity(piece.len() * width);
        for (row, _) in piece {
            rows.extend_from_slice(&values[row * width..][..width]);
        }
        let rows = Tensor::from_vec(rows, (piece.len(), width), &Device::Cpu)?;
        let Some(wanted) = &mut wanted else {
            let mut logits: Vec<f32> = network.logits(&rows.detach())?.flatten_all()?.to_vec1()?;
            sum += losses(&mut logits, vocabulary, piece, None);
            continue;
        };
        let rows = Var::from_tensor(&rows)?;
        let draw = draw.map(|draw| draw.of_rows(piece.iter().map(|(row, _)| *row)));
        let logits = network.logits_drawn(rows.as_tensor(), draw.as_ref())?;
        let mut grads: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        sum += losses(&mut grads, vocabulary, piece, Some(wanted.scale));
        let grads = Tensor::from_vec(grads, logits.shape(), &Device::Cpu)?;
        let mut store = tape::pull_back(&logits, grads)?;
        let grad: Vec<f32> = tape::take(&mut store, &rows)?.flatten_all()?.to_vec1()?;
        for ((row, _), grad) in piece.iter().zip(grad.chunks(width)) {
            grad_states[row * width..][..width].copy_from_slice(grad);
        }
        (wanted.collect)(&mut store)?;
    }
    let grad = match wanted {
        Some(_) => Some(Tensor::from_vec(grad_states, (tokens, width), &Device::Cpu)?),
        None => None,
    };
    Ok((sum, grad))
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
