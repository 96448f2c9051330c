//! An adapter's folder: `adapter_config.json` and `adapter_model.safetensors`, as PEFT names them.

use std::{collections::BTreeMap, fs, path::Path};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{TensorView, serialize},
};

use super::{LoraConfig, LoraError, LowRank};

/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// Returns PEFT's name of a part of a module, e.g. `lora_A.weight`.
pub(super) fn parameter_name(module: &str, part: &str) -> String {
    format!("{PREFIX}{module}.{part}")
}

/// An adapter: its settings and the matrices of each module.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Settings.
    pub config: LoraConfig,
    /// By module name, e.g. `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeMap<String, LowRank>,
}

impl Adapter {
    /// Reads an adapter's folder.
    ///
    /// # Errors
    ///
    /// [`LoraError`]; [`LoraError::Empty`] where the file holds no tensors, as scripts of 2023 left.
    pub fn read(folder: &Path) -> Result<Self, LoraError> {
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| LoraError::File { path, source }
        };
        let path = folder.join("adapter_config.json");
        let config = LoraConfig::parse(&fs::read_to_string(&path).map_err(file(&path))?)?;
        let path = folder.join("adapter_model.safetensors");
        let bytes = fs::read(&path).map_err(file(&path))?;
        let weights = |source| LoraError::Weights { path: path.clone(), source };
        let tensors = SafeTensors::deserialize(&bytes).map_err(weights)?;
        if tensors.is_empty() {
            return Err(LoraError::Empty { path });
        }
        let mut modules = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            let wrong = |what| LoraError::Tensor { name: name.clone(), what };
            let module = name.strip_prefix(PREFIX).ok_or_else(|| wrong("has no known prefix"))?;
            if let Some(module) = module.strip_suffix(".lora_A.weight") {
                let other = format!("{PREFIX}{module}.lora_B.weight");
                let b = tensors.tensor(&other).map_err(|_| wrong("has no B beside it"))?;
                let rank = config.rank(module)?;
                let shapes = [view.shape(), b.shape()];
                if !matches!(shapes, [&[r, _], &[_, s]] if r == rank && s == rank) {
                    return Err(wrong("does not have the rank of the settings"));
                }
                let (a, b) = (floats(&view), floats(&b));
                let (Some(a), Some(b)) = (a, b) else { return Err(wrong("is not in floats")) };
                let scaling = config.scaling(module)?;
                modules.insert(module.to_owned(), LowRank { a, b, rank, scaling });
            } else if let Some(module) = module.strip_suffix(".lora_B.weight") {
                let other = format!("{PREFIX}{module}.lora_A.weight");
                tensors.tensor(&other).map_err(|_| wrong("has no A beside it"))?;
            } else {
                return Err(wrong("is no part of a supported adapter"));
            }
        }
        Ok(Self { config, modules })
    }

    /// Writes the folder that PEFT reads; matrices in f32.
    ///
    /// # Errors
    ///
    /// [`LoraError::Empty`] if there is no module, [`LoraError::File`] if writing fails.
    pub fn write(&self, folder: &Path) -> Result<(), LoraError> {
        let path = folder.join("adapter_model.safetensors");
        if self.modules.is_empty() {
            return Err(LoraError::Empty { path });
        }
        let mut tensors = Vec::new();
        for (module, low) in &self.modules {
            let bytes = |x: &[f32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
            let (a, b) = ([low.rank, low.inputs()], [low.outputs(), low.rank]);
            tensors.push((format!("{PREFIX}{module}.lora_A.weight"), a, bytes(&low.a)));
            tensors.push((format!("{PREFIX}{module}.lora_B.weight"), b, bytes(&low.b)));
        }
        let weights = |source| LoraError::Weights { path: path.clone(), source };
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(weights)?;
        let metadata = [("format".to_owned(), "pt".to_owned())].into();
        let bytes = serialize(views, Some(metadata)).map_err(weights)?;
        let text = self.config.to_json();
        let config = folder.join("adapter_config.json");
        let text = text.map_err(|source| LoraError::Json { path: config.clone(), source })?;
        for (path, bytes) in [(&path, bytes), (&config, text.into_bytes())] {
            fs::write(path, bytes)
                .map_err(|source| LoraError::File { path: path.clone(), source })?;
        }
        Ok(())
    }
}

/// The values of a tensor in f32; `None` for a format that is no float.
fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect()
        }
        _ => return None,
    })
}
