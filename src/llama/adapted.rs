//! An adapter on the network: attached for evaluation or for training, and read back.
//!
//! The base weights stay as they are, but for those the adapter holds in full. What is trained are
//! the adapter's variables alone. Guarantees: an adapter holds exactly what its settings name in
//! this network, in its sizes, or it is refused and nothing changes.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor, Var};

use super::{
    Base, Linear, Llama, NetworkError,
    fit::Fit,
    weights::{EMBEDDING, HEAD},
};
use crate::{
    kernels::matrix::{Matrix, WeightType},
    lora::{
        Adapter, Attach, BaseRows, Branch, EMBEDDING_MODULE, HEAD_MODULE, LoraConfig, LoraError,
        Target, Whole, initialize,
    },
};

/// What a network keeps of an attached adapter.
#[derive(Debug)]
pub(super) struct Attached {
    config: LoraConfig,
    /// Beside the embedding.
    pub(super) embedding: Option<Branch>,
    /// Tensors in full, by their names in a checkpoint, each with PEFT's name.
    whole: BTreeMap<String, (String, Held)>,
}

/// A tensor in full, inside the network.
#[derive(Debug)]
enum Held {
    Fixed(Whole),
    Trained(Var),
}

impl Llama {
    /// Returns a fresh adapter for this network, with the values PEFT would begin with and every
    /// field that it writes.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Adapter`] if no module is named, a pattern is not understood, or the way to
    /// begin is not computed.
    pub fn fresh_adapter(&self, config: &LoraConfig, seed: u64) -> Result<Adapter, NetworkError> {
        let config = config.clone().completed();
        let fit = Fit::of(&self.config);
        let chosen = fit.chosen(&config)?;
        let targets: Vec<Target<'_>> = fit
            .modules
            .iter()
            .filter(|(name, _)| chosen.contains(&**name))
            .map(|(module, [outputs, inputs])| Target {
                module,
                outputs: *outputs,
                inputs: *inputs,
            })
            .collect();
        let mut adapter = initialize(&config, &targets, seed)?;
        if config.use_dora {
            for (module, low) in &mut adapter.modules {
                let linear = self
                    .linear(module)
                    .ok_or(LoraError::Unsupported("use_dora true for an embedding".into()))?;
                low.start_magnitude(module, linear.base());
            }
        }
        for name in fit.trained_whole(&config, &chosen) {
            let whole = self.read_whole(&name, &fit.tensors[&name])?;
            adapter.whole.insert(name, whole);
        }
        // PEFT saves embeddings that have a branch.
        for (module, tensor) in [(EMBEDDING_MODULE, EMBEDDING), (HEAD_MODULE, HEAD)] {
            if adapter.modules.contains_key(module) {
                let whole = self.read_whole(tensor, &fit.tensors[tensor])?;
                adapter.whole.insert(tensor.to_owned(), whole);
            }
        }
        Ok(adapter)
    }

    /// Puts an adapter beside the layers it names.
    ///
    /// With [`Attach::Trainable`], [`Llama::variables`] are then the adapter's, under PEFT's names;
    /// those of the base, if it had any, are no longer listed.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Adapter`] if it does not hold exactly what its settings name in this network,
    /// in its sizes, or if one is attached already; the network is then unchanged.
    pub fn attach(&mut self, adapter: &Adapter, attach: Attach) -> Result<(), NetworkError> {
        if self.adapter.is_some() {
            return Err(LoraError::Attached.into());
        }
        let fit = Fit::of(&self.config);
        let trained = fit.check(adapter)?;
        self.check_int8_biases(adapter)?;
        let enlarged = adapter.whole.get(EMBEDDING).map(|whole| whole.shape[0]);
        let mut whole = BTreeMap::new();
        let mut variables = Vec::new();
        for (name, tensor) in &adapter.whole {
            let held = match attach == Attach::Trainable && trained.contains(name) {
                true => Held::Trained(Var::from_tensor(&tensor_of(tensor))?),
                false => Held::Fixed(tensor.clone()),
            };
            let peft_name = adapter.whole_name(name);
            if let Held::Trained(var) = &held {
                variables.push((peft_name.clone(), var.clone()));
            }
            self.put_whole(name, &held);
            whole.insert(name.clone(), (peft_name, held));
        }
        if let Some(rows) = enlarged {
            self.config.vocab_size = rows;
        }
        let branch = |module: &str, base: &Base| {
            let low = adapter.modules.get(module)?;
            Some(Branch::new(module, low, adapter.config.lora_dropout, attach, base))
        };
        let mut branches = Vec::new();
        let embedding = branch(EMBEDDING_MODULE, &self.embedding);
        branches.extend(embedding.iter().flat_map(Branch::variables));
        for (name, linear) in self.linears_mut() {
            let branch = branch(&name, linear.base());
            branches.extend(branch.iter().flat_map(Branch::variables));
            linear.set_branch(branch);
        }
        if adapter.modules.contains_key(HEAD_MODULE) {
            let embedding = &self.embedding;
            let head = self.head.get_or_insert_with(|| Linear::new(embedding.clone(), None));
            let branch = branch(HEAD_MODULE, head.base());
            branches.extend(branch.iter().flat_map(Branch::variables));
            head.set_branch(branch);
        }
        self.variables = branches.into_iter().chain(variables).collect();
        self.adapter = Some(Attached { config: adapter.config.clone(), embedding, whole });
        Ok(())
    }

