//! Adapters whose weights are a PyTorch file, as PEFT wrote them in 2023; nothing in it is executed.

use std::path::Path;

use super::{file::WeightFile, pickle};
use crate::{
    llama::CheckpointError,
    lora::{Adapter, NamedTensor},
};

/// Weights in PyTorch's format.
const PICKLED: &str = "adapter_model.bin";

/// Reads an adapter's folder: `adapter_model.safetensors`, or `adapter_model.bin` where there is
/// none.
///
/// # Errors
///
/// [`CheckpointError`] if a file is missing, damaged or hostile, or holds no adapter.
pub fn read_adapter(folder: &Path) -> Result<Adapter, CheckpointError> {
    let path = adapter_weights_file(folder);
    if !path.ends_with(PICKLED) {
        return Ok(Adapter::read(folder)?);
    }
    let config = Adapter::read_config(folder)?;
    let file = WeightFile::open(&path)?;
    let tensors = pickle::tensors(&file)?.into_iter().map(|(name, stored)| {
        let mut values = Vec::new();
        file.read(&name, &stored, 0, stored.shape.iter().product(), &mut values)?;
        Ok(NamedTensor { name, shape: stored.shape, values })
    });
    let tensors = tensors.collect::<Result<_, CheckpointError>>()?;
    Ok(Adapter::from_tensors(config, &path, tensors)?)
}

/// Returns the file of a folder that [`read_adapter`] reads the weights from.
pub fn adapter_weights_file(folder: &Path) -> std::path::PathBuf {
    let [preferred, pickled] = ["adapter_model.safetensors", PICKLED].map(|name| folder.join(name));
    if pickled.is_file() && !preferred.is_file() { pickled } else { preferred }
}
