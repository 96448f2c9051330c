//! `config.json` of a LLaMA-family checkpoint, read strictly.
//!
//! Guarantees: whatever this network does not compute is refused by its name in the file. Fields
//! that older files lack take the value the format documents for them; a size never does.
//! Source: `transformers` 5.23.0, `LlamaConfig`, `MistralConfig`, `Qwen2Config`.

use std::path::Path;

use serde_json::{Map, Value};

use super::{ConfigError, quantization::Quantization, rope::Scaling};

/// The sizes and switches of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `llama`, `mistral` or `qwen2`.
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; a divisor of `heads`.
    pub kv_heads: usize,
    /// Width of one head, even.
    pub head_dim: usize,
    /// Longest sequence, in tokens.
    pub context: usize,
    /// Added to the mean square in every norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary wavelengths.
    pub rope_theta: f64,
    /// How wavelengths are stretched.
    pub rope_scaling: Scaling,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Which linear layers add a bias.
    pub bias: Bias,
    /// How the weights are stored if they are not in floats.
    pub quantization: Option<Quantization>,
    /// Token that opens a text; `None` if the file names none.
    pub bos: Option<u32>,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
    /// Token that fills a batch, as written: old files say -1, which counts from the vocabulary's
    /// end. 0 where the file is silent, `None` where it says null.
    ///
    /// Source: transformers 4.28.1, `LlamaConfig`.
    pub pad: Option<i64>,
    /// Remarks on the file that do not stop a run, e.g. a context cut to the attention window.
    pub notes: Vec<String>,
}

/// Which linear layers add a bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bias {
    /// Query, key and value projections.
    pub qkv: bool,
    /// The projection behind attention.
    pub out: bool,
    /// All three of the feed-forward block.
    pub mlp: bool,
}

impl Config {
    /// Reads `config.json`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the file cannot be read, lacks a size, or asks for something this network
    /// does not compute.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Parses the text of a `config.json`.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let map: Map<String, Value> = serde_json::from_str(text).map_err(ConfigError::Json)?;
        let fields = Fields(&map);
        let model_type = fields.text("model_type")?.ok_or(ConfigError::Missing("model_type"))?;
        check_architecture(&fields, &model_type)?;
        refuse_unknown_parts(&fields)?;

        let mut notes = Vec::new();
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let kv_heads = fields.optional_size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            return Err(fields.refuse("num_key_value_heads", "must divide num_attention_heads"));
        }
        let head_dim = match fields.optional_size("head_dim")? {
            Some(width) => width,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => {
                return Err(fields.refuse("num_attention_heads", "must divide hidden_size"));
            }
        };
        if head_dim % 2 != 0 {
            return Err(ConfigError::Unsupported {
                field: "head_dim".into(),
                value: head_dim.to_string(),
                why: "rotary positions need an even width",
            });
        }
        let mut context = match fields.optional_size("max_position_embeddings")? {
            Some(context) => context,
            // The name LLaMA conversions of early 2023 used.
            None => fields
                .optional_size("max_sequence_length")?
                .ok_or(ConfigError::Missing("max_position_embeddings"))?,
        };
        if let Some(window) = sliding_window(&fields, &model_type)?
            && window < context
        {
            notes.push(format!(
                "sliding-window attention is not computed: the context of {context} tokens is cut \
                 to the window of {window}, within which both agree"
            ));
            context = window;
        }
        let attention_bias = fields.flag("attention_bias")?.unwrap_or(false);
        let bias = Bias {
            qkv: attention_bias || model_type == "qwen2",
            out: attention_bias && model_type != "qwen2",
            mlp: fields.flag("mlp_bias")?.unwrap_or(false),
        };
        let (rope_theta, rope_scaling) = rope(&fields, context)?;
        Ok(Self {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            context,
            rms_norm_eps: norm_eps(&fields)?,
            rope_theta,
            rope_scaling,
            tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            bias,
            quantization: match map.get("quantization_config") {
                Some(value) => Quantization::parse(value)?,
                None => None,
            },
            bos: fields.token("bos_token_id")?,
            eos: fields.tokens("eos_token_id")?,
            pad: map.get("pad_token_id").map_or(Some(0), Value::as_i64),
            notes,
            model_type,
        })
    }

    /// Returns the number of weights, each shared matrix counted once.
    pub fn parameters(&self) -> usize {
        let (d, kv, q) =
            (self.hidden_size, self.kv_heads * self.head_dim, self.heads * self.head_dim);
        let attention = 2 * d * q + 2 * d * kv;
        let bias = usize::from(self.bias.qkv) * (q + 2 * kv)
            + usize::from(self.bias.out) * d
            + usize::from(self.bias.mlp) * (2 * self.intermediate_size + d);
        let block = attention + 3 * d * self.intermediate_size + 2 * d + bias;
        let embeddings = if self.tied { 1 } else { 2 } * self.vocab_size * d;
        self.layers * block + embeddings + d
    }
}

/// Every architecture name seen for the three families, the misspelt one of early 2023 too.
const ARCHITECTURES: [(&str, &str); 4] = [
    ("llama", "LlamaForCausalLM"),
    ("llama", "LLaMAForCausalLM"),
    ("mistral", "MistralForCausalLM"),
    ("qwen2", "Qwen2ForCausalLM"),
];

fn check_architecture(fields: &Fields<'_>, model_type: &str) -> Result<(), ConfigError> {
    if !ARCHITECTURES.iter().any(|(family, _)| *family == model_type) {
        return Err(fields.refuse("model_type", "only llama, mistral and qwen2 are computed"));
    }
    match fields.0.get("architectures") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Array(names))
            if names.iter().all(|name| {
                name.as_str().is_some_and(|name| ARCHITECTURES.contains(&(model_type, name)))
            }) =>
        {
            Ok(())
        }
        Some(_) => {
            Err(fields.refuse("architectures", "not a causal language model of this family"))
        }
    }
}

