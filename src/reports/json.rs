//! `report.json`: every field of the schema for every run, the comparisons, the warnings.

use serde_json::{Map, Value, json};

use super::{Report, ReportError, SCHEMA_VERSION, check, fields};

/// Returns the report as JSON, checked to hold every mandatory field.
///
/// # Errors
///
/// [`ReportError::MissingFields`] if a field was not filled.
pub fn json(report: &Report<'_>) -> Result<Value, ReportError> {
    let runs: Vec<Value> = report
        .runs
        .iter()
        .map(|run| {
            let mut object = Map::from_iter([("label".to_owned(), json!(run.records.label))]);
            for (group, filled) in fields(report, run) {
                let values: Map<String, Value> = filled
                    .into_iter()
                    .map(|(name, field)| (name.to_owned(), field.json()))
                    .collect();
                object.insert(group.name.to_owned(), Value::Object(values));
            }
            Value::Object(object)
        })
        .collect();
    let value = json!({
        "schema_version": SCHEMA_VERSION,
        "runs": runs,
        "pairs": report.pairs_once().collect::<Vec<_>>(),
        "warnings": report.warnings(),
    });
    check(&value)?;
    Ok(value)
}
