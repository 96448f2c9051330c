//! Files of one JSON object a line: read with the place of an error, written in order.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{CommandError, progress};

/// Reads every line that is not blank; ids must be texts or numbers, each given once.
///
/// # Errors
///
/// Exit code 2, naming file and line.
pub(super) fn read_lines<T: DeserializeOwned>(
    path: &Path,
    id: impl Fn(&T) -> &Value,
) -> Result<Vec<T>, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandError::input(format!("cannot read `{}`: {error}", path.display()))
    })?;
    let mut seen = BTreeMap::new();
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |why: String| {
            CommandError::input(format!("line {number} of `{}`: {why}", path.display()))
        };
        let line: T = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        let key = id(&line);
        if !matches!(key, Value::String(_) | Value::Number(_)) {
            return Err(wrong(format!("id {key} is neither text nor number")));
        }
        if let Some(before) = seen.insert(name_of(key), number) {
            return Err(wrong(format!("id {key} stands in line {before} already")));
        }
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(CommandError::input(format!("`{}` holds no line", path.display())));
    }
    Ok(lines)
}

/// Returns an id as text.
pub(super) fn name_of(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// A file of results, written in the order of the input whatever order they come in.
pub(super) struct Lines {
    path: PathBuf,
    file: BufWriter<File>,
    bar: ProgressBar,
    /// Results that wait for earlier ones.
    waiting: BTreeMap<usize, String>,
    written: usize,
    failed: Option<io::Error>,
}

impl Lines {
    /// Creates the file before the work starts.
    pub(super) fn create(path: &Path, count: usize, shown: bool) -> Result<Self, CommandError> {
        let file = File::create(path).map_err(|error| {
            CommandError::input(format!("cannot write `{}`: {error}", path.display()))
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
            bar: progress::items(shown, count),
            waiting: BTreeMap::new(),
            written: 0,
            failed: None,
        })
    }

    /// Adds the result of one item; it is written as soon as those before it are.
    pub(super) fn put(&mut self, index: usize, line: &impl Serialize) {
        match serde_json::to_string(line) {
            Ok(line) => drop(self.waiting.insert(index, line)),
            Err(error) => self.failed = Some(error.into()),
        }
        self.bar.inc(1);
        while let Some(line) = self.waiting.remove(&self.written) {
            self.written += 1;
            let put = writeln!(self.file, "{line}").and_then(|()| self.file.flush());
            if let Err(error) = put {
                self.failed.get_or_insert(error);
            }
        }
    }

    /// Returns the number of lines written.
    pub(super) fn finish(self) -> Result<usize, CommandError> {
        self.bar.finish_and_clear();
        match self.failed {
            Some(error) => {
                let text = format!("cannot write `{}`: {error}", self.path.display());
                Err(CommandError::internal(text))
            }
            None => Ok(self.written),
        }
    }
}
