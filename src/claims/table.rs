//! A table of printed accuracies: the paper's, or a user's own.
//!
//! ```toml
//! name = "my table"                   # optional
//! unit = "percent"                    # optional: "fraction" (0 to 1, default) or "percent"
//! candidates = { from = 80, to = 140 } # optional: numbers of questions to try; or [92, 110]
//!
//! [[column]]
//! name = "Step 1"
//! n = 92                              # optional: the number of questions, if it is known
//! stated = [{ n = 92, where = "…" }]  # optional: numbers to report on besides the one found
//! baseline = { label = "always D", successes = 24, trials = 94, where = "…" } # optional
//!
//! [source.paper]                      # optional
//! where = "…"
//! date = "2023-04-14"
//! protocol = "…"
//!
//! [[row]]
//! model = "mine"
//! base = "its base model's row"       # optional
//! values = ["47.3"]                   # one text a column, digits as printed; "-" or "TBA" for none
//! n = [92]                            # optional: numbers of questions of this row
//! source = "paper"                    # optional
//! ```
//!
//! Unknown fields are refused. Accuracies are texts, because 0.250 and 0.25 say different things.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Spanned;

use super::{ClaimsError, file::File};
use crate::stats::{PrintedShare, Share, Unit};

/// The paper's table, embedded.
const PAPER: &str = include_str!("../../golden/paper/table.toml");

/// Largest number of questions that is tried; beyond it three digits say nothing.
const MAX_CANDIDATE: usize = 100_000;

/// A checked table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name, by default the file's.
    pub name: String,
    /// What the printed numbers are.
    pub unit: Unit,
    /// Numbers of questions to try.
    pub candidates: Candidates,
    /// At least one.
    pub columns: Vec<Column>,
    /// At least one.
    pub rows: Vec<Row>,
    /// Where rows come from, by the name rows use.
    pub sources: BTreeMap<String, Source>,
}

/// Numbers of questions to try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "candidates must be `{ from = 80, to = 140 }` or a list of numbers"
)]
pub enum Candidates {
    /// Each number from one to another, both included.
    Range {
        /// Smallest.
        from: usize,
        /// Largest.
        to: usize,
    },
    /// These.
    List(Vec<usize>),
}

impl Candidates {
    /// Returns the numbers in ascending order, each once.
    pub fn numbers(&self) -> Vec<usize> {
        match self {
            Self::Range { from, to } => (*from..=*to).collect(),
            Self::List(list) => {
                let mut list = list.clone();
                list.sort_unstable();
                list.dedup();
                list
            }
        }
    }
}

impl Default for Candidates {
    /// 80 to 140: the sample exams have 119 to 137 questions, fewer without images.
    fn default() -> Self {
        Self::Range { from: 80, to: 140 }
    }
}

/// One exam, or one step of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub name: String,
    /// Number of questions, if known.
    pub n: Option<usize>,
    /// Numbers of questions somebody stated, and where.
    pub stated: Vec<Stated>,
    /// What a constant answer scores.
    pub baseline: Option<Baseline>,
}

/// A number of questions that somebody stated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stated {
    /// The number.
    pub n: usize,
    /// Who says so.
    #[serde(rename = "where")]
    pub place: String,
}

/// What an answer that needs no model scores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// E.g. `always D`.
    pub label: String,
    /// Its score.
    pub share: Share,
    /// Counted on which questions.
    pub place: String,
}

/// One model's accuracies.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name, unique in the table.
    pub model: String,
    /// The row of the model it was made from.
    pub base: Option<String>,
    /// One a column; `None` where nothing is printed.
    pub values: Vec<Option<PrintedShare>>,
    /// Numbers of questions of this row, one a column, if known.
    pub n: Option<Vec<usize>>,
    /// Key of [`Table::sources`].
    pub source: Option<String>,
}

