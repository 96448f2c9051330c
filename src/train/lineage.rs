//! `train.json`: everything that a training's weights depend on.
//!
//! Written before the first update; a training is continued only where it agrees. The evaluator's
//! manifest names the adapter by its files; this file beside them says where they come from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Recipe, TrainError};
use crate::store::{FileIdentity, StoreError, write_whole};

/// Name of the file.
pub const LINEAGE: &str = "train.json";

/// Everything that a training's weights depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// Version of this file's layout: 1.
    pub format_version: u32,
    /// Every setting.
    pub recipe: Recipe,
    /// Files of the base model, configuration and tokenizer included.
    pub base: Vec<FileIdentity>,
    /// Where the base model lay.
    pub base_folder: String,
    /// The file of rows.
    pub data: FileIdentity,
    /// Rows in it.
    pub rows: usize,
    /// Overlap with exams, one entry an exam; empty if none was looked for.
    pub overlap: Vec<ExamOverlap>,
    /// Which kernels computed it.
    pub kernel_set: String,
    /// Version of the program.
    pub tool_version: String,
}

/// What of an exam stands in the rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExamOverlap {
    /// The exam.
    pub exam: String,
    /// Digest of its canonical form.
    pub exam_sha256: String,
    /// Its questions.
    pub questions: usize,
    /// Those of which 13 words in a row, or a near copy, stand in the rows.
    pub overlapping: usize,
    /// Rows in which they stand.
    pub overlapping_rows: usize,
}

impl Lineage {
    /// Writes `train.json`, or checks that the one in `folder` is the same training's.
    ///
    /// Whether activations are computed again changes no bit, and what is done about a bad update
    /// none of what was done: both may change, as may which exams the rows were held against, and
    /// `train.json` then says what holds from here on.
    ///
    /// # Errors
    ///
    /// [`TrainError::OtherTraining`] names what differs; where files lay does not matter.
    pub fn claim(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(LINEAGE);
        if !path.exists() {
            return self.write(&path);
        }
        let text = std::fs::read_to_string(&path).map_err(|source| StoreError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let stored: Self = serde_json::from_str(&text).map_err(|error| TrainError::Damaged {
            path: path.clone(),
            problem: format!("is no lineage of a training: {error}"),
        })?;
        let mut differences = Vec::new();
        compare("", &stored.identity(), &self.identity(), &mut differences);
        if !differences.is_empty() {
            return Err(TrainError::OtherTraining { path: folder.to_owned(), differences });
        }
        let mut updated = stored.clone();
        updated.recipe.weights.recompute = self.recipe.weights.recompute;
        updated.recipe.run.on_bad_step = self.recipe.run.on_bad_step;
        if !self.overlap.is_empty() {
            updated.overlap.clone_from(&self.overlap);
        }
        if updated != stored { updated.write(&path) } else { Ok(()) }
    }

    fn write(&self, path: &Path) -> Result<(), TrainError> {
        let json = serde_json::to_string_pretty(self).expect("a lineage has a JSON form") + "\n";
        Ok(write_whole(path, json.as_bytes())?)
    }

    fn identity(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a lineage has a JSON form");
        if let Some(fields) = value.as_object_mut() {
            // What overlaps was counted, not trained otherwise.
            fields.remove("base_folder");
            fields.remove("overlap");
            fields.insert("base".into(), self.base_by_name());
            if let Some(data) = fields.get_mut("data").and_then(Value::as_object_mut) {
                data.remove("name");
            }
            if let Some(recipe) = fields.get_mut("recipe").and_then(Value::as_object_mut) {
                // What a recipe is called and says of itself does not enter the weights.
                for key in ["name", "about", "compare", "sources"] {
                    recipe.remove(key);
                }
                // Text where it is not said, as in trainings that were begun before it could be.
                if let Some(text) = recipe.get_mut("text").and_then(Value::as_object_mut) {
                    text.entry("special_tokens").or_insert_with(|| false.into());
                }
                for (table, key) in [("weights", "recompute"), ("run", "on_bad_step")] {
                    recipe.get_mut(table).and_then(Value::as_object_mut).map(|t| t.remove(key));
                }
            }
        }
        value
    }

    /// The base model's files by name, but for the one that only writing replies looks at.
    fn base_by_name(&self) -> Value {
        let files = self.base.iter().filter(|file| file.name != "generation_config.json");
        let digest = |file: &FileIdentity| (file.name.clone(), file.sha256.clone().into());
        Value::Object(files.map(digest).collect())
    }
}

/// Lists the leaves in which two trees of JSON differ.
fn compare(name: &str, stored: &Value, wanted: &Value, found: &mut Vec<String>) {
    match (stored, wanted) {
        _ if stored == wanted => {}
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<_> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                let absent = Value::Null;
                compare(&path, a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent), found);
            }
        }
        // Items in which two lists differ: a list can be long.
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (place, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{name}[{place}]"), a, b, found);
            }
        }
        _ => found.push(format!("{name} is {stored}, wanted {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::identify_file;

    fn lineage(folder: &Path, files: &[(&str, &str)]) -> Lineage {
        let identity = |(name, text): &(&str, &str)| {
            std::fs::write(folder.join(name), text).unwrap();
            identify_file(&folder.join(name)).unwrap()
        };
        let base: Vec<FileIdentity> = files.iter().map(identity).collect();
        Lineage {
            format_version: 1,
            recipe: Recipe::named("recommended").unwrap(),
            data: base[0].clone(),
            base,
            base_folder: "here".into(),
            rows: 3,
            overlap: Vec::new(),
            kernel_set: "any".into(),
            tool_version: "0".into(),
        }
    }

    #[test]
    fn what_changes_no_weight_makes_no_other_training() {
        let (out, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first =
            lineage(folder.path(), &[("config.json", "{}"), ("generation_config.json", "{}")]);
        first.claim(out.path()).unwrap();
        let mut other = lineage(folder.path(), &[("config.json", "{}")]);
        other.overlap.push(ExamOverlap {
            exam: "mine".into(),
            exam_sha256: "0".into(),
            questions: 5,
            overlapping: 1,
            overlapping_rows: 1,
        });
        other.claim(out.path()).unwrap();
        let text = std::fs::read_to_string(out.path().join(LINEAGE)).unwrap();
        assert!(text.contains("\"exam\": \"mine\""), "{text}");
        first.claim(out.path()).unwrap();
    }

    #[test]
    fn a_file_that_differs_is_named_without_the_others() {
        let (out, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [("config.json", "{}"), ("tokenizer.model", "a")];
        lineage(folder.path(), &files).claim(out.path()).unwrap();
        let mut other = lineage(folder.path(), &[("config.json", "{}"), ("tokenizer.model", "b")]);
        other.data = other.base[0].clone();
        let error = other.claim(out.path()).unwrap_err();
        let TrainError::OtherTraining { differences, .. } = &error else { panic!("{error}") };
        let [difference] = &differences[..] else { panic!("{error}") };
        assert!(difference.starts_with("base.tokenizer.model is \""), "{difference}");
    }
}
