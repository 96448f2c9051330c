//! A second, independent network behind the same seam: candle_transformers' LLaMA, in f32.
//!
//! For checking ours, one sequence at a time. It shares nothing with ours but the reading of files
//! and the choice of the next token. Configurations it computes differently are refused.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;

use super::decode::{Decode, DecodeError};
use crate::{
    kernels::float::Kernels,
    llama::{
        Checkpoint, Config, Scaling, WeightSource,
        decoder::{Continue, IsComplete, Reply, Score, Scored, advance},
        expected_tensors,
        sampling::greedy,
    },
    protocol::Sampling,
    stats::Generator,
};

/// candle_transformers' network on a checkpoint.
pub(super) struct CandleDecoder {
    network: llama::Llama,
    config: llama::Config,
}

impl CandleDecoder {
    /// Reads every weight as f32.
    pub(super) fn load(checkpoint: &mut Checkpoint) -> Result<Self, DecodeError> {
        let config = config(checkpoint.config())?;
        let mut tensors = HashMap::new();
        for (name, shape) in expected_tensors(checkpoint.config()) {
            let (rows, width) = match shape[..] {
                [rows, width] => (rows, width),
                _ => (1, shape[0]),
            };
            let mut values = Vec::new();
            checkpoint.read(&name, width, 0, rows, &mut values)?;
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(Self { network: llama::Llama::load(weights, &config)?, config })
    }

    fn cache(&self) -> Result<llama::Cache, candle_core::Error> {
        llama::Cache::new(true, DType::F32, &self.config, &Device::Cpu)
    }

    /// Feeds tokens and returns the logits behind the last.
    fn feed(
        &self,
        tokens: &[u32],
        position: usize,
        cache: &mut llama::Cache,
    ) -> Result<Vec<f32>, candle_core::Error> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        self.network.forward(&input, position, cache)?.flatten_all()?.to_vec1()
    }
}

impl Decode for CandleDecoder {
    fn generate(
        &mut self,
        requests: &[Continue],
        sampling: &Sampling,
        stop: &[u32],
        is_complete: &IsComplete<'_>,
        done: &mut dyn FnMut(usize, Reply),
    ) -> Result<(), DecodeError> {
        for (index, Continue { prompt, seed }) in requests.iter().enumerate() {
            let (mut cache, mut random) = (self.cache()?, Generator::new(*seed));
            let mut logits = self.feed(prompt, 0, &mut cache)?;
            let mut ids = Vec::new();
            loop {
                let fed = prompt.len() + ids.len();
                let is_full = fed >= self.config.max_position_embeddings;
                let next =
                    advance(&mut ids, &logits, &mut random, sampling, stop, is_complete, is_full);
                if let Some(reply) = next {
                    done(index, reply);
                    break;
                }
                logits = self.feed(&ids[ids.len() - 1..], fed, &mut cache)?;
            }
        }
        Ok(())
    }

    fn score(
        &mut self,
        requests: &[Score],
        done: &mut dyn FnMut(usize, Scored),
    ) -> Result<(), DecodeError> {
        for (index, Score { context, continuation }) in requests.iter().enumerate() {
            let mut cache = self.cache()?;
            let mut logits = self.feed(context, 0, &mut cache)?;
            let mut scored = Scored { log_prob: 0.0, is_greedy: true };
            for (i, token) in continuation.iter().enumerate() {
                if i > 0 {
                    let position = context.len() + i - 1;
                    logits = self.feed(&continuation[i - 1..i], position, &mut cache)?;
                }
                let place = usize::try_from(*token)?;
                let logit = logits.get(place).map_or(f64::NAN, |logit| f64::from(*logit));
                scored.log_prob += logit - Kernels::get().log_sum_exp(&logits);
                scored.is_greedy &= greedy(&logits) == Some(*token);
            }
            done(index, scored);
        }
        Ok(())
    }
}

/// Translates a configuration, refusing what candle_transformers computes otherwise.
fn config(config: &Config) -> Result<llama::Config, DecodeError> {
    let plain = config.model_type == "llama"
        && config.bias == crate::llama::Bias::default()
        && config.rope_scaling == Scaling::None
        && config.head_dim * config.heads == config.hidden_size;
    if !plain {
        return Err("candle_transformers' llama has no bias, head_dim or rope scaling".into());
    }
    #[expect(clippy::cast_possible_truncation, reason = "that network takes it as f32")]
    let rope_theta = config.rope_theta as f32;
    Ok(llama::Config {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads,
        use_flash_attn: false,
        rms_norm_eps: f64::from(config.rms_norm_eps),
        rope_theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: config.context,
        tie_word_embeddings: config.tied,
    })
}
