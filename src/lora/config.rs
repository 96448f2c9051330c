//! `adapter_config.json`: the fields of PEFT, and which modules they name.

use std::collections::BTreeMap;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::LoraError;

/// Which modules get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// A regular expression for the whole name, or `all-linear`.
    Pattern(String),
    /// Names, or ends of names after a dot.
    Names(Vec<String>),
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
    #[serde(default = "eight_float")]
    pub lora_alpha: f64,
    /// Probability that training drops an input.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Whether the scaling is alpha / sqrt(rank).
    #[serde(default)]
    pub use_rslora: bool,
    /// Other ranks, by regular expressions for the end of a name; the first that matches,
    /// in the sorted order in which PEFT writes them.
    #[serde(default)]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other alphas, likewise.
    #[serde(default)]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Which modules; absent means `q_proj` and `v_proj`.
    #[serde(default)]
    pub target_modules: Option<Targets>,
    /// Which of them not.
    #[serde(default)]
    pub exclude_modules: Option<Targets>,
    /// Only in these layers.
    #[serde(default)]
    pub layers_to_transform: Option<Layers>,
    /// Every other field, as read.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One layer or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Layers {
    /// One.
    One(usize),
    /// Several.
    Some(Vec<usize>),
}

fn eight() -> usize {
    8
}

fn eight_float() -> f64 {
    8.0
}

/// Fields that change the arithmetic, with the values that leave it alone.
const NEUTRAL: [(&str, &[&str]); 13] = [
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("use_dora", &["false"]),
    ("use_qalora", &["false"]),
    ("lora_bias", &["false"]),
    ("modules_to_save", &["null", "[]"]),
    ("layer_replication", &["null"]),
    ("layers_pattern", &["null", "[]", "\"\""]),
    ("target_parameters", &["null", "[]"]),
    ("trainable_token_indices", &["null"]),
    ("use_bdlora", &["null", "false"]),
    ("alora_invocation_tokens", &["null"]),
    ("kasa_config", &["null"]),
];

impl LoraConfig {
    /// Reads the text of `adapter_config.json`, of 2023 or of today.
    ///
    /// # Errors
    ///
    /// [`LoraError::Unsupported`] names a setting that changes the arithmetic and is not computed;
    /// [`LoraError::Value`] a rank of 0.
    pub fn parse(text: &str) -> Result<Self, LoraError> {
        let json = |source| LoraError::Json { path: "adapter_config.json".into(), source };
        let config: Self = serde_json::from_str(text).map_err(json)?;
        match config.rest.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => return Err(LoraError::Unsupported(format!("peft_type {other:?}"))),
        }
        for (field, neutral) in NEUTRAL {
            let value = config.rest.get(field).map(Value::to_string);
            if let Some(value) = value.filter(|value| !neutral.contains(&&**value)) {
                return Err(LoraError::Unsupported(format!("{field} {value}")));
            }
        }
        let ranks = [config.r].into_iter().chain(config.rank_pattern.values().copied());
        if ranks.min() == Some(0) {
            return Err(LoraError::Value { field: "r", value: "0".into() });
        }
        Ok(config)
    }

    /// Returns the JSON that PEFT would write: keys sorted, two spaces, no newline at the end.
    ///
    /// # Errors
    ///
    /// If a number has no JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut value = serde_json::to_value(self)?;
        value.sort_all_objects();
        serde_json::to_string_pretty(&value)
    }

    /// Returns the names, of `modules`, that get an adapter, in their order.
    ///
    /// `modules` are the linear layers without the output matrix, e.g.
    /// `model.layers.0.self_attn.q_proj`.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`], or [`LoraError::NoTarget`] if none does.
    pub fn select<'a>(&self, modules: &[&'a str]) -> Result<Vec<&'a str>, LoraError> {
        let usual = Targets::Names(vec!["q_proj".into(), "v_proj".into()]);
        let targets = Matcher::new(self.target_modules.as_ref().unwrap_or(&usual))?;
        let excluded = self.exclude_modules.as_ref().map(Matcher::new).transpose()?;
        let mut chosen = modules.to_vec();
        chosen.retain(|name| {
            let left_out = excluded.as_ref().is_some_and(|excluded| excluded.matches(name));
            targets.matches(name) && !left_out && self.is_in_layers(name)
        });
        if chosen.is_empty() { Err(LoraError::NoTarget) } else { Ok(chosen) }
    }

    fn is_in_layers(&self, name: &str) -> bool {
        let layers = match &self.layers_to_transform {
            None => return true,
            Some(Layers::One(layer)) => std::slice::from_ref(layer),
            Some(Layers::Some(layers)) => layers,
        };
        let layer = name.split('.').skip(2).find_map(|part| part.parse::<usize>().ok());
        layer.is_some_and(|layer| layers.contains(&layer))
    }

    /// Returns the rank of a module.
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn rank(&self, module: &str) -> Result<usize, LoraError> {
        Ok(first_match(&self.rank_pattern, module)?.unwrap_or(self.r))
    }

    /// Returns s of a module: alpha / rank, or alpha / sqrt(rank).
    ///
    /// # Errors
    ///
    /// [`LoraError::Pattern`].
    pub fn scaling(&self, module: &str) -> Result<f64, LoraError> {
        let alpha = first_match(&self.alpha_pattern, module)?.unwrap_or(self.lora_alpha);
        let rank = self.rank(module)? as f64;
        Ok(alpha / if self.use_rslora { rank.sqrt() } else { rank })
    }
}

fn first_match<T: Copy>(
    patterns: &BTreeMap<String, T>,
    module: &str,
) -> Result<Option<T>, LoraError> {
    for (pattern, value) in patterns {
        if compile(&format!(r"^(?:.*\.)?(?:{pattern})$"))?.is_match(module) {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn compile(pattern: &str) -> Result<Regex, LoraError> {
    Regex::new(pattern)
        .map_err(|source| LoraError::Pattern { pattern: pattern.into(), source: Box::new(source) })
}

enum Matcher<'a> {
    All,
    Whole(Regex),
    Ends(&'a [String]),
}

impl<'a> Matcher<'a> {
    fn new(targets: &'a Targets) -> Result<Self, LoraError> {
        Ok(match targets {
            Targets::Pattern(text) if text.eq_ignore_ascii_case("all-linear") => Self::All,
            Targets::Pattern(text) => Self::Whole(compile(&format!("^(?:{text})$"))?),
            Targets::Names(names) => Self::Ends(names),
        })
    }

    fn matches(&self, module: &str) -> bool {
        match self {
            Self::All => true,
            Self::Whole(pattern) => pattern.is_match(module),
            Self::Ends(names) => names.iter().any(|name| {
                module
                    .strip_suffix(&**name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}
