//! Rows of `{instruction, input, output}`: a JSON list, or one JSON object a line.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::sources::parquet;

/// One training example as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What is asked for; empty where the source has none (missing or null).
    #[serde(default, deserialize_with = "null_is_empty")]
    pub instruction: String,
    /// What it is asked about; empty where the source has none (missing or null).
    #[serde(default, deserialize_with = "null_is_empty")]
    pub input: String,
    /// The answer to learn; empty where it is null. A row without the field is none.
    #[serde(deserialize_with = "null_is_empty")]
    pub output: String,
    /// Data set the row comes from, where known; a number becomes its digits.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "name")]
    pub source: Option<String>,
    /// Name of the row within its source, where known; a number becomes its digits.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "name")]
    pub id: Option<String>,
    /// Under which licence it may be used, where stated (`licence` or `license`).
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "license")]
    pub licence: Option<String>,
}

fn null_is_empty<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(value)?.unwrap_or_default())
}

fn name<'de, D: Deserializer<'de>>(value: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(value)? {
        Value::Null => Ok(None),
        Value::String(name) => Ok(Some(name)),
        Value::Number(number) => Ok(Some(number.to_string())),
        other => {
            let reason = format!("a name is text or a number, not `{other}`");
            Err(serde::de::Error::custom(reason))
        }
    }
}

/// Why rows cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RowError {
    /// The file cannot be opened or read.
    #[error("cannot read `{path}`")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not UTF-8.
    #[error("`{path}`, byte {byte}: not UTF-8")]
    Encoding {
        /// The file.
        path: PathBuf,
        /// First byte that is no part of a character.
        byte: usize,
    },
    /// A row is not JSON, or lacks a field, or has a wrong type.
    #[error("`{path}`, line {line}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong, with the field.
        reason: String,
    },
    /// A Parquet file is damaged, or packed in a way that is not built in.
    #[error("`{path}` cannot be read as Parquet")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The library's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no row.
    #[error("`{path}` holds no row")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// Returns the rows of a JSON list, of Parquet, or of JSONL (blank lines between rows do not count).
///
/// # Errors
///
/// [`RowError`] naming file and line; a file without rows is one.
pub fn read_rows(path: &Path) -> Result<Vec<Row>, RowError> {
    let here = || path.to_owned();
    let bytes = fs::read(path).map_err(|source| RowError::Io { path: here(), source })?;
    if bytes.starts_with(parquet::MAGIC) {
        return parquet_rows(path);
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|error| RowError::Encoding { path: here(), byte: error.valid_up_to() })?;
    let malformed = |line: usize, error: &serde_json::Error| RowError::Malformed {
        path: here(),
        line,
        reason: error.to_string(),
    };
    let rows: Vec<Row> = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|error| malformed(error.line(), &error))?
    } else {
        let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        numbered
            .map(|(index, line)| {
                serde_json::from_str(line).map_err(|error| malformed(index + 1, &error))
            })
            .collect::<Result<_, _>>()?
    };
    if rows.is_empty() { Err(RowError::Empty { path: here() }) } else { Ok(rows) }
}

fn parquet_rows(path: &Path) -> Result<Vec<Row>, RowError> {
    let mut rows = Vec::new();
    let mut damaged = None;
    super::each_row(path, |number, row| match row {
        Ok(row) => rows.push(row),
        Err(reason) => drop(damaged.get_or_insert((number, reason))),
    })?;
    match damaged {
        Some((line, reason)) => Err(RowError::Malformed { path: path.to_owned(), line, reason }),
        None => Ok(rows),
    }
}
