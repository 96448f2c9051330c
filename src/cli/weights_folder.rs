//! A checkpoint folder that a command writes: begun once, resumed if interrupted, whole at its end.
//!
//! Each file of weights has its name only when it is complete; a journal names the input until
//! everything is written, so that the same command goes on where it stopped and another does not.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde_json::{Map, Value, json};

use super::CommandError;
use crate::quant::{TensorSpec, write_whole};

/// Bytes from which a new file is begun.
const SHARD_BYTES: u64 = 4 << 30;

/// The folder and what is to be in it.
pub(super) struct WeightsFolder<'a> {
    out: &'a Path,
    journal: PathBuf,
    index: Map<String, Value>,
    bytes: u64,
}

impl<'a> WeightsFolder<'a> {
    /// Creates the folder, or finds an interrupted run of `command` on the same input in it.
    ///
    /// `inputs` are the files read, `options` what else the result depends on.
    pub(super) fn begin<'b>(
        out: &'a Path,
        command: &str,
        inputs: impl IntoIterator<Item = &'b Path>,
        options: &Value,
    ) -> Result<Self, CommandError> {
        fs::create_dir_all(out).map_err(|e| failed(out, e))?;
        let mut files = Vec::new();
        for path in inputs {
            let metadata = fs::metadata(path).map_err(|e| failed(path, e))?;
            let modified =
                metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified_ns = modified.map(|time| time.as_nanos().to_string());
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let bytes = metadata.len();
            files.push(json!({ "name": name, "bytes": bytes, "modified_ns": modified_ns }));
        }
        let mut identity = json!({ "tool": env!("CARGO_PKG_VERSION"), "files": files });
        if !options.is_null() {
            identity["options"] = options.clone();
        }
        let journal = out.join(format!("{command}.journal.json"));
        let folder = Self { out, journal, index: Map::new(), bytes: 0 };
        match fs::read(&folder.journal) {
            Ok(bytes)
                if serde_json::from_slice::<Value>(&bytes).ok().as_ref() == Some(&identity) =>
            {
                Ok(folder)
            }
            Ok(_) => Err(occupied(out, "an interrupted run on another input")),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut entries = fs::read_dir(out).map_err(|e| failed(out, e))?;
                if entries.any(|entry| {
                    entry.is_ok_and(|e| !e.file_name().to_string_lossy().ends_with(".partial"))
                }) {
                    return Err(occupied(out, "files of something else"));
                }
                write_json(&folder.journal, &identity)?;
                Ok(folder)
            }
            Err(error) => Err(failed(&folder.journal, error)),
        }
    }

    /// Notes a file's tensors for the index and returns its path.
    pub(super) fn shard(&mut self, number: usize, count: usize, tensors: &[TensorSpec]) -> PathBuf {
        let name = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        self.bytes += tensors.iter().map(TensorSpec::bytes).sum::<u64>();
        let entries = tensors.iter().map(|spec| (spec.name.clone(), Value::from(name.as_str())));
        self.index.extend(entries);
        self.out.join(name)
    }

    /// Returns the bytes of all tensors so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the index of several shards, copies what lies beside the weights of `from`, writes
    /// `config.json`, and takes the journal away.
    pub(super) fn finish(
        mut self,
        shards: usize,
        from: &Path,
        config: &Value,
    ) -> Result<(), CommandError> {
        if shards > 1 {
            self.index.sort_keys();
            let index =
                json!({ "metadata": { "total_size": self.bytes }, "weight_map": self.index });
            write_json(&self.out.join("model.safetensors.index.json"), &index)?;
        }
        self.copy_other_files(from)?;
        write_json(&self.out.join("config.json"), config)?;
        fs::remove_file(&self.journal).map_err(|e| failed(&self.journal, e))
    }

    /// Tokenizer, generation settings and the like: every plain file that holds no weights.
    fn copy_other_files(&self, from: &Path) -> Result<(), CommandError> {
        let entries = fs::read_dir(from).map_err(|e| failed(from, e))?;
        for entry in entries {
            let path = entry.map_err(|e| failed(from, e))?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let Some(name) = name.filter(|name| !name.starts_with('.')) else { continue };
            let kept = [".json", ".model", ".txt", ".jinja"].iter().any(|end| name.ends_with(end));
            let weights = name == "config.json" || name.ends_with(".index.json");
            if kept && !weights && path.is_file() {
                let bytes = fs::read(&path).map_err(|e| failed(&path, e))?;
                let copy = self.out.join(&name);
                write_whole(&copy, &bytes).map_err(|e| failed(&copy, e))?;
            }
        }
        Ok(())
    }
}

/// Divides parts into files of a few gigabytes, in their order.
pub(super) fn shards<T>(parts: Vec<T>, bytes_of: impl Fn(&T) -> u64) -> Vec<Vec<T>> {
    let (mut shards, mut bytes) = (vec![Vec::new()], 0);
    for part in parts {
        let size = bytes_of(&part);
        if bytes > 0 && bytes + size > SHARD_BYTES {
            shards.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        shards.last_mut().expect("begins with one").push(part);
    }
    shards
}

fn occupied(out: &Path, with: &str) -> CommandError {
    CommandError::input(format!("{} holds {with}", out.display()))
        .with_hint("name a folder that does not exist, or empty this one")
}

fn write_json(path: &Path, value: &Value) -> Result<(), CommandError> {
    let mut text = serde_json::to_string_pretty(value).map_err(CommandError::internal)?;
    text.push('\n');
    write_whole(path, text.as_bytes()).map_err(|e| failed(path, e))
}

/// Reads a folder's `config.json` as it is.
pub(super) fn read_config(folder: &Path) -> Result<Map<String, Value>, CommandError> {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).map_err(|e| failed(&path, e))?;
    match serde_json::from_str(&text).map_err(CommandError::input)? {
        Value::Object(fields) => Ok(fields),
        _ => Err(CommandError::input(format!("{} holds no object", path.display()))),
    }
}

/// A file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String, #[source] std::io::Error);

pub(super) fn failed(path: &Path, error: std::io::Error) -> CommandError {
    CommandError::internal(Failed(path.display().to_string(), error))
}
