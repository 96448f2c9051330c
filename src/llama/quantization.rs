//! `quantization_config` of a `config.json`: which linear layers are stored as int8.
//!
//! Written by transformers since 2023, with more and more fields. Whatever would make the weights
//! something else than LLM.int8() is refused by its name.
//! Source: `transformers` 5.23.0, `BitsAndBytesConfig` and `should_convert_module`.

use regex::Regex;
use serde_json::Value;

use super::ConfigError;
use crate::quant::OUTLIER_THRESHOLD;

/// The name of the field.
const FIELD: &str = "quantization_config";

/// How a checkpoint was quantised.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantization {
    /// Magnitude from which an activation is an outlier; 0 for none.
    pub threshold: f32,
    /// Names and patterns of the modules left in floats; `None` leaves the output matrix alone.
    pub skip: Option<Vec<String>>,
}

impl Quantization {
    /// Reads the field's value; `None` where it is null.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Unsupported`] for 4-bit weights, other methods, weights quantised at each pass,
    /// and values of a wrong type.
    pub(super) fn parse(value: &Value) -> Result<Option<Self>, ConfigError> {
        let fields = match value {
            Value::Null => return Ok(None),
            Value::Object(fields) => fields,
            _ => return Err(refuse("", value, "must be an object or null")),
        };
        let get = |key: &str| fields.get(key).filter(|value| !value.is_null());
        let flag = |key: &str| match get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(refuse(key, value, "must be true or false")),
        };
        if let Some(method) = get("quant_method")
            && method != "bitsandbytes"
        {
            return Err(refuse("quant_method", method, "of quantised weights int8 is read"));
        }
        for key in ["load_in_4bit", "_load_in_4bit"] {
            if flag(key)? {
                return Err(refuse(key, &true.into(), "4-bit weights are not read"));
            }
        }
        // Written twice by some versions, once by others.
        if !(flag("load_in_8bit")? | flag("_load_in_8bit")?) {
            return Err(refuse("load_in_8bit", &false.into(), "of quantised weights int8 is read"));
        }
        if flag("llm_int8_has_fp16_weight")? {
            let why = "weights that are quantised at each pass are not computed";
            return Err(refuse("llm_int8_has_fp16_weight", &true.into(), why));
        }
        Ok(Some(Self {
            threshold: threshold(get("llm_int8_threshold"))?,
            skip: get("llm_int8_skip_modules").map(skip).transpose()?,
        }))
    }

    /// Returns whether a module, by its full name, was left in floats.
    ///
    /// A pattern leaves alone what it matches from the beginning to the end of a part of the name,
    /// and every name that ends with it as a text.
    pub fn skips(&self, module: &str) -> bool {
        let skip = self.skip.iter().flatten();
        skip.into_iter().any(|key| {
            let whole = pattern(key).expect("checked when it was read");
            module.ends_with(&**key) || parts(module).any(|part| whole.is_match(part))
        })
    }
}

/// Each beginning of a name up to a boundary between its parts: `a`, `a.`, `a.b` of `a.b`.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    let dots = name.match_indices('.').map(|(at, _)| at);
    dots.flat_map(|at| [at, at + 1]).chain([name.len()]).map(|end| &name[..end])
}

fn pattern(key: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{key})$"))
}

fn threshold(value: Option<&Value>) -> Result<f32, ConfigError> {
    let Some(value) = value else { return Ok(OUTLIER_THRESHOLD) };
    let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
    #[expect(clippy::cast_possible_truncation, reason = "compared with values in half precision")]
    let number = number.map(|number| number as f32);
    number.ok_or_else(|| refuse("llm_int8_threshold", value, "must be a number of at least 0"))
}

fn skip(value: &Value) -> Result<Vec<String>, ConfigError> {
    let key = "llm_int8_skip_modules";
    let wrong = || refuse(key, value, "must be a list of names or patterns");
    let names = value.as_array().ok_or_else(wrong)?.iter();
    let names: Vec<String> = names
        .map(|name| name.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    match names.iter().find(|name| pattern(name).is_err()) {
        Some(name) => Err(refuse(key, &name.as_str().into(), "is no pattern that is understood")),
        None => Ok(names),
    }
}

fn refuse(key: &str, value: &Value, why: &'static str) -> ConfigError {
    let field = if key.is_empty() { FIELD.to_owned() } else { format!("{FIELD}.{key}") };
    ConfigError::Unsupported { field, value: value.to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `should_convert_module` says of each, run in transformers 5.23.0.
    #[test]
    fn modules_are_skipped_as_transformers_skips_them() {
        let skips = |key: &str, module: &str| {
            Quantization { threshold: 6.0, skip: Some(vec![key.to_owned()]) }.skips(module)
        };
        let module = "model.layers.11.self_attn.o_proj";
        for key in ["o_proj", "proj", "model.layers.11", "model.layers.*", "model", "n.o_proj"] {
            assert!(skips(key, module), "{key}");
        }
        for key in ["down", "model.layers.1", "layers", "self_attn", "model.lay", "lm_head"] {
            assert!(!skips(key, module), "{key}");
        }
        assert!(!Quantization { threshold: 6.0, skip: None }.skips(module));
    }
}
