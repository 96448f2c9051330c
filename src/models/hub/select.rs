//! Which files of a repository a model needs.

use std::collections::{BTreeMap, BTreeSet};

use super::{HubError, spec::check_file_name};

/// What of a repository is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// Configuration, tokenizer and weights; an adapter's configuration and weights.
    All,
    /// The tokenizer and its configuration.
    Tokenizer,
    /// An adapter's configuration and weights.
    Adapter,
}

impl Parts {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Tokenizer => "tokenizer",
            Self::Adapter => "adapter",
        }
    }
}

/// Small files, taken where they are there.
const TOKENIZER: [&str; 5] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];
const CONFIGURATION: [&str; 3] = ["config.json", "generation_config.json", "adapter_config.json"];

/// Weights, the first that is there: whole or by index, safetensors before PyTorch.
const WEIGHTS: [&str; 4] = [
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
];
const ADAPTER: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// Files to fetch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) files: BTreeSet<String>,
    /// The file that names the shards of the weights, which are to be fetched as well.
    pub(super) index: Option<&'static str>,
}

/// Chooses among the files that are `there`.
///
/// # Errors
///
/// [`HubError::Nothing`] if there is nothing that could be loaded.
pub(super) fn select(
    repository: &str,
    parts: Parts,
    there: impl Fn(&str) -> bool,
) -> Result<Selection, HubError> {
    let nothing = |what| HubError::Nothing { repository: repository.to_owned(), what };
    let mut selection = Selection::default();
    if parts == Parts::Adapter {
        let weights = ADAPTER.into_iter().find(|name| there(name));
        let config = Some("adapter_config.json").filter(|name| there(name));
        selection.files.extend([weights, config].into_iter().flatten().map(str::to_owned));
        return match selection.files.len() {
            2 => Ok(selection),
            _ => Err(nothing("adapter_config.json and adapter_model.safetensors or .bin")),
        };
    }
    let mut take = |names: &[&str]| {
        let found: Vec<_> =
            names.iter().filter(|name| there(name)).map(|&n| n.to_owned()).collect();
        selection.files.extend(found);
    };
    take(&TOKENIZER);
    if parts == Parts::Tokenizer {
        if !TOKENIZER[..2].iter().any(|name| selection.files.contains(*name)) {
            return Err(nothing("tokenizer.json or tokenizer.model"));
        }
        return Ok(selection);
    }
    take(&CONFIGURATION);
    let weights = WEIGHTS.into_iter().find(|name| there(name));
    let adapter = ADAPTER.into_iter().find(|name| there(name));
    selection.files.extend([weights, adapter].into_iter().flatten().map(str::to_owned));
    selection.index = weights.filter(|name| name.ends_with(".index.json"));
    let has = |name: &str| selection.files.contains(name);
    match (weights, adapter) {
        (None, None) => Err(nothing("weights: no safetensors, no PyTorch files, no adapter")),
        (Some(_), _) if !has("config.json") => Err(nothing("config.json beside its weights")),
        (None, Some(_)) if !has("adapter_config.json") => {
            Err(nothing("adapter_config.json beside its weights"))
        }
        _ => Ok(selection),
    }
}

/// Returns the shards that an index names.
///
/// # Errors
///
/// If the index is not of its form, or names a file that is not safe to write.
pub(super) fn shards(
    repository: &str,
    index: &str,
    bytes: &[u8],
) -> Result<BTreeSet<String>, HubError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|error| HubError::Description {
        url: index.to_owned(),
        problem: error.to_string(),
    })?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    for name in &shards {
        check_file_name(name).map_err(|problem| HubError::FileName {
            repository: repository.to_owned(),
            name: name.clone(),
            problem,
        })?;
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str], parts: Parts) -> Result<Vec<String>, String> {
        let selection = select("o/n", parts, |name| names.contains(&name));
        Ok(selection.map_err(|error| error.to_string())?.files.into_iter().collect())
    }

    #[test]
    fn safetensors_come_before_pytorch() {
        let names = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "tokenizer.model",
        ];
        assert_eq!(
            chosen(&names, Parts::All).unwrap(),
            ["config.json", "model.safetensors", "tokenizer.model"]
        );
        assert_eq!(chosen(&names, Parts::Tokenizer).unwrap(), ["tokenizer.model"]);
    }

    #[test]
    fn an_adapter_alone_is_a_model() {
        let names = ["adapter_config.json", "adapter_model.bin"];
        assert_eq!(chosen(&names, Parts::All).unwrap(), names);
        assert!(chosen(&names[1..], Parts::All).unwrap_err().contains("adapter_config.json"));
        assert!(chosen(&["config.json"], Parts::All).unwrap_err().contains("weights"));
        assert!(chosen(&names, Parts::Tokenizer).unwrap_err().contains("tokenizer.json"));
    }

    #[test]
    fn of_an_adapter_its_own_files_alone_are_taken() {
        let names = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.model"];
        assert_eq!(chosen(&names, Parts::Adapter).unwrap(), names[..2]);
        assert!(chosen(&names[1..], Parts::Adapter).unwrap_err().contains("adapter_config.json"));
    }

    #[test]
    fn shards_are_named_by_the_index_and_stay_inside() {
        let index = br#"{"weight_map": {"a": "x-1.bin", "b": "x-2.bin", "c": "x-1.bin"}}"#;
        let shards = |bytes| shards("o/n", "i", bytes).map(Vec::from_iter);
        assert_eq!(shards(index).unwrap(), ["x-1.bin", "x-2.bin"]);
        assert!(shards(br#"{"weight_map": {"a": "../../x"}}"#).is_err());
        assert!(shards(b"[]").is_err());
    }
}
