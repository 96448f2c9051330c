//! The recipe: which sources, which files, how many rows.
//!
//! ```toml
//! name = "medical-meadow"
//!
//! [[source]]
//! name = "wikidoc"
//! reader = "wikidoc-textbook"      # see the table of readers
//! files = ["wikidoc/*.xml"]        # below the folder of raw files; `*` in a file's name
//! take = 10000                     # at most; all without it
//! printed = 67704                  # rows that the paper states for the source
//! rephrase = true                  # by a model, where one is named
//! licence = "CC-BY-SA-4.0"         # written into rows that state none
//! get = "https://…"                # where the files come from
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::hex;
use crate::corpus::sources::SourceKind;

/// The paper's mix; part of the program.
const PAPER: &str = include_str!("../../../golden/paper/meadow.toml");

/// A recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meadow {
    /// Its name.
    pub name: String,
    /// The sources, in the order of the output.
    #[serde(rename = "source")]
    pub sources: Vec<MeadowSource>,
    /// sha256 of the recipe's text.
    #[serde(skip)]
    pub sha256: String,
}

/// One source of a recipe.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeadowSource {
    /// Name, written into its rows; unique.
    pub name: String,
    /// How its files are read.
    pub reader: SourceKind,
    /// Its files, below the folder of raw files; one `*` may stand in a file's name.
    pub files: Vec<PathBuf>,
    /// Most rows to take, drawn at random; all without it.
    #[serde(default)]
    pub take: Option<usize>,
    /// Rows that the paper states for the whole source.
    #[serde(default)]
    pub printed: Option<usize>,
    /// Instruction instead of the reader's own.
    #[serde(default)]
    pub instruction: Option<String>,
    /// Fewest votes or least score instead of the reader's own.
    #[serde(default)]
    pub min_score: Option<i64>,
    /// Whether the paper had a model rephrase it; done only where one is named.
    #[serde(default)]
    pub rephrase: bool,
    /// Licence of the source, written into rows that state none.
    #[serde(default)]
    pub licence: Option<String>,
    /// Where to get the files.
    pub get: String,
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is no recipe.
    #[error("`{}` is no recipe", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and field.
        source: Box<toml::de::Error>,
    },
    /// Two sources have one name.
    #[error("`{}` names the source `{name}` twice", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The source.
        name: String,
    },
    /// A source has no files.
    #[error("`{}`: source `{name}` names no files", path.display())]
    NoFiles {
        /// The file.
        path: PathBuf,
        /// The source.
        name: String,
    },
}

impl Meadow {
    /// Returns the paper's mix.
    pub fn paper() -> Self {
        Self::parse(PAPER, Path::new("golden/paper/meadow.toml"))
            .expect("the recipe is part of the program and read in its tests")
    }

    /// Returns the text of the paper's mix, to be changed.
    pub fn paper_text() -> &'static str {
        PAPER
    }

    /// Reads a recipe.
    ///
    /// # Errors
    ///
    /// [`RecipeError`] names the file, and line and field where there are any.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, RecipeError> {
        let toml = |source| RecipeError::Toml { path: path.to_owned(), source: Box::new(source) };
        let mut meadow: Self = toml::from_str(text).map_err(toml)?;
        meadow.sha256 = hex(Sha256::new_with_prefix(text.as_bytes()));
        let mut names: Vec<&str> = meadow.sources.iter().map(|source| &*source.name).collect();
        names.sort_unstable();
        if let Some(two) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(RecipeError::Twice { path: path.to_owned(), name: two[0].to_owned() });
        }
        if let Some(source) = meadow.sources.iter().find(|source| source.files.is_empty()) {
            let name = source.name.clone();
            return Err(RecipeError::NoFiles { path: path.to_owned(), name });
        }
        Ok(meadow)
    }
}

/// Returns the files under `raw` that `name` means, by name.
pub(super) fn matching(raw: &Path, name: &Path) -> Vec<PathBuf> {
    let path = raw.join(name);
    let pattern = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some((before, after)) = pattern.as_deref().and_then(|pattern| pattern.split_once('*'))
    else {
        return if path.is_file() { vec![path] } else { Vec::new() };
    };
    let folder = path.parent().unwrap_or(raw);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
                && entry.path().is_file()
        })
        .map(|entry| entry.path())
        .collect();
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_mix_is_that_of_its_readme() {
        let meadow = Meadow::paper();
        let taken: Vec<usize> = meadow.sources.iter().filter_map(|source| source.take).collect();
        // "n included in training", kbressem/medAlpaca at 63448c5, README.md.
        let readme = [
            33955, 10000, 5942, 40865, 27887, 9833, 7721, 5407, 2208, 50000, 3787, 10178, 2446,
            10000, 9209,
        ];
        assert_eq!(taken, readme);
        assert!(meadow.sources.iter().all(|source| !source.get.is_empty()));
    }

    #[test]
    fn broken_recipes_are_refused() {
        let path = Path::new("x.toml");
        let source = "[[source]]\nname = \"a\"\nreader = \"rows\"\nfiles = [\"a\"]\nget = \"b\"\n";
        let good = format!("name = \"x\"\n{source}");
        assert!(Meadow::parse(&good, path).is_ok());
        let wrong = [
            format!("{good}{source}"),
            good.replace("rows", "lines"),
            good.replace("get", "got"),
            good.replace("[\"a\"]", "[]"),
            "name = \"x\"".into(),
        ];
        for text in wrong {
            assert!(Meadow::parse(&text, path).is_err(), "{text}");
        }
    }
}
