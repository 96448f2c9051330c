//! An adapter's tensors under PEFT's names: read from and written to its folder.

use std::{collections::BTreeMap, fs, io, path::Path};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{EMBEDDING_MODULE, LoraConfig, LoraError, LowRank};
use crate::quant::{TensorFile, TensorSpec, write_whole};

/// What PEFT puts before the name of a module.
const PREFIX: &str = "base_model.model.";

/// The settings' file.
pub(super) const CONFIG_FILE: &str = "adapter_config.json";
/// The weights' file.
pub(super) const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// An adapter: its settings, the matrices of each module, and tensors of the base it replaces.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Settings.
    pub config: LoraConfig,
    /// By module name, e.g. `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeMap<String, LowRank>,
    /// Tensors that stand in place of the base's, by their names in a checkpoint: those trained
    /// whole, and embeddings of a vocabulary that was enlarged.
    pub whole: BTreeMap<String, Whole>,
    /// What was found in the file and left aside.
    pub notes: Vec<String>,
}

/// A tensor in full.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// Its shape, of one or two dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// A tensor as it stands in an adapter's file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, widened to f32.
    pub values: Vec<f32>,
}

impl Adapter {
    /// Reads a folder whose weights are safetensors. (`.bin` files are read by
    /// [`crate::llama::read_adapter`].)
    ///
    /// # Errors
    ///
    /// [`LoraError`]; [`LoraError::Empty`] where the file holds no tensors, as scripts of 2023 left.
    pub fn read(folder: &Path) -> Result<Self, LoraError> {
        let config = Self::read_config(folder)?;
        let path = folder.join(WEIGHTS_FILE);
        let file = |source| LoraError::File { path: path.clone(), source };
        let bytes = fs::read(&path).map_err(file)?;
        let weights = |source| LoraError::Weights { path: path.clone(), source };
        let tensors = SafeTensors::deserialize(&bytes).map_err(weights)?;
        let tensors = tensors.iter().map(|(name, view)| {
            let values = floats(&view).ok_or_else(|| LoraError::Tensor {
                name: name.to_owned(),
                what: "is not in floats",
            })?;
            Ok(NamedTensor { name: name.to_owned(), shape: view.shape().to_vec(), values })
        });
        Self::from_tensors(config, &path, tensors.collect::<Result<_, LoraError>>()?)
    }

    /// Reads the settings of a folder.
    ///
    /// # Errors
    ///
    /// As [`LoraConfig::parse`], or if the file cannot be read.
    pub fn read_config(folder: &Path) -> Result<LoraConfig, LoraError> {
        let path = folder.join(CONFIG_FILE);
        let text = fs::read_to_string(&path);
        LoraConfig::parse(&text.map_err(|source| LoraError::File { path, source })?)
    }

    /// Sorts tensors under PEFT's names to modules; `path` is where they stood.
    ///
    /// # Errors
    ///
    /// [`LoraError::Empty`] without tensors or with empty ones, [`LoraError::Tensor`] for a name
    /// that is no part of an adapter, a half of a pair, another rank than the settings say, or a
    /// value that is no number.
    pub fn from_tensors(
        config: LoraConfig,
        path: &Path,
        mut tensors: Vec<NamedTensor>,
    ) -> Result<Self, LoraError> {
        // The first thing wrong is the same each time: a file's table has no order.
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let wrong =
            |tensor: &NamedTensor, what| Err(LoraError::Tensor { name: tensor.name.clone(), what });
        if tensors.is_empty() || tensors.iter().any(|tensor| tensor.values.is_empty()) {
            return Err(LoraError::Empty { path: path.to_owned() });
        }
        let (mut parts, mut whole, mut repeats) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        let mut originals = 0;
        for tensor in tensors {
            if tensor.values.iter().any(|value| !value.is_finite()) {
                return wrong(&tensor, "holds a value that is not finite");
            }
            match Name::of(&tensor.name) {
                Some(Name::Part(module, part)) => {
                    let parts: &mut Parts = parts.entry(module.to_owned()).or_default();
                    if parts.slot(part).replace(tensor.clone()).is_some() {
                        return wrong(&tensor, "stands there twice");
                    }
                }
                Some(Name::Whole(name)) if tensor.shape.len() <= 2 => {
                    whole.insert(name, Whole { shape: tensor.shape, values: tensor.values });
                }
                Some(Name::Repeat(name)) => repeats.push((name, tensor)),
                Some(Name::Original) => originals += 1,
                _ => return wrong(&tensor, "is no part of a supported adapter"),
            }
        }
        for (name, tensor) in repeats {
            let same = Whole { shape: tensor.shape.clone(), values: tensor.values.clone() };
            if *whole.entry(name).or_insert_with(|| same.clone()) != same {
                return wrong(&tensor, "differs from the tensor it repeats");
            }
        }
        let modules = parts
            .into_iter()
            .map(|(module, parts)| Ok((module.clone(), parts.join(&config, &module)?)))
            .collect::<Result<BTreeMap<_, _>, LoraError>>()?;
        if modules.is_empty() {
            return Err(LoraError::Empty { path: path.to_owned() });
        }
        let mut notes = Vec::new();
        if originals > 0 {
            notes.push(format!(
                "{originals} tensors `original_module` are left aside: they are the base's own"
            ));
        }
        if modules.values().all(|low| low.b.iter().all(|b| *b == 0.0)) && whole.is_empty() {
            notes.push("every B is zero: the adapter was not trained and changes nothing".into());
        }
        let unknown = config.unknown_fields();
        if !unknown.is_empty() {
            let fields = unknown.join(", ");
            notes.push(format!("{CONFIG_FILE} has fields that are not known: {fields}"));
        }
        Ok(Self { config, modules, whole, notes })
    }

