//! `adapter_config.json`: the fields of PEFT, and what they say about a module.

use std::fmt;

use regex::Regex;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Map, Value};

use super::{LoraError, fields, targets::Matcher};

/// Which modules get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// A regular expression for the whole name, or `all-linear`.
    Pattern(String),
    /// Names, or ends of names after a dot.
    Names(Vec<String>),
}

/// One value or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// Returns the values.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// Which biases of the base are trained and saved with the adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainedBias {
    /// None.
    #[default]
    None,
    /// Those of the whole network.
    All,
    /// Those of the layers with a branch.
    LoraOnly,
}

/// How A and B begin, and with that which base an adapter belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Initial {
    /// `true`: A uniform, B zero; `false`: both uniform.
    Usual(bool),
    /// A method by name, e.g. `gaussian`.
    Named(String),
}

/// Values by regular expressions for the end of a module's name; the first that matches counts, in
/// the order of the file.
///
/// PEFT sorts the patterns when it saves and takes the first match in the file's order when it
/// loads. What is written here keeps its order, so that it means the same to both.
#[derive(Debug, Clone, PartialEq)]
pub struct Patterns<T>(pub Vec<(String, T)>);

impl<T> Default for Patterns<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Patterns<T> {
    fn first(&self, module: &str) -> Result<Option<T>, LoraError> {
        for (pattern, value) in &self.0 {
            if compile(&format!(r"^(?:.*\.)?(?:{pattern})$"))?.is_match(module) {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

impl<T: Serialize> Serialize for Patterns<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (pattern, value) in &self.0 {
            map.serialize_entry(pattern, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patterns<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of patterns")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_any(InOrder(std::marker::PhantomData)).map(Self)
    }
}

/// Settings of an adapter, under PEFT's names. Unknown fields are kept as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    /// The model it was made for.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rank where no pattern says another.
    #[serde(default = "eight")]
    pub r: usize,
    /// Numerator of the scaling where no pattern says another.
    #[serde(default = "eight_float", serialize_with = "write_alpha")]
    pub lora_alpha: f64,
    /// Probability that training drops an input.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Whether the scaling is alpha / sqrt(rank).
    #[serde(default)]
    pub use_rslora: bool,
    /// Whether rows are rescaled to trained magnitudes (DoRA).
    #[serde(default)]
    pub use_dora: bool,
    /// Other ranks.
    #[serde(default)]
    pub rank_pattern: Patterns<usize>,
    /// Other alphas.
    #[serde(default, serialize_with = "write_alphas")]
    pub alpha_pattern: Patterns<f64>,
    /// Which modules; absent means `q_proj` and `v_proj`.
    #[serde(default)]
    pub target_modules: Option<Targets>,
    /// Which of them not.
    #[serde(default)]
    pub exclude_modules: Option<Targets>,
    /// Only in these layers.
    #[serde(default)]
    pub layers_to_transform: Option<OneOrMany<usize>>,
    /// What stands before the number of a layer.
    #[serde(default)]
    pub layers_pattern: Option<OneOrMany<String>>,
    /// Ends of the names of modules that are trained whole.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
    /// Which biases are trained.
    #[serde(default)]
    pub bias: TrainedBias,
    /// How A and B begin.
    #[serde(default = "usual")]
    pub init_lora_weights: Initial,
    /// Every other field, as read.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

fn eight() -> usize {
    8
}

fn eight_float() -> f64 {
    8.0
}

fn usual() -> Initial {
    Initial::Usual(true)
}

/// Returns 16 and not 16.0, as PEFT writes the usual alphas.
fn without_point(value: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "only where nothing is lost")]
    if value.fract() == 0.0 && value.abs() < 2_f64.powi(53) {
        (value as i64).into()
    } else {
        value.into()
    }
}

fn write_alpha<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    without_point(*value).serialize(serializer)
}

fn write_alphas<S: Serializer>(
    Patterns(alphas): &Patterns<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let alphas = alphas.iter().map(|(pattern, alpha)| (pattern.clone(), without_point(*alpha)));
    Patterns(alphas.collect()).serialize(serializer)
}

impl LoraConfig {
    /// Reads the text of `adapter_config.json`, of 2023 or of today.
    ///
    /// # Errors
    ///
    /// [`LoraError::Unsupported`] names a setting that changes the arithmetic and is not computed,
    /// [`LoraError::ChangedBase`] one that changed the base; [`LoraError::Value`] and
    /// [`LoraError::Conflict`] what PEFT refuses as well.
    pub fn parse(text: &str) -> Result<Self, LoraError> {
        let json = |source| LoraError::Json { path: "adapter_config.json".into(), source };
        let config: Self = serde_json::from_str(text).map_err(json)?;
        fields::check(&config.rest)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), LoraError> {
        if let Initial::Named(name) = &self.init_lora_weights {
            fields::check_initial(name)?;
        }
        let value = |field, value: String| Err(LoraError::Value { field, value });
        let ranks = [self.r].into_iter().chain(self.rank_pattern.0.iter().map(|(_, rank)| *rank));
        if let Some(rank) = ranks.into_iter().find(|rank| !(1..=MAX_RANK).contains(rank)) {
            return value("r", rank.to_string());
        }
        let alphas = self.alpha_pattern.0.iter().map(|(_, alpha)| *alpha);
        if let Some(alpha) = alphas.chain([self.lora_alpha]).find(|alpha| !alpha.is_finite()) {
            return value("lora_alpha", alpha.to_string());
        }
        if !(0.0..=1.0).contains(&self.lora_dropout) {
            return value("lora_dropout", self.lora_dropout.to_string());
        }
        let conflict = |a, b| Err(LoraError::Conflict(a, b));
        let layers = self.layers_to_transform.is_some();
        if let Some(Targets::Pattern(_)) = &self.target_modules {
            if layers {
                return conflict("layers_to_transform", "a target_modules that is one text");
            }
            if self.layers_pattern.is_some() {
                return conflict("layers_pattern", "a target_modules that is one text");
            }
        }
        let pattern = self.layers_pattern.as_ref().map_or(&[][..], OneOrMany::as_slice);
        if pattern.iter().any(|pattern| !pattern.is_empty()) && !layers {
            return conflict("layers_pattern", "no layers_to_transform");
        }
        Ok(())
    }

