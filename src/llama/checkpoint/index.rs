//! Which files of a folder hold the weights: one, or shards listed by an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{
    file::{Stored, WeightFile},
    pickle, safetensors,
};
use crate::llama::CheckpointError;

/// Layouts in order of preference: single file, index of shards.
const LAYOUTS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Every weights' file, and for each tensor its file and place.
pub(super) type Opened = (Vec<WeightFile>, BTreeMap<String, (usize, Stored)>);

/// Opens the weights of a folder.
pub(super) fn open_weights(folder: &Path) -> Result<Opened, CheckpointError> {
    for (single, index) in LAYOUTS {
        if folder.join(single).is_file() {
            return open_files(folder, [single], None);
        }
        let index = folder.join(index);
        if index.is_file() {
            let map = read_index(&index)?;
            let names: BTreeSet<&str> = map.values().map(|name| &**name).collect();
            return open_files(folder, names, Some(&map));
        }
    }
    Err(CheckpointError::NoWeights(folder.to_owned()))
}

/// Opens shards; with an index, each tensor must stand in the shard it names and nowhere else.
fn open_files<'a>(
    folder: &Path,
    names: impl IntoIterator<Item = &'a str>,
    index: Option<&BTreeMap<String, String>>,
) -> Result<Opened, CheckpointError> {
    let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
    for name in names {
        let file = WeightFile::open(&folder.join(name))?;
        let found = match name.ends_with(".safetensors") {
            true => safetensors::tensors(&file)?,
            false => pickle::tensors(&file)?,
        };
        for (tensor, stored) in found {
            let named = index.is_none_or(|map| map.get(&tensor).is_some_and(|n| n == name));
            if !named || tensors.contains_key(&tensor) {
                let why = format!("tensor `{tensor}` is not listed for this shard");
                return Err(file.format_error(why));
            }
            tensors.insert(tensor, (files.len(), stored));
        }
        files.push(file);
    }
    let missing = index.into_iter().flat_map(BTreeMap::keys).find(|t| !tensors.contains_key(*t));
    match missing {
        Some(tensor) => Err(CheckpointError::MissingTensor(tensor.clone())),
        None => Ok((files, tensors)),
    }
}

/// Reads `weight_map`; shards must lie in the folder itself.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, CheckpointError> {
    let malformed = |why: String| CheckpointError::Json { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path)
        .map_err(|source| CheckpointError::Read { path: path.to_owned(), source })?;
    let index: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    let map = index
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("no object `weight_map`".into()))?;
    map.iter()
        .map(|(tensor, shard)| {
            let shard = shard
                .as_str()
                .filter(|shard| is_plain_file_name(shard))
                .ok_or_else(|| malformed(format!("{shard} is not a file of this folder")))?;
            Ok((tensor.clone(), shard.to_owned()))
        })
        .collect()
}

/// Whether a name stays in its folder on every system and is of a known kind.
fn is_plain_file_name(name: &str) -> bool {
    !name.starts_with('.')
        && !name.contains(['/', '\\', ':', '\0'])
        && (name.ends_with(".safetensors") || name.ends_with(".bin"))
}
