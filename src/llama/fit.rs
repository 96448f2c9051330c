//! What of a network an adapter names, and whether the two fit each other.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Config, expected_tensors,
    weights::{EMBEDDING, HEAD},
};
use crate::lora::{Adapter, EMBEDDING_MODULE, HEAD_MODULE, LoraConfig, LoraError, TrainedBias};

/// What an adapter can be beside or in place of.
#[derive(Debug)]
pub struct Fit {
    /// Outputs and inputs of each linear layer, of the embedding its width and its tokens; in the
    /// order of the reference's modules.
    pub(super) modules: Vec<(String, [usize; 2])>,
    /// Every tensor of the checkpoint.
    pub(super) tensors: BTreeMap<String, Vec<usize>>,
    /// Whether the output matrix is the embedding.
    tied: bool,
}

impl Fit {
    /// Returns what an adapter can be beside or in place of in networks of this configuration.
    pub fn of(config: &Config) -> Self {
        let (tokens, width) = (config.vocab_size, config.hidden_size);
        let tensors = expected_tensors(config);
        let linear = |(name, shape): &(String, Vec<usize>)| match shape[..] {
            [outputs, inputs] if name.ends_with("_proj.weight") => {
                Some((name.trim_end_matches(".weight").to_owned(), [outputs, inputs]))
            }
            _ => None,
        };
        let mut modules = vec![(EMBEDDING_MODULE.to_owned(), [width, tokens])];
        modules.extend(tensors.iter().filter_map(linear));
        modules.push((HEAD_MODULE.to_owned(), [tokens, width]));
        let mut tensors: BTreeMap<_, _> = tensors.into_iter().collect();
        // A tied network can be given an output matrix of its own.
        tensors.insert(HEAD.to_owned(), vec![tokens, width]);
        Self { modules, tensors, tied: config.tied }
    }

    pub(super) fn chosen(&self, config: &LoraConfig) -> Result<BTreeSet<String>, LoraError> {
        let names: Vec<&str> = self.modules.iter().map(|(name, _)| &**name).collect();
        Ok(config.select(&names)?.into_iter().map(str::to_owned).collect())
    }

    /// Returns the tensors of the base that are trained whole.
    pub(super) fn trained_whole(
        &self,
        config: &LoraConfig,
        chosen: &BTreeSet<String>,
    ) -> BTreeSet<String> {
        let is_trained = |name: &str| {
            let bias = name.strip_suffix(".bias");
            config.saves(name)
                || bias.is_some_and(|module| match config.bias {
                    TrainedBias::None => false,
                    TrainedBias::All => true,
                    TrainedBias::LoraOnly => chosen.contains(module),
                })
        };
        self.tensors.keys().filter(|name| is_trained(name)).cloned().collect()
    }

    /// Checks that an adapter holds exactly what its settings name in the network, in its sizes, and
    /// returns the tensors that are trained whole.
    ///
    /// # Errors
    ///
    /// [`LoraError`] with what is missing, too much or of another size.
    pub fn check(&self, adapter: &Adapter) -> Result<BTreeSet<String>, LoraError> {
        let chosen = self.chosen(&adapter.config)?;
        if let Some(missing) = chosen.iter().find(|name| !adapter.modules.contains_key(*name)) {
            return Err(LoraError::MissingModule(missing.clone()));
        }
        if let Some(extra) = adapter.modules.keys().find(|name| !chosen.contains(*name)) {
            return Err(LoraError::ExtraModule(extra.clone()));
        }
        let trained = self.trained_whole(&adapter.config, &chosen);
        if let Some(missing) = trained.iter().find(|name| !adapter.whole.contains_key(*name)) {
            return Err(LoraError::MissingTensor(missing.clone()));
        }
        let tokens = self.tensors[EMBEDDING][0];
        for (name, whole) in &adapter.whole {
            let embeds = name == EMBEDDING || name == HEAD;
            if !trained.contains(name) && !embeds {
                return Err(LoraError::ExtraTensor(name.clone()));
            }
            let expected = &self.tensors[name];
            let longer = embeds && whole.shape.len() == 2 && whole.shape[1..] == expected[1..];
            if whole.shape != *expected && !longer {
                let (name, expected) = (name.clone(), expected.clone());
                let got = whole.shape.clone();
                return Err(LoraError::WholeShape { name, expected, got });
            }
        }
        // An enlarged vocabulary needs both matrices, of one length.
        let rows = |name: &str| adapter.whole.get(name).map_or(tokens, |whole| whole.shape[0]);
        let embedding = rows(EMBEDDING);
        let follows = self.tied && !adapter.whole.contains_key(HEAD);
        let head = if follows { embedding } else { rows(HEAD) };
        if embedding != head {
            let missing = if embedding == tokens { EMBEDDING } else { HEAD };
            return Err(LoraError::Enlarged { rows: embedding.max(head), missing });
        }
        for (module, expected) in &self.modules {
            let Some(low) = adapter.modules.get(module) else { continue };
            let expected = match &**module {
                EMBEDDING_MODULE => [expected[0], embedding],
                HEAD_MODULE => [embedding, expected[1]],
                _ => *expected,
            };
            let got = [low.outputs(), low.inputs()];
            if got != expected {
                return Err(LoraError::Shape { module: module.clone(), expected, got });
            }
        }
        Ok(trained)
    }
}
