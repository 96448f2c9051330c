//! The fields of one record, each error naming the field.

use serde_json::{Map, Value};

use crate::exam::{Choice, Letter};

/// One JSON object whose fields are taken by name.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// Whether the record has this field, null or not.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The field, which must be there.
    pub(super) fn value(&self, name: &str) -> Result<&'a Value, String> {
        self.0.get(name).ok_or_else(|| format!("missing field `{name}`"))
    }

    /// The field unless it is absent or null.
    pub(super) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, String> {
        text(self.value(name)?, name)
    }

    pub(super) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, String> {
        self.optional(name).map(|value| text(value, name)).transpose()
    }

    pub(super) fn boolean(&self, name: &str) -> Result<bool, String> {
        let value = self.value(name)?;
        value.as_bool().ok_or_else(|| wrong(name, "true or false", value))
    }

    pub(super) fn count(&self, name: &str) -> Result<u64, String> {
        let value = self.value(name)?;
        value.as_u64().ok_or_else(|| wrong(name, "a whole number", value))
    }

    /// A name that is written as text or as a whole number.
    pub(super) fn name(&self, name: &str) -> Result<String, String> {
        match self.value(name)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) if number.is_u64() => Ok(number.to_string()),
            other => Err(wrong(name, "text or a whole number", other)),
        }
    }

    pub(super) fn letter(&self, name: &str) -> Result<Letter, String> {
        letter(self.value(name)?, name)
    }

    pub(super) fn optional_letter(&self, name: &str) -> Result<Option<Letter>, String> {
        self.optional(name).map(|value| letter(value, name)).transpose()
    }

    /// Options as a list of texts, as a list of `{"letter", "text"}`, or as an object from letter
    /// to text.
    pub(super) fn options(&self, name: &str) -> Result<Vec<Choice>, String> {
        let value = self.value(name)?;
        let options: Vec<Choice> = match value {
            Value::Array(items) => {
                items.iter().enumerate().map(|(index, item)| listed(index, item, name)).collect()
            }
            Value::Object(items) => items
                .iter()
                .map(|(key, item)| {
                    let letter = letter(&Value::String(key.clone()), name)?;
                    Ok(Choice { letter, text: text(item, name)?.to_owned() })
                })
                .collect(),
            other => Err(wrong(name, "a list or an object", other)),
        }?;
        if options.is_empty() {
            return Err(format!("field `{name}`: no options"));
        }
        for (index, option) in options.iter().enumerate() {
            if options[..index].iter().any(|other| other.letter == option.letter) {
                return Err(format!("field `{name}`: letter {} twice", option.letter));
            }
        }
        Ok(options)
    }
}

/// One option of a list.
fn listed(index: usize, item: &Value, name: &str) -> Result<Choice, String> {
    match item {
        Value::String(text) => Letter::from_index(index)
            .map(|letter| Choice { letter, text: text.clone() })
            .ok_or_else(|| format!("field `{name}`: more than 26 options")),
        Value::Object(_) => {
            serde_json::from_value(item.clone()).map_err(|error| format!("field `{name}`: {error}"))
        }
        other => Err(wrong(name, "texts", other)),
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| wrong(name, "text", value))
}

fn letter(value: &Value, name: &str) -> Result<Letter, String> {
    let mut chars = text(value, name)?.chars();
    match (chars.next().and_then(Letter::from_char), chars.next()) {
        (Some(letter), None) => Ok(letter),
        _ => Err(wrong(name, "a capital from A to Z", value)),
    }
}

/// The longest part of a wrong value that is shown.
const SHOWN: usize = 40;

pub(super) fn wrong(name: &str, expected: &str, got: &Value) -> String {
    let got = got.to_string();
    let shown: String = got.chars().take(SHOWN).collect();
    let more = if shown.len() < got.len() { "…" } else { "" };
    format!("field `{name}`: expected {expected}, got {shown}{more}")
}
