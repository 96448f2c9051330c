//! The values an adapter begins with: PEFT's, for the same seed.
//!
//! Source: PEFT 0.21.2, `LoraLayer.update_layer` and `reset_lora_parameters`. Uniform draws have
//! PEFT's bits; normal ones (`gaussian`, embeddings) differ by the last places of torch's
//! vectorised logarithm and cosine.

use super::{Adapter, EMBEDDING_MODULE, Initial, LoraConfig, LoraError, LowRank};
use crate::stats::random::Mt19937;

/// A module to make matrices for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// Its name.
    pub module: &'a str,
    /// Its outputs; of an embedding, its width.
    pub outputs: usize,
    /// Its inputs; of an embedding, its tokens.
    pub inputs: usize,
}

/// Returns a fresh adapter for modules in the order PEFT meets them, with the draws of
/// `torch.manual_seed(seed)`.
///
/// A is uniform in ±1/sqrt(inputs), B is zero; for `gaussian` A is normal with deviation 1/rank, for
/// `false` B is uniform in ±1/sqrt(rank). PEFT makes A and B as plain layers before it sets them:
/// those draws are consumed here too. An embedding begins with A zero and B normal. Magnitudes and
/// tensors trained whole come from the base and are left to the network.
///
/// # Errors
///
/// [`LoraError::Pattern`], or [`LoraError::Unsupported`] for another way to begin.
pub fn initialize(
    config: &LoraConfig,
    targets: &[Target<'_>],
    seed: u64,
) -> Result<Adapter, LoraError> {
    let start = match &config.init_lora_weights {
        Initial::Usual(true) => Start::Uniform,
        Initial::Usual(false) => Start::BothUniform,
        Initial::Named(name) if name.eq_ignore_ascii_case("gaussian") => Start::Normal,
        Initial::Named(name) => {
            return Err(LoraError::Unsupported(format!("training from init_lora_weights {name}")));
        }
    };
    let mut generator = Mt19937::new(seed);
    let modules = targets
        .iter()
        .map(|target| {
            let rank = config.rank(target.module)?;
            let (a, b) = match target.module == EMBEDDING_MODULE {
                true => start.embedding(&mut generator, target, rank),
                false => start.linear(&mut generator, target, rank),
            };
            let scaling = config.scaling(target.module)?;
            Ok((target.module.to_owned(), LowRank { a, b, rank, scaling, magnitude: None }))
        })
        .collect::<Result<_, LoraError>>()?;
    let config = config.clone();
    Ok(Adapter { config, modules, whole: [].into(), notes: Vec::new() })
}

enum Start {
    Uniform,
    BothUniform,
    Normal,
}

impl Start {
    fn linear(
        &self,
        generator: &mut Mt19937,
        &Target { outputs, inputs, .. }: &Target<'_>,
        rank: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let plain =
            (uniform(generator, rank * inputs, inputs), uniform(generator, outputs * rank, rank));
        match self {
            Self::BothUniform => plain,
            Self::Uniform => (uniform(generator, rank * inputs, inputs), vec![0.0; outputs * rank]),
            Self::Normal => {
                let deviation = narrow(1.0 / rank as f64);
                let a = generator.normals(rank * inputs, deviation);
                (a, vec![0.0; outputs * rank])
            }
        }
    }

    fn embedding(
        &self,
        generator: &mut Mt19937,
        &Target { outputs, inputs, .. }: &Target<'_>,
        rank: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let plain = (generator.normals(rank * inputs, 1.0), generator.normals(outputs * rank, 1.0));
        match self {
            Self::BothUniform => plain,
            Self::Uniform | Self::Normal => {
                (vec![0.0; rank * inputs], generator.normals(outputs * rank, 1.0))
            }
        }
    }
}

/// torch's `kaiming_uniform_` with a = sqrt(5): uniform in ±1/sqrt(fan).
fn uniform(generator: &mut Mt19937, len: usize, fan: usize) -> Vec<f32> {
    let bound = narrow(3_f64.sqrt() * ((2.0_f64 / 6.0).sqrt() / (fan as f64).sqrt()));
    (0..len).map(|_| generator.uniform(-bound, bound)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "torch multiplies by the nearest f32")]
fn narrow(value: f64) -> f32 {
    value as f32
}
