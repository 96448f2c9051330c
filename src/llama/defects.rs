//! Known defects of published checkpoints, as data (`defects.toml`).
//!
//! A defect is detected and said, never repaired: the protocol decides what stands before a
//! prompt. Only the tokens that end a text grow by those the defect names.

use std::{io, path::Path, sync::LazyLock};

use serde::Deserialize;

use super::CheckpointError;

/// A known defect.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// Short name, written into records.
    pub id: String,
    /// The file that has it.
    pub file: String,
    /// Fields and the values that show it; all must match.
    when: toml::Table,
    /// What is wrong, for the reader.
    pub says: String,
    /// Tokens that should end a text besides those the checkpoint names.
    pub stop: Vec<u32>,
    /// Where it was seen.
    pub source: String,
}

#[derive(Deserialize)]
struct Table {
    defect: Vec<Defect>,
}

/// Returns every defect in the table.
pub fn known() -> &'static [Defect] {
    static KNOWN: LazyLock<Vec<Defect>> = LazyLock::new(|| {
        let table: Table =
            toml::from_str(include_str!("defects.toml")).expect("a test parses the table");
        table.defect
    });
    &KNOWN
}

/// Returns the known defects that a checkpoint folder has.
///
/// # Errors
///
/// If one of the files is there and is not JSON.
pub fn found(folder: &Path) -> Result<Vec<&'static Defect>, CheckpointError> {
    let mut found = Vec::new();
    for defect in known() {
        let path = folder.join(&defect.file);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(CheckpointError::Read { path, source }),
        };
        let json: serde_json::Value = serde_json::from_str(&text)
            .map_err(|error| CheckpointError::Json { path, why: error.to_string() })?;
        let matches = |(key, want): (&String, &toml::Value)| {
            // Special tokens are written as text or as an object with a field `content`.
            let value = json.get(key).map(|value| value.get("content").unwrap_or(value));
            match want {
                toml::Value::String(want) => value.and_then(|v| v.as_str()) == Some(want),
                toml::Value::Integer(want) => value.and_then(|v| v.as_i64()) == Some(*want),
                _ => false,
            }
        };
        if defect.when.iter().all(matches) {
            found.push(defect);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_parses_and_every_defect_has_a_source() {
        assert!(!known().is_empty());
        for defect in known() {
            assert!(!defect.source.is_empty() && !defect.when.is_empty(), "{}", defect.id);
        }
    }
}