    /// Returns the tensors under PEFT's names, sorted.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        let owned = |(spec, values): (TensorSpec, &[f32])| NamedTensor {
            name: spec.name,
            shape: spec.shape,
            values: values.to_vec(),
        };
        self.parts().into_iter().map(owned).collect()
    }

    /// Returns the tensors under PEFT's names, sorted, with the values where they are.
    fn parts(&self) -> Vec<(TensorSpec, &[f32])> {
        let spec = |name, shape: &[usize]| TensorSpec { name, dtype: "F32", shape: shape.to_vec() };
        let mut parts: Vec<(TensorSpec, &[f32])> = Vec::new();
        for (module, low) in &self.modules {
            let name = |part: Part| part.name(module);
            parts.push((spec(name(Part::A), &[low.rank, low.inputs()]), &low.a));
            parts.push((spec(name(Part::B), &[low.outputs(), low.rank]), &low.b));
            if let Some(magnitude) = &low.magnitude {
                parts.push((spec(name(Part::Magnitude), &[magnitude.len()]), magnitude));
            }
        }
        for (name, Whole { shape, values }) in &self.whole {
            parts.push((spec(self.whole_name(name), shape), values));
        }
        parts.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        parts
    }

    /// Returns PEFT's name of a tensor that stands in place of the base's.
    pub fn whole_name(&self, tensor: &str) -> String {
        match tensor.rsplit_once('.') {
            Some((module, parameter)) if self.modules.contains_key(module) => {
                format!("{PREFIX}{module}.base_layer.{parameter}")
            }
            _ => format!("{PREFIX}{tensor}"),
        }
    }

    /// Writes the folder that PEFT reads; tensors in f32.
    ///
    /// Each file is written beside its place, some values at a time, and then renamed, the settings
    /// last.
    ///
    /// # Errors
    ///
    /// [`LoraError::Empty`] if there is no module or an empty one, [`LoraError::File`] if writing
    /// fails.
    pub fn write(&self, folder: &Path) -> Result<(), LoraError> {
        let path = folder.join(WEIGHTS_FILE);
        let parts = self.parts();
        if self.modules.is_empty() || parts.iter().any(|(_, values)| values.is_empty()) {
            return Err(LoraError::Empty { path });
        }
        let config = folder.join(CONFIG_FILE);
        let text = self.config.to_json();
        let text = text.map_err(|source| LoraError::Json { path: config.clone(), source })?;
        write_parts(&path, &parts).map_err(|source| LoraError::File { path, source })?;
        write_whole(&config, text.as_bytes())
            .map_err(|source| LoraError::File { path: config, source })
    }
}