    /// Returns the attached adapter with its values as they are now, `None` without one.
    ///
    /// # Errors
    ///
    /// If the tensor library fails.
    pub fn adapter(&self) -> Result<Option<Adapter>, NetworkError> {
        let Some(attached) = &self.adapter else { return Ok(None) };
        let embedding = attached.embedding.as_ref().map(|branch| (EMBEDDING_MODULE, branch));
        let linears = self.linears().filter_map(|(name, linear)| Some((name, linear.branch()?)));
        let head = self.head.as_ref().and_then(Linear::branch).map(|branch| (HEAD_MODULE, branch));
        let modules = embedding
            .into_iter()
            .chain(head)
            .map(|(name, branch)| (name.to_owned(), branch))
            .chain(linears)
            .map(|(name, branch)| Ok((name, branch.low_rank()?)))
            .collect::<Result<_, NetworkError>>()?;
        let whole = attached
            .whole
            .iter()
            .map(|(name, (_, held))| Ok((name.clone(), held.values()?)))
            .collect::<Result<_, NetworkError>>()?;
        Ok(Some(Adapter { config: attached.config.clone(), modules, whole, notes: Vec::new() }))
    }

    /// Returns the settings of the attached adapter, `None` without one.
    pub fn adapter_settings(&self) -> Option<&LoraConfig> {
        self.adapter.as_ref().map(|attached| &attached.config)
    }

    /// Returns the tensors that the attached adapter holds in full and does not train, under PEFT's
    /// names.
    pub fn adapter_constants(&self) -> impl Iterator<Item = (&str, &Whole)> {
        let whole = self.adapter.iter().flat_map(|attached| attached.whole.values());
        whole.filter_map(|(name, held)| match held {
            Held::Fixed(whole) => Some((&**name, whole)),
            Held::Trained(_) => None,
        })
    }

    fn linear(&self, module: &str) -> Option<&Linear> {
        match module == HEAD_MODULE {
            true => self.head.as_ref(),
            false => self.linears().find(|(name, _)| name == module).map(|(_, linear)| linear),
        }
    }

    /// Returns a tensor of the base.
    fn read_whole(&self, name: &str, shape: &[usize]) -> Result<Whole, NetworkError> {
        let rows = |base: &Base| {
            let [outputs, inputs] = base.shape();
            let mut values = vec![0.0; outputs * inputs];
            for (row, out) in values.chunks_mut(inputs).enumerate() {
                base.row(row, out);
            }
            values
        };
        let values = match name {
            EMBEDDING => rows(&self.embedding),
            HEAD => {
                self.head.as_ref().map_or_else(|| rows(&self.embedding), |head| rows(head.base()))
            }
            _ => match self.slot(name) {
                Some(Slot::Weight(linear)) => rows(linear.base()),
                Some(Slot::Vector(vector)) => vector,
                None => return Err(LoraError::ExtraTensor(name.to_owned()).into()),
            },
        };
        Ok(Whole { shape: shape.to_vec(), values })
    }

