//! Medical Meadow from its raw sources: a recipe names the mix, [`build`] makes it.
//!
//! The output is one file of JSON lines, sources in the recipe's order and rows in their sources'
//! order, and a record of how it came about. Which rows of a source are taken depends on the seed,
//! the source's name and the row's place in it, so the same files give the same bytes. A source
//! that must be sampled is read twice, and memory never holds more than the numbers of the rows to
//! take and a digest of each row's name: names are unique within a source.

mod ids;
mod recipe;
mod rephrase;
mod sample;

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use recipe::{Meadow, MeadowSource, RecipeError};
pub use rephrase::{Endpoint, RephraseError, Rephrased};

use super::{
    Row,
    sources::{SourceCounts, SourceError, SourceKind, SourceSettings, read_source},
};
use crate::stats::Seed;
use ids::Ids;
use sample::Sample;

/// The files that [`build`] makes: the rows, then the record.
pub const FILES: [&str; 2] = ["meadow.jsonl", "build.json"];

/// How a data set came about; nothing in it depends on when or where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Built {
    /// Name of the recipe.
    pub name: String,
    /// sha256 of the recipe's file.
    pub recipe_sha256: String,
    /// Seed of the samples.
    pub seed: u64,
    /// Version of the program.
    pub tool_version: &'static str,
    /// Rows written.
    pub rows: usize,
    /// sha256 of the rows' file.
    pub sha256: String,
    /// Who rephrased; `None` if nobody did.
    pub rephrased: Option<Rephrased>,
    /// Every source of the recipe, in its order.
    pub sources: Vec<BuiltSource>,
}

/// What became of one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BuiltSource {
    /// Its name.
    pub name: String,
    /// Its reader.
    pub reader: SourceKind,
    /// Files read, in order.
    pub files: Vec<BuiltFile>,
    /// Files of the recipe that are not there; then nothing of the source was read.
    pub missing: Vec<PathBuf>,
    /// Files that hold no record for its reader; then the source is short.
    pub empty: Vec<PathBuf>,
    /// Where to get it.
    pub get: String,
    /// What was in the files.
    pub counts: SourceCounts,
    /// Most rows to take; `None` for all.
    pub take: Option<usize>,
    /// Rows of the source that the paper states, where it does.
    pub printed: Option<usize>,
    /// Rows written.
    pub taken: usize,
    /// Rows whose rephrasing could not be read; they are left out.
    pub not_rephrased: usize,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BuiltFile {
    /// Its path as the recipe gives it.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// sha256 of it.
    pub sha256: String,
}

impl BuiltSource {
    /// Returns whether its rows are what the recipe asks for: every file there with a record, and as
    /// many rows as are to be taken, or any.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.empty.is_empty() && self.taken >= self.take.unwrap_or(1)
    }
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A source cannot be read.
    #[error("source `{name}`")]
    Source {
        /// Its name.
        name: String,
        /// Why.
        source: SourceError,
    },
    /// A file cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Rows cannot be rephrased.
    #[error("source `{name}` cannot be rephrased")]
    Rephrase {
        /// Its name.
        name: String,
        /// Why.
        source: RephraseError,
    },
}

/// Builds `meadow` from the files under `raw` into the folder `out`. Sources whose files are not
/// there are listed in the result and left out, as are files without a record; `begin` is told the
/// name of each source.
///
/// Both files appear whole or not at all.
///
/// # Errors
///
/// [`BuildError`] for a file that is there and cannot be read, or a model that cannot be asked.
pub fn build(
    meadow: &Meadow,
    raw: &Path,
    out: &Path,
    seed: Seed,
    endpoint: Option<&Endpoint>,
    begin: &mut dyn FnMut(&str),
) -> Result<Built, BuildError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    fs::create_dir_all(out).map_err(io(out))?;
    let scratch = tempfile::NamedTempFile::new_in(out).map_err(io(out))?;
    let mut output =
        Output { file: BufWriter::with_capacity(1 << 18, scratch), digest: Sha256::new(), rows: 0 };
    let mut sources = Vec::new();
    for source in &meadow.sources {
        begin(&source.name);
        sources.push(one(source, raw, seed, endpoint, &mut output)?);
    }
    let Output { file, digest, rows } = output;
    let scratch = file.into_inner().map_err(|error| io(out)(error.into_error()))?;
    scratch.as_file().sync_all().map_err(io(out))?;
    let built = Built {
        name: meadow.name.clone(),
        recipe_sha256: meadow.sha256.clone(),
        seed: seed.0,
        tool_version: env!("CARGO_PKG_VERSION"),
        rows,
        sha256: hex(digest),
        rephrased: endpoint.map(Endpoint::record),
        sources,
    };
    let [data, record] = FILES.map(|name| out.join(name));
    scratch.persist(&data).map_err(|error| io(&data)(error.error))?;
    let mut scratch = tempfile::NamedTempFile::new_in(out).map_err(io(out))?;
    let text = serde_json::to_string_pretty(&built).expect("plain structures become JSON") + "\n";
    scratch.write_all(text.as_bytes()).map_err(io(&record))?;
    scratch.persist(&record).map_err(|error| io(&record)(error.error))?;
    Ok(built)
}