    /// Returns the settings with every field that PEFT 0.21.2 writes, absent ones at their defaults.
    #[must_use]
    pub fn completed(mut self) -> Self {
        fields::complete(&mut self.rest);
        self
    }

    /// Returns the fields that PEFT 0.21.2 does not know and would drop.
    pub fn unknown_fields(&self) -> Vec<&str> {
        self.rest.keys().map(|field| &**field).filter(|field| !fields::is_known(field)).collect()
    }

    /// Returns the JSON that PEFT would write: keys sorted, two spaces, no newline at the end.
    /// Patterns keep their order, which is what they mean.
    ///
    /// # Errors
    ///
    /// If a number has no JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut value {
            fields.sort_keys();
        }
        serde_json::to_string_pretty(&value)
    }

    /// Returns the names, of `modules`, that get an adapter, in their order.
    ///
    /// `modules` are the linear layers and the embedding, e.g. `model.layers.0.self_attn.q_proj`;
    /// `all-linear` names neither the output matrix nor the embedding.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`], or [`LoraError::NoTarget`] if none does.
    pub fn select<'a>(&self, modules: &[&'a str]) -> Result<Vec<&'a str>, LoraError> {
        let matcher = Matcher::new(self)?;
        let chosen: Vec<&str> =
            modules.iter().copied().filter(|module| matcher.targets(module)).collect();
        if chosen.is_empty() { Err(LoraError::NoTarget) } else { Ok(chosen) }
    }

    /// Returns whether a tensor of the base, e.g. `lm_head.weight`, is trained whole because its
    /// module is one of `modules_to_save`.
    ///
    /// As in PEFT, a name counts wherever a module's name ends in it: `norm` names every norm.
    pub fn saves(&self, tensor: &str) -> bool {
        let Some(ends) = &self.modules_to_save else { return false };
        let mut module = tensor;
        while let Some((parent, _)) = module.rsplit_once('.') {
            if ends.iter().any(|end| parent.ends_with(&**end)) {
                return true;
            }
            module = parent;
        }
        false
    }

    /// Returns the rank of a module.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn rank(&self, module: &str) -> Result<usize, LoraError> {
        Ok(self.rank_pattern.first(module)?.unwrap_or(self.r))
    }

    /// Returns s of a module: alpha / rank, or alpha / sqrt(rank).
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn scaling(&self, module: &str) -> Result<f64, LoraError> {
        let alpha = self.alpha_pattern.first(module)?.unwrap_or(self.lora_alpha);
        let rank = self.rank(module)? as f64;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }
}

/// Far above any adapter; keeps products of sizes from overflowing.
const MAX_RANK: usize = 1 << 16;

pub(super) fn compile(pattern: &str) -> Result<Regex, LoraError> {
    Regex::new(pattern)
        .map_err(|source| LoraError::Pattern { pattern: pattern.into(), source: Box::new(source) })
}
