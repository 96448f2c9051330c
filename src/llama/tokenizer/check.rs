//! Refuses a `tokenizer.json` on which the tokenizers library would panic, loop or eat the memory.
//!
//! Six ways to make the library panic are known (tokenizers pull request 2151): truncation with a
//! stride as long as the text, a template that names a special token it does not define, a merge
//! that leads out of the vocabulary, a `Strip` decoder longer than a token, `FixedLength` of 0,
//! and a `Precompiled` table that is null or damaged. What shows in the file is refused here with
//! its name; the rest (and what nobody has found yet) is caught by [`guard`](super::guard).

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

/// Longest text in a rule: the largest pattern of a published tokenizer has some 400 bytes.
const MAX_RULE_BYTES: usize = 4096;

/// How often larger a text may become by replacements: published rules write `▁` (3 bytes) for a
/// space, and byte-level rules 2 bytes for one.
const MAX_GROWTH: usize = 64;

/// The parts that are checked; the library reads the file itself.
#[derive(Deserialize)]
pub(super) struct Parts {
    #[serde(default)]
    truncation: Value,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    #[serde(default)]
    added_tokens: Vec<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    dropout: Option<f64>,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    vocab: Vocabulary,
    #[serde(default)]
    merges: Option<Vec<Merge>>,
}

/// A map in all models but unigram, whose list needs no check here.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vocabulary {
    Map(HashMap<String, u32>),
    Other(serde::de::IgnoredAny),
}

impl Default for Vocabulary {
    fn default() -> Self {
        Self::Map(HashMap::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Line(String),
}

/// A part of the file, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

/// Returns the first fault found.
pub(super) fn check(parts: &Parts) -> Result<(), Fault> {
    truncation(&parts.truncation).map_err(|why| ("truncation", why))?;
    for (field, value) in [
        ("normalizer", &parts.normalizer),
        ("pre_tokenizer", &parts.pre_tokenizer),
        ("decoder", &parts.decoder),
    ] {
        rules(value).map_err(|why| (field, why))?;
        if growth(value) > MAX_GROWTH {
            return Err((
                field,
                format!("replacements make a text over {MAX_GROWTH} times longer"),
            ));
        }
    }
    template(&parts.post_processor).map_err(|why| ("post_processor", why))?;
    for token in &parts.added_tokens {
        if token["id"].as_u64().is_none_or(|id| id >= super::MAX_TOKENS as u64) {
            return Err(("added_tokens", format!("token with the id {}", token["id"])));
        }
    }
    model(&parts.model).map_err(|why| ("model", why))
}

fn truncation(value: &Value) -> Result<(), String> {
    let (length, stride) = (value["max_length"].as_u64(), value["stride"].as_u64());
    match (length, stride) {
        (Some(length), Some(stride)) if stride >= length => {
            Err(format!("stride {stride} is not below max_length {length}"))
        }
        _ => Ok(()),
    }
}

/// Checks each rule of a normalizer, pre-tokenizer or decoder, nested ones too.
fn rules(value: &Value) -> Result<(), String> {
    let kind = value["type"].as_str().unwrap_or_default();
    if kind == "FixedLength" && value["length"].as_u64() == Some(0) {
        return Err("FixedLength of 0".into());
    }
    if kind == "Precompiled" && value["precompiled_charsmap"].as_str().is_none_or(str::is_empty) {
        return Err("Precompiled without a table".into());
    }
    let children = match value {
        Value::Object(fields) => fields.iter().map(|(name, value)| (&**name, value)).collect(),
        Value::Array(items) => items.iter().map(|item| ("", item)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        match child {
            Value::String(text)
                if name != "precompiled_charsmap" && text.len() > MAX_RULE_BYTES =>
            {
                return Err(format!(
                    "`{name}` has {} bytes, more than {MAX_RULE_BYTES}",
                    text.len()
                ));
            }
            _ => rules(child)?,
        }
    }
    Ok(())
}

/// Returns a bound on how many times longer a text can become.
fn growth(value: &Value) -> usize {
    let own = match value["type"].as_str() {
        Some("Replace") => {
            let written = value["content"].as_str().map_or(0, str::len);
            let pattern = value["pattern"]["String"].as_str().map_or(1, str::len);
            written.div_ceil(pattern.max(1)).max(1)
        }
        Some("ByteLevel") => 2,
        _ => 1,
    };
    let children: Vec<&Value> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    children.into_iter().fold(own, |product, child| product.saturating_mul(growth(child)))
}

/// Checks that each special token of a template is defined.
fn template(value: &Value) -> Result<(), String> {
    if value["type"] == "TemplateProcessing" {
        let defined = &value["special_tokens"];
        for piece in ["single", "pair"].iter().filter_map(|name| value[name].as_array()).flatten() {
            if let Some(id) = piece["SpecialToken"]["id"].as_str() {
                let token = &defined[id];
                let (ids, texts) = (token["ids"].as_array(), token["tokens"].as_array());
                if ids.map(Vec::len) != texts.map(Vec::len) || ids.is_none() {
                    return Err(format!("the template names `{id}` without defining it"));
                }
            }
        }
        let single = value["single"].as_array();
        if single.into_iter().flatten().any(|piece| piece["Sequence"]["id"] == "B") {
            return Err("the template for one text asks for a second".into());
        }
    }
    let children = value["processors"].as_array();
    children.into_iter().flatten().try_for_each(template)
}

fn model(model: &Model) -> Result<(), String> {
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err("dropout makes the ids random".into());
    }
    let Vocabulary::Map(vocabulary) = &model.vocab else { return Ok(()) };
    if let Some((token, id)) = vocabulary.iter().find(|(_, id)| **id as usize >= super::MAX_TOKENS)
    {
        return Err(format!("`{token}` has the id {id}"));
    }
    let prefix = model.continuing_subword_prefix.as_deref().unwrap_or_default();
    for merge in model.merges.iter().flatten() {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (&**left, &**right),
            Merge::Line(line) if line.starts_with("#version") => continue,
            Merge::Line(line) => {
                line.split_once(' ').ok_or_else(|| format!("the merge `{line}` is no pair"))?
            }
        };
        let merged = right.strip_prefix(prefix).map(|right| format!("{left}{right}"));
        let known = |token: &str| vocabulary.contains_key(token);
        if !(known(left) && known(right) && merged.is_some_and(|merged| known(&merged))) {
            return Err(format!("the merge `{left}` + `{right}` leads out of the vocabulary"));
        }
    }
    Ok(())
}