/// The rows' file, with its digest.
struct Output {
    file: BufWriter<tempfile::NamedTempFile>,
    digest: Sha256,
    rows: usize,
}

impl Output {
    fn write(&mut self, row: &Row) -> io::Result<()> {
        let line = serde_json::to_string(row)? + "\n";
        self.digest.update(line.as_bytes());
        self.rows += 1;
        self.file.write_all(line.as_bytes())
    }
}

fn one(
    source: &MeadowSource,
    raw: &Path,
    seed: Seed,
    endpoint: Option<&Endpoint>,
    output: &mut Output,
) -> Result<BuiltSource, BuildError> {
    let mut built = BuiltSource {
        name: source.name.clone(),
        reader: source.reader,
        files: Vec::new(),
        missing: Vec::new(),
        empty: Vec::new(),
        get: source.get.clone(),
        counts: SourceCounts::default(),
        take: source.take,
        printed: source.printed,
        taken: 0,
        not_rephrased: 0,
    };
    let mut paths = Vec::new();
    for name in &source.files {
        let found = recipe::matching(raw, name);
        if found.is_empty() {
            built.missing.push(name.clone());
        }
        paths.extend(found);
    }
    if !built.missing.is_empty() {
        return Ok(built);
    }
    for path in &paths {
        let io = |source| BuildError::Io { path: path.clone(), source };
        built.files.push(identity(path, raw).map_err(io)?);
    }
    let settings = SourceSettings {
        source: source.name.clone(),
        instruction: source.instruction.clone(),
        min_score: source.min_score,
    };
    // Whether the recipe can mean several, not whether several are there: names stay as they are
    // when a file is added.
    let is_pattern = |name: &PathBuf| name.to_string_lossy().contains('*');
    let has_several_files = source.files.len() > 1 || source.files.iter().any(is_pattern);
    let read = |found: &mut dyn FnMut(Row)| -> Result<(SourceCounts, Vec<PathBuf>), BuildError> {
        let (mut counts, mut empty) = (SourceCounts::default(), Vec::new());
        let mut ids = Ids::new(has_several_files);
        for path in &paths {
            let name = path.strip_prefix(raw).unwrap_or(path);
            let mut named = |row: Row| {
                let id = ids.name(name, row.id.as_deref().unwrap_or_default());
                let licence = row.licence.clone().or_else(|| source.licence.clone());
                found(Row { id: Some(id), licence, ..row });
            };
            match read_source(source.reader, path, &settings, &mut named) {
                Ok(of_file) => counts.add(of_file),
                Err(SourceError::Nothing { .. }) => empty.push(name.to_owned()),
                Err(error) => {
                    return Err(BuildError::Source { name: source.name.clone(), source: error });
                }
            }
        }
        Ok((counts, empty))
    };
    let sample = match source.take {
        None => None,
        Some(take) => {
            let mut sample = Sample::new(take, seed, &source.name);
            read(&mut |_| sample.offer())?;
            Some(sample.finish())
        }
    };
    let endpoint = endpoint.filter(|_| source.rephrase);
    let (mut number, mut failed) = (0, None);
    let (mut taken, mut not_rephrased) = (0, 0);
    (built.counts, built.empty) = read(&mut |row| {
        number += 1;
        let is_taken = sample.as_ref().is_none_or(|sample| sample.binary_search(&number).is_ok());
        if !is_taken || failed.is_some() {
            return;
        }
        let row = match endpoint.map(|endpoint| endpoint.rephrase(source.reader, &row)) {
            None => row,
            Some(Ok(Some(row))) => row,
            Some(Ok(None)) => return not_rephrased += 1,
            Some(Err(source_error)) => {
                let name = source.name.clone();
                failed = Some(BuildError::Rephrase { name, source: source_error });
                return;
            }
        };
        match output.write(&row) {
            Ok(()) => taken += 1,
            Err(source) => failed = Some(BuildError::Io { path: FILES[0].into(), source }),
        }
    })?;
    (built.taken, built.not_rephrased) = (taken, not_rephrased);
    match failed {
        Some(error) => Err(error),
        None => Ok(built),
    }
}

impl SourceCounts {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.rows += other.rows;
        for (reason, count) in other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
    }
}

fn identity(path: &Path, raw: &Path) -> io::Result<BuiltFile> {
    let mut file = File::open(path)?;
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 18]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        bytes += read as u64;
    }
    let path = path.strip_prefix(raw).unwrap_or(path).to_owned();
    Ok(BuiltFile { path, bytes, sha256: hex(digest) })
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
