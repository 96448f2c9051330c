//! One field of a report, present or with the reason why not, and the check that none is missing.

use serde_json::{Map, Value, json};

use super::{
    ReportError,
    schema::{NOT_REPORTED, SCHEMA, SCHEMA_VERSION},
};

/// One field of one run.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// Its value.
    Reported(Value),
    /// Why there is none.
    NotReported(String),
}

impl Field {
    /// Returns a field with a value.
    pub fn of(value: impl serde::Serialize) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => Self::Reported(value),
            Err(error) => Self::NotReported(format!("cannot be written as JSON: {error}")),
        }
    }

    /// Returns a field with the value, or the reason why there is none.
    pub fn known(value: Option<impl serde::Serialize>, otherwise: &str) -> Self {
        value.map_or_else(|| Self::absent(otherwise), Self::of)
    }

    /// Returns an absent field.
    pub fn absent(reason: &str) -> Self {
        Self::NotReported(reason.to_owned())
    }

    /// Returns the field as it stands in `report.json`.
    pub fn json(&self) -> Value {
        match self {
            Self::Reported(value) => value.clone(),
            Self::NotReported(reason) => json!({ NOT_REPORTED: reason }),
        }
    }

    /// Returns the field for a reader: words and numbers bare, anything else as JSON.
    pub fn words(&self) -> String {
        match self {
            Self::Reported(Value::String(text)) => text.clone(),
            Self::Reported(value) => value.to_string(),
            Self::NotReported(reason) => format!("not reported: {reason}"),
        }
    }
}

/// Checks that `report` (the JSON of [`super::json()`]) holds every field of every run.
///
/// A field is present if its key is there with a value other than null; an absent one must give
/// its reason.
///
/// # Errors
///
/// [`ReportError::Schema`] if it is no report of this version, [`ReportError::MissingFields`]
/// with every field that a run lacks.
pub fn check(report: &Value) -> Result<(), ReportError> {
    let schema = |field: &'static str, value: &Value| ReportError::Schema {
        expected: SCHEMA_VERSION,
        field,
        got: value.to_string(),
    };
    if report["schema_version"] != SCHEMA_VERSION {
        return Err(schema("schema_version", &report["schema_version"]));
    }
    let runs = report["runs"].as_array().ok_or_else(|| schema("runs", &report["runs"]))?;
    for run in runs {
        let mut fields = Vec::new();
        for group in SCHEMA {
            for (field, _) in group.fields {
                if !is_present(&run[group.name][*field]) {
                    fields.push(format!("{}.{field}", group.name));
                }
            }
        }
        if !fields.is_empty() {
            let label = run["label"].as_str().unwrap_or("?").to_owned();
            return Err(ReportError::MissingFields { label, fields });
        }
    }
    Ok(())
}

fn is_present(value: &Value) -> bool {
    match value.get(NOT_REPORTED) {
        Some(reason) => reason.as_str().is_some_and(|reason| !reason.trim().is_empty()),
        None => !value.is_null(),
    }
}

/// Returns the JSON Schema (draft 2020-12) of `report.json`.
pub fn json_schema() -> Value {
    let absent = json!({
        "type": "object",
        "properties": { NOT_REPORTED: { "type": "string", "minLength": 1 } },
        "required": [NOT_REPORTED],
    });
    let mut run = Map::from_iter([("label".to_owned(), json!({ "type": "string" }))]);
    for group in SCHEMA {
        let properties: Map<String, Value> = group
            .fields
            .iter()
            .map(|(name, what)| {
                let shape = json!({ "not": { "type": "null" }, "description": what });
                ((*name).to_owned(), shape)
            })
            .collect();
        let required: Vec<&str> = group.fields.iter().map(|(name, _)| *name).collect();
        run.insert(
            group.name.to_owned(),
            json!({
                "type": "object",
                "description": format!("{}; asked for by {}", group.title, group.serves),
                "properties": properties,
                "required": required,
            }),
        );
    }
    let required: Vec<&String> = run.keys().collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report of evaluation runs",
        "type": "object",
        "$defs": { "absent": absent },
        "properties": {
            "schema_version": { "const": SCHEMA_VERSION },
            "runs": {
                "type": "array",
                "items": { "type": "object", "required": required, "properties": run },
            },
            "pairs": { "type": "array" },
            "warnings": { "type": "array", "items": { "type": "string" } },
        },
        "required": ["schema_version", "runs", "pairs", "warnings"],
    })
}