    /// Returns a tensor of the blocks, or the last norm.
    fn slot(&self, name: &str) -> Option<Slot<'_>> {
        let (module, parameter) = name.rsplit_once('.')?;
        if let Some(linear) = self.linear(module) {
            return match (parameter, linear.base()) {
                ("weight", _) => Some(Slot::Weight(linear)),
                (_, Base::Int8(layer)) => layer.bias().map(|bias| Slot::Vector(bias.to_vec())),
                _ => Slot::vector(linear.bias()?),
            };
        }
        Slot::vector(match NormPlace::of(module)? {
            NormPlace::Last => &self.norm,
            NormPlace::Input(layer) => &self.blocks.get(layer)?.input_norm,
            NormPlace::Post(layer) => &self.blocks.get(layer)?.post_norm,
        })
    }

    /// Refuses a bias in place of one that is inside an int8 layer.
    fn check_int8_biases(&self, adapter: &Adapter) -> Result<(), LoraError> {
        let is_inside = |name: &str| {
            let Some(module) = name.strip_suffix(".bias") else { return false };
            let weight_stays = !adapter.whole.contains_key(&format!("{module}.weight"));
            let is_int8 = |linear: &Linear| matches!(linear.base(), Base::Int8(_));
            weight_stays && self.linear(module).is_some_and(is_int8)
        };
        match adapter.whole.keys().find(|name| is_inside(name)) {
            Some(name) => Err(LoraError::Unsupported(format!("{name} trained over int8 weights"))),
            None => Ok(()),
        }
    }

    /// Puts a tensor in place of the base's; its name and shape have been checked.
    fn put_whole(&mut self, name: &str, held: &Held) {
        match name {
            EMBEDDING => {
                let base = std::mem::replace(&mut self.embedding, held.base());
                // A tied output matrix stays what it was, unless the vocabulary was enlarged.
                if self.head.is_none() && base.shape() == self.embedding.shape() {
                    self.head = Some(Linear::new(base, None));
                }
                return;
            }
            HEAD => {
                self.head = Some(Linear::new(held.base(), None));
                return;
            }
            _ => {}
        }
        let Some((module, parameter)) = name.rsplit_once('.') else { return };
        if let Some((_, linear)) = self.linears_mut().find(|(name, _)| name == module) {
            if parameter == "weight" {
                let inner = match linear.base() {
                    Base::Int8(layer) if linear.bias().is_none() => {
                        layer.bias().map(<[f32]>::to_vec)
                    }
                    _ => None,
                };
                if let Some(values) = inner {
                    let whole = Whole { shape: vec![values.len()], values };
                    linear.set_bias(Some(tensor_of(&whole)));
                }
                linear.set_base(held.base());
            } else {
                linear.set_bias(Some(held.vector()));
            }
            return;
        }
        match NormPlace::of(module) {
            Some(NormPlace::Last) => self.norm = held.vector(),
            Some(NormPlace::Input(layer)) => self.blocks[layer].input_norm = held.vector(),
            Some(NormPlace::Post(layer)) => self.blocks[layer].post_norm = held.vector(),
            None => {}
        }
    }
}

/// A tensor inside the network.
enum Slot<'a> {
    Weight(&'a Linear),
    Vector(Vec<f32>),
}

impl Slot<'_> {
    fn vector(tensor: &Tensor) -> Option<Self> {
        tensor.to_vec1().ok().map(Self::Vector)
    }
}

/// Which norm.
enum NormPlace {
    Last,
    Input(usize),
    Post(usize),
}

impl NormPlace {
    fn of(module: &str) -> Option<Self> {
        if module == "model.norm" {
            return Some(Self::Last);
        }
        let (layer, name) = module.strip_prefix("model.layers.")?.split_once('.')?;
        let layer = layer.parse().ok()?;
        match name {
            "input_layernorm" => Some(Self::Input(layer)),
            "post_attention_layernorm" => Some(Self::Post(layer)),
            _ => None,
        }
    }
}

impl Held {
    fn base(&self) -> Base {
        match self {
            Self::Trained(var) => Base::Trainable(var.clone()),
            Self::Fixed(Whole { shape, values }) => {
                let mut matrix = Matrix::zeros(WeightType::F32, shape[0], shape[1]);
                matrix.set_rows(0, values);
                Base::Frozen(Arc::new(matrix))
            }
        }
    }

    fn vector(&self) -> Tensor {
        match self {
            Self::Trained(var) => var.as_tensor().clone(),
            Self::Fixed(whole) => tensor_of(whole),
        }
    }

    fn values(&self) -> Result<Whole, NetworkError> {
        match self {
            Self::Fixed(whole) => Ok(whole.clone()),
            Self::Trained(var) => {
                let values = var.flatten_all()?.to_vec1()?;
                Ok(Whole { shape: var.dims().to_vec(), values })
            }
        }
    }
}

fn tensor_of(Whole { shape, values }: &Whole) -> Tensor {
    Tensor::from_slice(values, &**shape, &Device::Cpu).expect("shape and values were read together")
}
