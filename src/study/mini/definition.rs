//! `study.toml`: which rows, made of which base, recipe and data, asked what, under which protocols.
//!
//! ```toml
//! title = "…"
//! about = "…"
//! exam = "exam.jsonl"
//! taught = "exam_taught.jsonl"       # optional: how each item's fact was taught
//! vignettes = "vignettes.jsonl"      # optional: a set apart, asked under the first protocol
//! vignettes_about = "…"              # optional: what its section of the report says of it
//! protocols = ["strict-v1", "mmlu-letter"]  # the first one is the headline's
//!
//! [[row]]
//! id = "small-medalpaca-lora-8bit"   # names folders
//! label = "MedAlpaca LoRA 8-bit"
//! size = "small"                     # sizes stand in the order of their first rows, smallest first
//! family = "medalpaca"               # base, alpaca, medalpaca
//! method = "lora-8bit"               # base, full, lora, lora-8bit
//! mirrors = "MedAlpaca 7b LoRA 8bit" # optional: the row of the paper's table it stands beside
//! base = "models/small"
//! dtype = "int8"                     # optional: number format it is asked in
//! recipe = "mini-lora-8bit"          # none for a base: a file beside this one, or one of the program's
//! data = "meadow.jsonl"              # none for a base
//! ```
//!
//! Files are named relative to the folder of `study.toml`. Unknown fields are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    claims::Table,
    corpus::miniature::Taught,
    exam::{Exam, QuestionId},
    models::WeightFormat,
    protocol::Protocol,
    study::StudyError,
    train::Recipe,
};

/// Folder of a seed's trainings.
pub(super) const TRAINED: &str = "trained";
/// Folder of a row's run on the set apart.
pub(super) const VIGNETTES: &str = "vignettes";

/// What a row's model was fine-tuned on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Nothing.
    Base,
    /// General instructions.
    Alpaca,
    /// Medical instructions.
    Medalpaca,
}

/// How a row's model was fine-tuned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Method {
    /// Not at all.
    #[serde(rename = "base")]
    Base,
    /// Every weight.
    #[serde(rename = "full")]
    Full,
    /// An adapter.
    #[serde(rename = "lora")]
    Lora,
    /// An adapter on an int8 base.
    #[serde(rename = "lora-8bit")]
    Lora8bit,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Base => "base",
            Self::Full => "full",
            Self::Lora => "LoRA",
            Self::Lora8bit => "LoRA 8-bit",
        })
    }
}

/// The file, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Definition {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) exam: String,
    #[serde(default)]
    pub(super) taught: Option<String>,
    #[serde(default)]
    pub(super) vignettes: Option<String>,
    #[serde(default)]
    pub(super) vignettes_about: Option<String>,
    pub(super) protocols: Vec<String>,
    #[serde(rename = "row")]
    pub(super) rows: Vec<RowDefinition>,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowDefinition {
    /// Unique; names folders.
    pub id: String,
    /// What tables call it.
    pub label: String,
    /// Of the base model.
    pub size: String,
    /// What it was fine-tuned on.
    pub family: Family,
    /// How.
    pub method: Method,
    /// The row of the paper's table beside which it stands.
    #[serde(default)]
    pub mirrors: Option<String>,
    /// Folder of the base model.
    pub base: String,
    /// Number format it is asked in; the stored one if left out.
    #[serde(default)]
    pub dtype: Option<WeightFormat>,
    /// `None` for a base model.
    #[serde(default)]
    pub recipe: Option<String>,
    /// `None` for a base model.
    #[serde(default)]
    pub data: Option<String>,
}

/// A study, read and checked, with everything it asks.
#[derive(Debug, Clone)]
pub struct Study {
    /// Heading of the report.
    pub title: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Folder that its files are relative to.
    pub folder: PathBuf,
    /// The exam.
    pub exam: Exam,
    /// How the training data teach the fact of each item; empty where nobody says.
    pub taught: BTreeMap<QuestionId, Taught>,
    /// The set apart.
    pub vignettes: Option<Exam>,
    /// What is said of it.
    pub vignettes_about: String,
    /// Files of both: no training row may share a question with them.
    pub exam_files: Vec<PathBuf>,
    /// At least one; the first is the headline's.
    pub protocols: Vec<Protocol>,
    /// At least one.
    pub rows: Vec<RowDefinition>,
}

#[derive(Deserialize)]
struct TaughtLine {
    id: QuestionId,
    taught: Taught,
}