/// Refuses what would change the arithmetic and is not computed here.
fn refuse_unknown_parts(fields: &Fields<'_>) -> Result<(), ConfigError> {
    for key in ["hidden_act", "hidden_activation"] {
        if let Some(act) = fields.text(key)?
            && act != "silu"
            && act != "swish"
        {
            return Err(fields.refuse(key, "only silu is computed"));
        }
    }
    if let Some(factor) = fields.number("partial_rotary_factor")?
        && factor < 1.0
    {
        return Err(fields.refuse("partial_rotary_factor", "heads are rotated whole"));
    }
    for key in
        ["num_experts", "num_local_experts", "layer_types_override", "final_logit_softcapping"]
    {
        if fields.0.get(key).is_some_and(|value| !value.is_null()) {
            return Err(fields.refuse(key, "not part of this network"));
        }
    }
    if let Some(Value::Array(kinds)) = fields.0.get("layer_types")
        && kinds.iter().any(|kind| kind != "full_attention" && kind != "sliding_attention")
    {
        return Err(fields.refuse("layer_types", "only full attention is computed"));
    }
    Ok(())
}

fn sliding_window(fields: &Fields<'_>, model_type: &str) -> Result<Option<usize>, ConfigError> {
    match model_type {
        "mistral" => fields.optional_size("sliding_window"),
        "qwen2" if fields.flag("use_sliding_window")? == Some(true) => {
            fields.optional_size("sliding_window")
        }
        _ => Ok(None),
    }
}

fn norm_eps(fields: &Fields<'_>) -> Result<f32, ConfigError> {
    let eps = fields.number("rms_norm_eps")?.ok_or(ConfigError::Missing("rms_norm_eps"))?;
    if !(eps > 0.0 && eps < 1.0) {
        return Err(fields.refuse("rms_norm_eps", "must lie between 0 and 1"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "the reference rounds it to f32 too")]
    Ok(eps as f32)
}

/// Reads base and scaling, from the top level (`rope_theta`, `rope_scaling`) or from
/// `rope_parameters`, as `transformers` 5 writes them.
fn rope(fields: &Fields<'_>, context: usize) -> Result<(f64, Scaling), ConfigError> {
    let empty = Map::new();
    let nested = |key: &'static str| match fields.0.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(fields.refuse(key, "must be an object or null")),
    };
    let (parameters, scaling) = (nested("rope_parameters")?, nested("rope_scaling")?);
    let scaling = Fields(parameters.or(scaling).unwrap_or(&empty));
    let theta = match scaling.number("rope_theta")? {
        Some(theta) => theta,
        // The value of LLaMA 1, whose files lack the field.
        None => fields.number("rope_theta")?.unwrap_or(10_000.0),
    };
    if !(theta.is_finite() && theta > 0.0) {
        return Err(fields.refuse("rope_theta", "must be positive"));
    }
    if let Some(factor) = scaling.number("partial_rotary_factor")?
        && factor < 1.0
    {
        return Err(scaling.refuse("partial_rotary_factor", "heads are rotated whole"));
    }
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or_else(|| "default".into()),
    };
    let positive = |key: &'static str| match scaling.number(key)? {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        Some(_) => Err(scaling.refuse(key, "must be positive")),
        None => Err(ConfigError::Missing(key)),
    };
    let scaling = match &*kind {
        "default" => Scaling::None,
        "linear" => Scaling::Linear { factor: positive("factor")? },
        "llama3" => {
            let (low, high) = (positive("low_freq_factor")?, positive("high_freq_factor")?);
            if high <= low {
                return Err(scaling.refuse("high_freq_factor", "must exceed low_freq_factor"));
            }
            let original = scaling.optional_size("original_max_position_embeddings")?;
            Scaling::Llama3 {
                factor: positive("factor")?,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: original.unwrap_or(context),
            }
        }
        _ => {
            let key = if scaling.0.contains_key("rope_type") { "rope_type" } else { "type" };
            return Err(scaling.refuse(key, "only default, linear and llama3 are computed"));
        }
    };
    Ok((theta, scaling))
}

/// A JSON object read field by field, each with its type checked.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl Fields<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&self, key: &str, why: &'static str) -> ConfigError {
        let value = self.0.get(key).map_or_else(|| "absent".into(), Value::to_string);
        ConfigError::Unsupported { field: key.to_owned(), value, why }
    }

    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.refuse(key, "must be a string")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.refuse(key, "must be true or false")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => {
                value.as_f64().map(Some).ok_or_else(|| self.refuse(key, "must be a number"))
            }
        }
    }

    fn optional_size(&self, key: &'static str) -> Result<Option<usize>, ConfigError> {
        /// Far above any real model; keeps products of sizes from overflowing.
        const LARGEST: u64 = 1 << 28;
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .filter(|value| (1..=LARGEST).contains(value))
                .and_then(|value| usize::try_from(value).ok())
                .map(Some)
                .ok_or_else(|| self.refuse(key, "must be a whole number from 1 to 2^28")),
        }
    }

    fn size(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.optional_size(key)?.ok_or(ConfigError::Missing(key))
    }

    pub(super) fn token(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .map(Some)
                .ok_or_else(|| self.refuse(key, "must be a token id")),
        }
    }

    /// Reads one token id or a list of them; empty if the field is absent.
    pub(super) fn tokens(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let ids = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(ids)) => ids.iter().collect(),
            Some(id) => vec![id],
        };
        ids.into_iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.refuse(key, "must be a token id or a list of them"))
    }
}
