//! An adapter on the network: attached for evaluation or for training, and read back.
//!
//! The base weights stay as they are; what is trained are the adapter's variables alone.

use super::{Llama, NetworkError};
use crate::lora::{Adapter, Attach, Branch, LoraConfig, LoraError, initialize};

impl Llama {
    /// Returns a fresh adapter for this network, with the matrices PEFT would begin with.
    ///
    /// # Errors
    ///
    /// [`LoraError`] if no module is named, or a pattern is not understood.
    pub fn fresh_adapter(&self, config: &LoraConfig, seed: u64) -> Result<Adapter, LoraError> {
        let sizes: Vec<(String, [usize; 2])> =
            self.linears().map(|(name, linear)| (name, linear.shape())).collect();
        let names: Vec<&str> = sizes.iter().map(|(name, _)| &**name).collect();
        let chosen = config.select(&names)?;
        let sizes = sizes.iter().filter(|(name, _)| chosen.contains(&&**name));
        let modules = sizes
            .map(|(name, [outputs, inputs])| Ok((&**name, *outputs, *inputs, config.rank(name)?)))
            .collect::<Result<Vec<_>, LoraError>>()?;
        initialize(config, &modules, seed)
    }

    /// Puts an adapter beside the layers it names, in place of one attached before.
    ///
    /// With [`Attach::Trainable`], [`Llama::variables`] are then the adapter's, under PEFT's names;
    /// those of the base, if it had any, are no longer listed.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Adapter`] if it does not hold exactly the modules its settings name in this
    /// network, in their sizes; the network is then unchanged.
    pub fn attach(&mut self, adapter: &Adapter, attach: Attach) -> Result<(), NetworkError> {
        let sizes: Vec<(String, [usize; 2])> =
            self.linears().map(|(name, linear)| (name, linear.shape())).collect();
        let names: Vec<&str> = sizes.iter().map(|(name, _)| &**name).collect();
        let chosen = adapter.config.select(&names)?;
        if let Some(missing) = chosen.iter().find(|name| !adapter.modules.contains_key(**name)) {
            return Err(LoraError::MissingModule((*missing).to_owned()).into());
        }
        if let Some(extra) = adapter.modules.keys().find(|name| !chosen.contains(&&***name)) {
            return Err(LoraError::ExtraModule(extra.clone()).into());
        }
        for (name, expected) in &sizes {
            if let Some(low) = adapter.modules.get(name) {
                let got = [low.outputs(), low.inputs()];
                if got != *expected {
                    let (module, expected) = (name.clone(), *expected);
                    return Err(LoraError::Shape { module, expected, got }.into());
                }
            }
        }
        let mut variables = Vec::new();
        for (name, linear) in self.linears_mut() {
            let low = adapter.modules.get(&name);
            let dropout = adapter.config.lora_dropout;
            let branch = low.map(|low| Branch::new(&name, low, dropout, attach));
            variables.extend(branch.iter().flat_map(Branch::variables));
            linear.set_branch(branch);
        }
        self.set_adapter(adapter.config.clone(), variables);
        Ok(())
    }

    /// Returns the attached adapter with its values as they are now, `None` without one.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn adapter(&self) -> Result<Option<Adapter>, NetworkError> {
        let Some(config) = self.adapter_config() else { return Ok(None) };
        let modules = self
            .linears()
            .filter_map(|(name, linear)| Some((name, linear.branch()?.low_rank())))
            .map(|(name, low)| Ok((name, low?)))
            .collect::<Result<_, NetworkError>>()?;
        Ok(Some(Adapter { config: config.clone(), modules }))
    }
}