/// Where figures come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Paper, file and commit, or page.
    #[serde(rename = "where")]
    pub place: String,
    /// When they were published, ISO 8601.
    pub date: String,
    /// The protocol as the source states it.
    pub protocol: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTable {
    name: Option<Spanned<String>>,
    #[serde(default)]
    unit: Unit,
    candidates: Option<Spanned<Candidates>>,
    #[serde(default)]
    source: BTreeMap<String, Source>,
    #[serde(default)]
    column: Vec<RawColumn>,
    #[serde(default)]
    row: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawColumn {
    name: Spanned<String>,
    n: Option<Spanned<usize>>,
    #[serde(default)]
    stated: Vec<Spanned<Stated>>,
    baseline: Option<Spanned<RawBaseline>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBaseline {
    label: String,
    successes: usize,
    trials: usize,
    #[serde(rename = "where")]
    place: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    model: Spanned<String>,
    base: Option<Spanned<String>>,
    values: Spanned<Vec<Spanned<String>>>,
    n: Option<Spanned<Vec<Spanned<usize>>>>,
    source: Option<Spanned<String>>,
}

impl Table {
    /// Reads a table from a file.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] with file, line and field: unreadable, not UTF-8 with LF, not TOML, an
    /// unknown field, an accuracy that is none, a name used twice, a row of the wrong length, …
    pub fn read(path: &Path) -> Result<Self, ClaimsError> {
        let bytes =
            fs::read(path).map_err(|source| ClaimsError::Read { path: path.into(), source })?;
        Self::parse(&path.display().to_string(), &bytes)
    }

    /// Reads a table from the bytes of a file called `name`.
    ///
    /// # Errors
    ///
    /// As [`Self::read`].
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ClaimsError> {
        let file = File::new(name, bytes)?;
        let raw: RawTable = file.parse()?;
        let candidates = candidates(&file, raw.candidates)?;
        let columns = columns(&file, raw.column)?;
        let mut rows = Vec::with_capacity(raw.row.len());
        let mut names = BTreeMap::new();
        for row in &raw.row {
            file.check_name(&row.model, "model")?;
            let model = row.model.get_ref();
            if names.insert(model.clone(), ()).is_some() {
                return Err(file.wrong(&row.model, format!("row \"{model}\""), "named twice"));
            }
        }
        for row in raw.row {
            rows.push(read_row(&file, row, &columns, raw.unit, &raw.source, &names)?);
        }
        if rows.is_empty() {
            return Err(file.wrong_as_a_whole("no `[[row]]`: nothing to audit"));
        }
        if rows.iter().all(|row| row.values.iter().all(Option::is_none)) {
            return Err(file.wrong_as_a_whole("no row prints an accuracy: nothing to audit"));
        }
        if let Some(name) = &raw.name {
            file.check_name(name, "name")?;
        }
        let name = raw.name.map_or_else(|| name.to_owned(), Spanned::into_inner);
        Ok(Self { name, unit: raw.unit, candidates, columns, rows, sources: raw.source })
    }

    /// Returns the paper's own table.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn paper() -> Self {
        Self::parse("golden/paper/table.toml", PAPER.as_bytes())
            .expect("the embedded table is read by a test")
    }

    /// Returns the row called `model`.
    pub fn row(&self, model: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.model == model)
    }

    /// Returns the position of the column called `name`.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Returns the hex sha256 over headings, models and printed texts, whatever the layout.
    pub fn sha256(&self) -> String {
        let mut text = format!("{:?}\n", self.unit);
        for column in &self.columns {
            let _ = writeln!(text, "column\t{}", column.name);
        }
        for row in &self.rows {
            let _ = write!(text, "row\t{}", row.model);
            for value in &row.values {
                let _ = write!(text, "\t{}", value.as_ref().map_or("-", PrintedShare::text));
            }
            text.push('\n');
        }
        let digest = Sha256::digest(text.as_bytes());
        digest.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

fn candidates(
    file: &File<'_>,
    raw: Option<Spanned<Candidates>>,
) -> Result<Candidates, ClaimsError> {
    let Some(raw) = raw else { return Ok(Candidates::default()) };
    let (from, to) = match raw.get_ref() {
        Candidates::Range { from, to } => (*from, *to),
        Candidates::List(list) => {
            (list.iter().min().copied().unwrap_or(1), list.iter().max().copied().unwrap_or(0))
        }
    };
    if from == 0 || from > to || to > MAX_CANDIDATE {
        let problem = format!("must name numbers from 1 to {MAX_CANDIDATE}, the smaller first");
        return Err(file.wrong(&raw, "candidates", problem));
    }
    Ok(raw.into_inner())
}

fn columns(file: &File<'_>, raw: Vec<RawColumn>) -> Result<Vec<Column>, ClaimsError> {
    if raw.is_empty() {
        return Err(file.wrong_as_a_whole("no `[[column]]`: name at least one"));
    }
    let mut columns: Vec<Column> = Vec::with_capacity(raw.len());
    for column in raw {
        file.check_name(&column.name, "column name")?;
        let name = column.name.get_ref();
        let field = format!("column \"{name}\"");
        if columns.iter().any(|other| other.name == *name) {
            return Err(file.wrong(&column.name, field, "named twice"));
        }
        if let Some(n) = &column.n {
            Share::new(0, *n.get_ref())
                .map_err(|source| file.number(n, format!("{field}, n"), source))?;
        }
        for stated in &column.stated {
            Share::new(0, stated.get_ref().n)
                .map_err(|source| file.number(stated, format!("{field}, stated"), source))?;
        }
        let baseline = match column.baseline {
            None => None,
            Some(raw) => {
                let share = Share::new(raw.get_ref().successes, raw.get_ref().trials)
                    .map_err(|source| file.number(&raw, format!("{field}, baseline"), source))?;
                let RawBaseline { label, place, .. } = raw.into_inner();
                Some(Baseline { label, share, place })
            }
        };
        columns.push(Column {
            name: column.name.into_inner(),
            n: column.n.map(Spanned::into_inner),
            stated: column.stated.into_iter().map(Spanned::into_inner).collect(),
            baseline,
        });
    }
    Ok(columns)
}

fn read_row(
    file: &File<'_>,
    raw: RawRow,
    columns: &[Column],
    unit: Unit,
    sources: &BTreeMap<String, Source>,
    names: &BTreeMap<String, ()>,
) -> Result<Row, ClaimsError> {
    let model = raw.model.get_ref().clone();
    let field = |what: &str| format!("row \"{model}\", {what}");
    let short = |got: usize| format!("{got} given, one a column would be {}", columns.len());
    if let Some(base) = &raw.base {
        if *base.get_ref() == model {
            return Err(file.wrong(base, field("base"), "is the row itself"));
        }
        if !names.contains_key(base.get_ref()) {
            let problem = format!("no row is called \"{}\"", base.get_ref());
            return Err(file.wrong(base, field("base"), problem));
        }
    }
    if let Some(source) = &raw.source
        && !sources.contains_key(source.get_ref())
    {
        let problem = format!("there is no `[source.{}]`", source.get_ref());
        return Err(file.wrong(source, field("source"), problem));
    }
    let got = raw.values.get_ref().len();
    if got != columns.len() {
        return Err(file.wrong(&raw.values, field("values"), short(got)));
    }
    let mut values = Vec::with_capacity(got);
    for (text, column) in raw.values.get_ref().iter().zip(columns) {
        values.push(match text.get_ref().as_str() {
            "-" | "TBA" => None,
            printed => Some(PrintedShare::parse(printed, unit).map_err(|source| {
                file.number(text, field(&format!("column \"{}\"", column.name)), source)
            })?),
        });
    }
    let n = match raw.n {
        None => None,
        Some(list) => {
            let got = list.get_ref().len();
            if got != columns.len() {
                return Err(file.wrong(&list, field("n"), short(got)));
            }
            for n in list.get_ref() {
                Share::new(0, *n.get_ref()).map_err(|source| file.number(n, field("n"), source))?;
            }
            Some(list.into_inner().into_iter().map(Spanned::into_inner).collect())
        }
    };
    let base = raw.base.map(Spanned::into_inner);
    let source = raw.source.map(Spanned::into_inner);
    Ok(Row { model, base, values, n, source })
}