/// Writes tensors, some values of each at a time: no second copy of them is held.
fn write_parts(path: &Path, parts: &[(TensorSpec, &[f32])]) -> io::Result<()> {
    /// Values written at a time.
    const PIECE: usize = 1 << 16;
    let specs: Vec<TensorSpec> = parts.iter().map(|(spec, _)| spec.clone()).collect();
    let mut file = TensorFile::create(path, &specs)?;
    for (spec, values) in parts {
        for (place, piece) in (0_u64..).zip(values.chunks(PIECE)) {
            let bytes: Vec<u8> = piece.iter().flat_map(|x| x.to_le_bytes()).collect();
            file.write(&spec.name, 4 * PIECE as u64 * place, &bytes)?;
        }
    }
    file.finish()
}

/// A part of a module's branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    A,
    B,
    Magnitude,
}

impl Part {
    /// Returns PEFT's name of the part of a module.
    pub(super) fn name(self, module: &str) -> String {
        let part = match (self, module == EMBEDDING_MODULE) {
            (Self::A, false) => "lora_A.weight",
            (Self::B, false) => "lora_B.weight",
            (Self::A, true) => "lora_embedding_A",
            (Self::B, true) => "lora_embedding_B",
            (Self::Magnitude, _) => "lora_magnitude_vector",
        };
        format!("{PREFIX}{module}.{part}")
    }
}

/// What a name in an adapter's file means.
enum Name<'a> {
    Part(&'a str, Part),
    /// A tensor of the base, by its name in a checkpoint.
    Whole(String),
    /// A second copy of one, which PEFT writes when told to save embeddings that it trains anyway.
    Repeat(String),
    /// The base's own tensor beside one trained whole.
    Original,
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX)?;
        for (end, part) in [
            (".lora_A.weight", Part::A),
            (".lora_B.weight", Part::B),
            (".lora_magnitude_vector", Part::Magnitude),
        ] {
            if let Some(module) = name.strip_suffix(end) {
                return Some(Self::Part(module, part));
            }
        }
        for (end, part) in [(".lora_embedding_A", Part::A), (".lora_embedding_B", Part::B)] {
            if let Some(module) = name.strip_suffix(end) {
                return (module == EMBEDDING_MODULE).then_some(Self::Part(module, part));
            }
        }
        if name.contains(".original_module.") {
            return Some(Self::Original);
        }
        if name.contains(".modules_to_save.") {
            return Some(Self::Repeat(name.replace(".modules_to_save.", ".")));
        }
        let is_parameter = name.ends_with(".weight") || name.ends_with(".bias");
        (is_parameter && !name.contains("lora_"))
            .then(|| Self::Whole(name.replace(".base_layer.", ".")))
    }
}

/// The parts of one module as they are found.
#[derive(Default)]
struct Parts {
    a: Option<NamedTensor>,
    b: Option<NamedTensor>,
    magnitude: Option<NamedTensor>,
}

impl Parts {
    fn slot(&mut self, part: Part) -> &mut Option<NamedTensor> {
        match part {
            Part::A => &mut self.a,
            Part::B => &mut self.b,
            Part::Magnitude => &mut self.magnitude,
        }
    }

    fn join(self, config: &LoraConfig, module: &str) -> Result<LowRank, LoraError> {
        let wrong = |part: Part, what| LoraError::Tensor { name: part.name(module), what };
        let a = self.a.ok_or_else(|| wrong(Part::A, "is missing"))?;
        let b = self.b.ok_or_else(|| wrong(Part::B, "is missing"))?;
        let rank = config.rank(module)?;
        if !matches!((&*a.shape, &*b.shape), (&[r, _], &[_, s]) if r == rank && s == rank) {
            return Err(wrong(Part::A, "or its B does not have the rank of the settings"));
        }
        if config.use_dora && module == EMBEDDING_MODULE {
            return Err(LoraError::Unsupported("use_dora true for an embedding".into()));
        }
        let magnitude = match (config.use_dora, self.magnitude) {
            (false, None) => None,
            (true, Some(magnitude)) if *magnitude.shape == [b.shape[0]] => Some(magnitude.values),
            (true, None) => return Err(wrong(Part::Magnitude, "is missing")),
            (true, Some(_)) => return Err(wrong(Part::Magnitude, "is not one value an output")),
            (false, Some(_)) => {
                return Err(wrong(Part::Magnitude, "is there although the settings say no DoRA"));
            }
        };
        let scaling = config.scaling(module)?;
        Ok(LowRank { a: a.values, b: b.values, rank, scaling, magnitude })
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