impl Study {
    /// Reads a study's file and everything it names but models and rows.
    ///
    /// # Errors
    ///
    /// [`StudyError::Definition`] says what is wrong with it.
    pub fn open(path: &Path) -> Result<Self, StudyError> {
        let wrong = |problem: String| StudyError::Definition { path: path.to_owned(), problem };
        let definition: Definition =
            toml::from_str(&read(path)?).map_err(|error| wrong(error.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        check(&definition.rows).map_err(wrong)?;
        let exam = Exam::load(&folder.join(&definition.exam))?;
        let taught = match &definition.taught {
            Some(name) => taught(&folder.join(name), &exam)?,
            None => BTreeMap::new(),
        };
        let vignettes = definition.vignettes.as_ref().map(|name| Exam::load(&folder.join(name)));
        let protocols = definition.protocols.iter().map(|id| Protocol::find(id));
        let protocols = protocols.collect::<Result<Vec<_>, _>>()?;
        let ids: BTreeSet<&str> = protocols.iter().map(|protocol| &*protocol.id).collect();
        if ids.is_empty() || ids.len() < protocols.len() {
            return Err(wrong("`protocols` must name at least one, each once".into()));
        }
        if ids.contains(VIGNETTES) {
            return Err(wrong(format!("protocol `{VIGNETTES}`: the set apart is called so")));
        }
        let vignettes = vignettes.transpose()?;
        if let Some(apart) = vignettes.as_ref().filter(|apart| apart.name == exam.name) {
            let problem =
                format!("two exams are called `{}`: rename one of their files", apart.name);
            return Err(wrong(problem));
        }
        let names = std::iter::once(&definition.exam).chain(&definition.vignettes);
        Ok(Self {
            exam_files: names.map(|name| folder.join(name)).collect(),
            title: definition.title,
            about: definition.about,
            exam,
            taught,
            vignettes,
            vignettes_about: definition.vignettes_about.unwrap_or_default(),
            protocols,
            rows: definition.rows,
            folder,
        })
    }

    /// The row of this id.
    ///
    /// # Errors
    ///
    /// [`StudyError::NoSuchRow`], with the rows there are.
    pub fn row(&self, id: &str) -> Result<&RowDefinition, StudyError> {
        self.rows.iter().find(|row| row.id == id).ok_or_else(|| self.no_such_row(id))
    }

    /// What is said of a name that no row has.
    pub(in crate::study) fn no_such_row(&self, name: &str) -> StudyError {
        let known = self.rows.iter().map(|row| &*row.id).collect::<Vec<_>>().join(", ");
        StudyError::NoSuchRow { name: name.to_owned(), known }
    }

    /// Returns a row's recipe for a seed, `None` for a base model: that of the file where the seed
    /// is 0, each of its seeds raised by the number otherwise.
    ///
    /// # Errors
    ///
    /// [`StudyError::Recipe`] if it cannot be read.
    pub fn recipe(&self, row: &RowDefinition, seed: u64) -> Result<Option<Recipe>, StudyError> {
        let Some(name) = &row.recipe else { return Ok(None) };
        let mut recipe = open_recipe(&self.folder, name)?;
        recipe.data.seed = recipe.data.seed.wrapping_add(seed);
        if let Some(lora) = &mut recipe.lora {
            lora.seed = lora.seed.wrapping_add(seed);
        }
        Ok(Some(recipe))
    }
}

/// A recipe beside a study, or one of the program's own.
pub(in crate::study) fn open_recipe(folder: &Path, name: &str) -> Result<Recipe, StudyError> {
    let path = folder.join(name);
    let recipe = match path.is_file() {
        true => Recipe::open(&path.display().to_string()),
        false => Recipe::named(name),
    };
    Ok(recipe?)
}

/// The text of a file.
pub(in crate::study) fn read(path: &Path) -> Result<String, StudyError> {
    fs::read_to_string(path).map_err(|source| StudyError::File {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn check(rows: &[RowDefinition]) -> Result<(), String> {
    if rows.is_empty() {
        return Err("no `[[row]]`: nothing to do".into());
    }
    let table = Table::paper();
    let mut ids = BTreeSet::new();
    for row in rows {
        let RowDefinition { id, mirrors, method, recipe, data, .. } = row;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if id.is_empty() || !id.chars().all(plain) {
            return Err(format!("row `{id}`: an id is made of a-z, 0-9 and -"));
        }
        if id == TRAINED {
            return Err(format!("row `{id}`: the folder of trainings is called so"));
        }
        if !ids.insert(id) {
            return Err(format!("row `{id}` is there twice"));
        }
        if let Some(printed) = mirrors.as_ref().filter(|name| table.row(name).is_none()) {
            return Err(format!("row `{id}`: the paper's table has no row `{printed}`"));
        }
        let is_base = *method == Method::Base;
        if recipe.is_none() != is_base || data.is_none() != is_base {
            return Err(format!("row `{id}`: recipe and data, both, unless it is a base model"));
        }
    }
    Ok(())
}

/// Reads how items are taught; every item that is asked must be there.
pub(in crate::study) fn taught(
    path: &Path,
    exam: &Exam,
) -> Result<BTreeMap<QuestionId, Taught>, StudyError> {
    let wrong = |problem: String| StudyError::Definition { path: path.to_owned(), problem };
    let mut taught = BTreeMap::new();
    let text = read(path)?;
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let TaughtLine { id, taught: way } =
            serde_json::from_str(line).map_err(|error| wrong(format!("line {number}: {error}")))?;
        if taught.insert(id.clone(), way).is_some() {
            return Err(wrong(format!("line {number}: item `{id}` is there twice")));
        }
    }
    match exam.asked().find(|question| !taught.contains_key(&question.id)) {
        Some(question) => Err(wrong(format!("says nothing of item `{}`", question.id))),
        None => Ok(taught),
    }
}
