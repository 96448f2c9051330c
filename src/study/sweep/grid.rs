//! A grid as data: which row of a study, which of its recipe's settings, which values.
//!
//! ```toml
//! name = "mini-lora"
//! about = "…"
//! row = "small-medalpaca-lora"       # of the study: its base, rows and recipe are the centre
//! validation = "validation.jsonl"    # what points are compared on; never the exam
//! taught = "validation_taught.jsonl" # optional
//! protocol = "strict-v1"
//! seeds = [0, 1]
//! combine = "one-at-a-time"          # or "all": the full product
//!
//! [[vary]]
//! key = "optimizer.rate"             # a setting of the recipe
//! values = [1e-3, 3e-3]
//! ```
//!
//! Files are relative to the study's. Unknown fields, keys that the recipe does not have and values
//! that it refuses are errors before anything is trained.

use std::{collections::BTreeSet, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::GRIDS;
use crate::{
    study::{StudyError, mini::definition::read},
    train::Recipe,
};

/// How values of several settings are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Each value alone, everything else as in the recipe.
    OneAtATime,
    /// Every combination.
    All,
}

/// One setting and its values.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vary {
    /// As `table.key`.
    pub key: String,
    /// At least one.
    pub values: Vec<toml::Value>,
}

/// A grid, as written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Its name.
    pub name: String,
    /// What it asks, in a sentence.
    pub about: String,
    /// The row whose recipe is the centre.
    pub row: String,
    /// What points are compared on.
    pub validation: String,
    /// How the training data teach each item's fact.
    #[serde(default)]
    pub taught: Option<String>,
    /// The protocol's id.
    pub protocol: String,
    /// Every point is made with each.
    pub seeds: Vec<u64>,
    /// How values are put together.
    pub combine: Combine,
    /// At least one.
    #[serde(default)]
    pub vary: Vec<Vary>,
}

/// One point: the recipe with some settings changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Names folders, unique; `centre` for the recipe itself.
    pub id: String,
    /// Changed settings with their values, as JSON.
    pub changed: Vec<(String, Value)>,
    /// The recipe.
    pub recipe: Recipe,
}

impl Grid {
    /// Returns the grid of this name, if it is part of the program, or reads the file.
    ///
    /// # Errors
    ///
    /// As [`Grid::open`].
    pub fn find(name: &Path) -> Result<Self, StudyError> {
        match GRIDS.iter().find(|(known, _)| Path::new(known) == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Self::open(name),
        }
    }

    /// Reads a grid.
    ///
    /// # Errors
    ///
    /// [`StudyError::Definition`] says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, StudyError> {
        Self::parse(&read(path)?, path)
    }

    /// Reads a grid from the text of the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`Grid::open`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, StudyError> {
        let wrong = |problem: String| StudyError::Definition { path: path.to_owned(), problem };
        let grid: Self = toml::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !grid.name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !grid.name.chars().all(is_plain)
        {
            let problem = "`name` names a folder: letters, digits, `.`, `_` and `-`, no sign first";
            return Err(wrong(problem.into()));
        }
        let seeds: BTreeSet<u64> = grid.seeds.iter().copied().collect();
        if seeds.is_empty() || seeds.len() < grid.seeds.len() {
            return Err(wrong("`seeds` must name at least one, each once".into()));
        }
        if grid.vary.is_empty() {
            return Err(wrong("no `[[vary]]`: nothing to compare".into()));
        }
        if let Some(vary) = grid.vary.iter().find(|vary| vary.values.is_empty()) {
            return Err(wrong(format!("`{}` has no values", vary.key)));
        }
        Ok(grid)
    }

    /// Returns every point, the centre first; a value that the recipe has anyway makes none.
    ///
    /// # Errors
    ///
    /// [`StudyError::Definition`] for a key that the recipe does not have, [`StudyError::Recipe`] for a
    /// value that it refuses.
    pub fn points(&self, recipe: &Recipe) -> Result<Vec<Point>, StudyError> {
        let mut changes: Vec<Vec<(String, Value)>> = vec![Vec::new()];
        for vary in &self.vary {
            let before = changes.clone();
            for value in &vary.values {
                let value = serde_json::to_value(value).unwrap_or_default();
                if same(recipe, &vary.key, &value) {
                    continue;
                }
                let starts = match self.combine {
                    Combine::OneAtATime => &before[..1],
                    Combine::All => &before[..],
                };
                for start in starts {
                    let mut change = start.clone();
                    change.push((vary.key.clone(), value.clone()));
                    changes.push(change);
                }
            }
        }
        let mut ids = BTreeSet::new();
        let mut points = Vec::with_capacity(changes.len());
        for changed in changes {
            let mut id = name(&changed);
            while !ids.insert(id.clone()) {
                id.push('_');
            }
            points.push(Point { id, recipe: changed_recipe(recipe, &changed)?, changed });
        }
        Ok(points)
    }
}

/// Whether the recipe has this value; numbers by value, so that 3 is 3.0.
fn same(recipe: &Recipe, key: &str, value: &Value) -> bool {
    let json = serde_json::to_value(recipe).unwrap_or_default();
    let own = key.split('.').try_fold(&json, |json, part| json.get(part));
    match (own, value.as_f64()) {
        (Some(own), Some(value)) => {
            own.as_f64().is_some_and(|own| own.to_bits() == value.to_bits())
        }
        (own, _) => own == Some(value),
    }
}

fn changed_recipe(recipe: &Recipe, changed: &[(String, Value)]) -> Result<Recipe, StudyError> {
    let wrong = |problem: String| StudyError::Definition { path: "grid".into(), problem };
    let mut json =
        serde_json::to_value(recipe).map_err(|error| wrong(format!("the recipe: {error}")))?;
    for (key, value) in changed {
        let pointer = format!("/{}", key.replace('.', "/"));
        let Some(place) = json.pointer_mut(&pointer) else {
            return Err(wrong(format!("the recipe `{}` has no setting `{key}`", recipe.name)));
        };
        *place = value.clone();
    }
    // As text, so that the recipe's own checks see it.
    let with: Vec<String> =
        changed.iter().map(|(key, value)| format!("{key} = {}", show(value))).collect();
    let changed: Recipe = serde_json::from_value(json)
        .map_err(|error| wrong(format!("the recipe with {}: {error}", with.join(", "))))?;
    let text = toml::to_string(&changed).map_err(|error| wrong(format!("the recipe: {error}")))?;
    Ok(Recipe::parse(&text, &recipe.name)?)
}

/// `rate-0.001_rank-4`, in letters that a folder's name may have.
fn name(changed: &[(String, Value)]) -> String {
    let part = |(key, value): &(String, Value)| {
        let key = key.rsplit('.').next().unwrap_or(key);
        format!("{key}-{}", show(value))
    };
    let name = changed.iter().map(part).collect::<Vec<_>>().join("_");
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let name: String = name.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    if name.is_empty() { "centre".to_owned() } else { name }
}

/// A value for people: `0.001`, `q_proj+v_proj`.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(show).collect::<Vec<_>>().join("+"),
        value => value.to_string(),
    }
}
