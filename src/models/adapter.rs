//! An adapter to put on a checkpoint: its folder, its identity, and whether it is for this base.

use std::path::{Path, PathBuf};

use super::{
    ModelError,
    hub::{self, HubSpec, Parts, Settings},
    llama::together,
};
use crate::{
    llama::{checkpoint::adapter_weights_file, read_adapter},
    lora::Adapter,
    store::{FileIdentity, identify_file},
};

/// What a training leaves beside its result to say how it was made.
pub(super) const LINEAGE: &str = "train.json";

/// An adapter that was read, with its identity.
pub(super) struct ReadAdapter {
    pub(super) adapter: Adapter,
    /// Settings, weights, and where they come from if the folder says it (`train.json`).
    pub(super) files: Vec<FileIdentity>,
    /// Of both files: a change of alpha is another adapter.
    pub(super) sha256: String,
    pub(super) name: String,
}

impl ReadAdapter {
    /// Reads an adapter's folder.
    pub(super) fn open(folder: &Path) -> Result<Self, ModelError> {
        let load = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Load {
            path: folder.display().to_string(),
            source,
        };
        let adapter = read_adapter(folder).map_err(|error| load(error.into()))?;
        let files = [folder.join("adapter_config.json"), adapter_weights_file(folder)];
        let identify = |path: &PathBuf| identify_file(path).map_err(|error| load(error.into()));
        let mut files = files.iter().map(identify).collect::<Result<Vec<_>, _>>()?;
        let sha256 = together(&files);
        let lineage = folder.join(LINEAGE);
        if lineage.is_file() {
            files.push(identify(&lineage)?);
        }
        Ok(Self { adapter, sha256, files, name: name_of(folder) })
    }

    /// Returns what a reader should know: of the files, and if it was made for another base.
    pub(super) fn notes(&self, folder: &Path, base: &Path) -> Vec<String> {
        let mut notes = self.adapter.notes.clone();
        notes.extend(base_difference(&self.adapter, base));
        let tokenizers = ["tokenizer.json", "tokenizer.model"].map(|name| folder.join(name));
        if tokenizers.iter().any(|path| path.is_file()) {
            notes.push("the adapter's folder has a tokenizer too; the base's is used".into());
        }
        notes
    }
}

/// Says so if the adapter's settings name another base than the folder given.
///
/// Names are compared without their owner: a copy is as good as the original.
pub fn base_difference(adapter: &Adapter, base: &Path) -> Option<String> {
    let given = name_of(base);
    let last = |name: &str| {
        let name = name.trim_end_matches(['/', '\\']);
        name.rsplit(['/', '\\']).next().unwrap_or(name).to_lowercase()
    };
    match adapter.config.base_model_name_or_path.as_deref() {
        None | Some("") => Some("the adapter does not say which base it was made for".into()),
        Some(wanted) if last(wanted) == last(&given) => None,
        Some(wanted) => {
            Some(format!("the adapter was made for `{wanted}`, the base given is `{given}`"))
        }
    }
}

/// Returns the folder of an adapter: itself, or on the hub, fetched.
///
/// # Errors
///
/// [`ModelError::Load`] if the files cannot be had.
pub fn adapter_folder(spec: &str) -> Result<PathBuf, ModelError> {
    if !HubSpec::is_meant(spec) {
        return Ok(spec.into());
    }
    HubSpec::parse(spec)
        .and_then(|name| hub::resolve(&name, Parts::Adapter, &Settings::from_env()?, &mut |_| ()))
        .map(|found| found.dir)
        .map_err(|source| ModelError::Load { path: spec.into(), source: Box::new(source) })
}

/// Returns `org/name` for a folder in the hub's cache, the folder's own name for another.
fn name_of(folder: &Path) -> String {
    let cached = folder.components().find_map(|part| {
        part.as_os_str().to_str()?.strip_prefix("models--").map(|name| name.replace("--", "/"))
    });
    cached.unwrap_or_else(|| {
        let named = folder.canonicalize().ok();
        let name = named.as_deref().unwrap_or(folder).file_name();
        name.map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into())
    })
}
