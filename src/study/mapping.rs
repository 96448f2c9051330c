//! The user's `models.toml`: which printed row is which model on this machine.
//!
//! ```toml
//! [rows]
//! "MedAlpaca 7b" = "/models/medalpaca-7b"
//! "MedAlpaca 7b LoRA" = { model = "/models/llama-7b", adapter = "/models/medalpaca-lora-7b-16bit" }
//! "MedAlpaca 7b LoRA 8bit" = { model = "hf:…", adapter = "hf:…", dtype = "int8" }
//! ```
//!
//! A model is a path, a hub name (`hf:org/name`), or `replay:FILE`. Unknown rows and fields are
//! refused, and so is a path that is not there: nothing is left out in silence.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use toml::Spanned;

use super::{StudyError, Weights};
use crate::{claims::Table, models::WeightFormat};

/// Rows of the table with their models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// By row, in the table's order of names where both are listed.
    pub rows: BTreeMap<String, ModelSpec>,
}

/// How a row's model is opened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// A path, `hf:org/name`, or `replay:FILE`.
    pub model: String,
    /// A LoRA adapter to put on it: a path or `hf:org/name`.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Number format of the weights; the checkpoint's own if left out.
    #[serde(default)]
    pub dtype: Option<WeightFormat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    rows: BTreeMap<Spanned<String>, Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "must be a model, or { model = \"…\", adapter = \"…\", dtype = \"…\" }"
)]
enum Entry {
    Model(String),
    Spec(ModelSpec),
}

impl Mapping {
    /// Reads a models file; relative paths in it are relative to its folder.
    ///
    /// # Errors
    ///
    /// [`StudyError`] with file and line: unreadable, not TOML, an unknown field, a row that
    /// `table` does not have, a path that is not there.
    pub fn read(path: &Path, table: &Table) -> Result<Self, StudyError> {
        let text = fs::read_to_string(path).map_err(|source| StudyError::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        let name = path.display().to_string();
        let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
        let raw: Raw = toml::from_str(&text).map_err(|error| StudyError::Form {
            path: name.clone(),
            line: line(error.span().map_or(0, |span| span.start)),
            problem: error.message().to_owned(),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut rows = BTreeMap::new();
        for (row, entry) in raw.rows {
            let at = line(row.span().start);
            let row = row.into_inner();
            if table.row(&row).is_none() {
                let known: Vec<&str> = table.rows.iter().map(|row| &*row.model).collect();
                let known = known.join(", ");
                return Err(StudyError::UnknownRow { path: name, line: at, row, known });
            }
            let mut spec = match entry.into_inner() {
                Entry::Model(model) => ModelSpec { model, ..ModelSpec::default() },
                Entry::Spec(spec) => spec,
            };
            for model in [Some(&mut spec.model), spec.adapter.as_mut()].into_iter().flatten() {
                let given = model.clone();
                if !resolve(model, folder) {
                    return Err(StudyError::NoSuchModel {
                        path: name,
                        line: at,
                        row,
                        model: given,
                    });
                }
            }
            rows.insert(row, spec);
        }
        Ok(Self { rows })
    }
}

/// Makes a path absolute to the models file; returns whether it is there. Names on the hub and
/// canned models are not looked for here.
fn resolve(model: &mut String, folder: &Path) -> bool {
    let (kind, path) = match model.strip_prefix("replay:") {
        Some(path) => ("replay:", path),
        None if model.starts_with("hf:") || model.starts_with("stub:") => return true,
        None => ("", &**model),
    };
    let path = folder.join(path);
    let there = path.exists();
    *model = format!("{kind}{}", path.display());
    there
}

/// Returns a models file with every row of the table, each commented out.
pub fn template(table: &Table, weights: &Weights) -> String {
    let mut text = String::from(
        "# Which row of the printed table is which model on this machine.\n\
         # Take the # away from a row and name its model: a path, a name on the hub (hf:org/name),\n\
         # or recorded answers (replay:FILE). Paths are relative to this file.\n\
         # An adapter needs its base: { model = BASE, adapter = ADAPTER }; add dtype = \"int8\" for\n\
         # the rows in 8 bit. Then: medharness reproduce --study paper --models FILE --exam EXAM\n\
         \n[rows]\n",
    );
    for row in &table.rows {
        let Some(known) = weights.row(&row.model) else { continue };
        if let Some(note) = &known.note {
            text += &format!("# {note}\n");
        }
        let hub = known.hub.as_deref().map(|hub| format!("hf:{hub}"));
        let base = known.base.as_ref().and_then(|base| weights.row(base)?.hub.clone());
        let model = match (hub, base) {
            (Some(adapter), Some(base)) => {
                let dtype = if row.model.ends_with("8bit") { ", dtype = \"int8\"" } else { "" };
                format!("{{ model = \"hf:{base}\", adapter = \"{adapter}\"{dtype} }}")
            }
            (Some(hub), None) => format!("\"{hub}\""),
            (None, _) => "\"PATH\"".to_owned(),
        };
        text += &format!("# \"{}\" = {model}\n", row.model);
    }
    text
}
