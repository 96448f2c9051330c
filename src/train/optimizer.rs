//! The optimizer of a training: its states, one pair of moments a weight, and an update of all.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp1, Layout, Var};

use super::{AdamW, Gradients, Moments, Optimization, OptimizerKind};
use crate::{
    llama::{EMBEDDING, NetworkError},
    quant::{AdamW8bit, Moments8bit},
};

/// Settings and states of an optimizer.
#[derive(Debug, Clone, PartialEq)]
pub enum Optimizer {
    /// f32 states.
    AdamW(AdamW, Vec<Moments>),
    /// 8-bit states.
    AdamW8bit(AdamW8bit, Vec<Moments8bit>),
}

impl Optimizer {
    /// Returns the optimizer before its first update of `variables`.
    pub fn new(settings: &Optimization, variables: &[(String, Var)]) -> Self {
        let lens = variables.iter().map(|(name, variable)| (name, variable.elem_count()));
        let Optimization { beta1, beta2, eps, weight_decay, .. } = *settings;
        match settings.kind {
            OptimizerKind::AdamW => {
                Self::AdamW(settings.adamw(), lens.map(|(_, len)| Moments::zeros(len)).collect())
            }
            OptimizerKind::AdamW8bit => Self::AdamW8bit(
                AdamW8bit { beta1, beta2, eps, weight_decay },
                lens.map(|(name, len)| match is_embedding(name) {
                    true => Moments8bit::single(len),
                    false => Moments8bit::zeros(len),
                })
                .collect(),
            ),
        }
    }

    /// Makes update `step` (1 for the first) of every weight, in place.
    ///
    /// Weights shrink by the decay, norms and biases do not.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    ///
    /// # Panics
    ///
    /// If a gradient is missing or belongs to other weights.
    pub fn update(
        &mut self,
        rate: f64,
        step: u64,
        variables: &[(String, Var)],
        gradients: &Gradients,
    ) -> Result<(), NetworkError> {
        for (place, ((name, variable), gradient)) in
            variables.iter().zip(gradients.values()).enumerate()
        {
            let decays = is_decayed(name);
            edit(variable, |weights| match self {
                Self::AdamW(adamw, moments) => {
                    let weight_decay = if decays { adamw.weight_decay } else { 0.0 };
                    AdamW { weight_decay, ..*adamw }.update(
                        rate,
                        step,
                        weights,
                        gradient,
                        &mut moments[place],
                    );
                }
                Self::AdamW8bit(adamw, moments) => {
                    let weight_decay = if decays { adamw.weight_decay } else { 0.0 };
                    AdamW8bit { weight_decay, ..*adamw }.update(
                        rate,
                        step,
                        weights,
                        gradient,
                        &mut moments[place],
                    );
                }
            })?;
        }
        Ok(())
    }
}

/// Returns whether a weight is the embedding's, whose moments stay in f32 beside 8-bit ones.
///
/// Source: transformers 5.23.0, `Trainer.create_optimizer`, which overrides `optim_bits` of each `nn.Embedding`.
fn is_embedding(name: &str) -> bool {
    name == EMBEDDING
}

/// Returns whether the decay applies to a weight.
///
/// Source: transformers 5.23.0, `Trainer.get_decay_parameter_names`.
fn is_decayed(name: &str) -> bool {
    !name.split('.').any(|part| part == "bias" || part.ends_with("norm"))
}

/// Changes a variable's values where they lie.
pub(super) fn edit(variable: &Var, change: impl FnOnce(&mut [f32])) -> Result<(), NetworkError> {
    struct Edit<F>(Mutex<Option<F>>);

    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Edit<F> {
        fn name(&self) -> &'static str {
            "edit"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let CpuStorage::F32(values) = storage else { candle_core::bail!("edit: not f32") };
            let Some((begin, end)) = layout.contiguous_offsets() else {
                candle_core::bail!("edit: not contiguous");
            };
            let change = self.0.lock().ok().and_then(|mut change| change.take());
            change.into_iter().for_each(|change| change(&mut values[begin..end]));
            Ok(())
        }
    }

    Ok(variable.inplace_op1(&Edit(Mutex::new(Some(change))))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_and_biases_do_not_shrink() {
        for name in [
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.1.self_attn.q_proj.bias",
        ] {
            assert!(!is_decayed(name), "{name}");
        }
        for name in [
            "model.embed_tokens.weight",
            "model.layers.1.self_attn.q_proj.weight",
            "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        ] {
            assert!(is_decayed(name), "{name}");
        }
    }

    #[test]
    fn a_variable_is_changed_for_everyone_who_holds_it() {
        let variable = Var::from_slice(&[1.0_f32, 2.0], 2, &candle_core::Device::Cpu).unwrap();
        let shared = variable.as_tensor().clone();
        edit(&variable, |values| values[1] = 5.0).unwrap();
        assert_eq!(shared.to_vec1::<f32>().unwrap(), [1.0, 5.0]);
    }
}
