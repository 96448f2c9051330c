//! Other states of the table, and other people's figures for the same models.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{Audit, ClaimsError, Source, Table, file::File};
use crate::stats::{PrintedShare, Share, TwoProportions, Unit, two_proportions};

const HISTORY: &str = include_str!("../../golden/paper/readme_history.toml");
const OTHERS: &str = include_str!("../../golden/paper/others.toml");

/// The states a published table went through, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct History(pub Vec<State>);

/// One state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Commit it appeared with.
    pub commit: String,
    /// Date of that commit, with its own offset.
    pub date: String,
    /// File it stands in.
    #[serde(rename = "where")]
    pub place: String,
    /// How the numbers were made, as far as the repository shows.
    pub protocol: String,
    /// What changed since the state before.
    pub change: String,
    /// Model and printed texts, `nan` and `TBA` as they stand.
    pub rows: Vec<(String, [String; 3])>,
}

/// Other people's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Others {
    /// Where figures and remarks come from, by the name they use.
    pub sources: BTreeMap<String, Source>,
    /// Numbers.
    pub figures: Vec<Figure>,
    /// Findings without a number.
    pub remarks: Vec<Remark>,
}

/// One number somebody else printed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The model, by its row's name where the paper's table has it.
    pub model: String,
    /// The exam; the column's name where the paper's table has it.
    pub exam: String,
    /// Digits as printed.
    pub printed: String,
    /// The same, between 0 and 1.
    pub value: f64,
    /// Number of questions the source states, if it does.
    pub stated_n: Option<usize>,
    /// A count that prints the digits, `[k, n]`, where one is known or inferred.
    pub count: Option<[usize; 2]>,
    /// Key of [`Others::sources`].
    pub source: String,
    /// What a reader should know.
    pub note: Option<String>,
}

/// One finding without a number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remark {
    /// The model.
    pub model: String,
    /// What was found.
    pub text: String,
    /// Key of [`Others::sources`].
    pub source: String,
}

/// A cell of the table beside somebody else's figure for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispute<'a> {
    /// The other figure.
    pub figure: &'a Figure,
    /// Where it comes from.
    pub source: &'a Source,
    /// The table's digits.
    pub printed: String,
    /// Table minus other, tested unpaired; `None` where either count is unknown.
    pub test: Option<TwoProportions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHistory {
    state: Vec<State>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOthers {
    source: BTreeMap<String, Source>,
    figure: Vec<Spanned<RawFigure>>,
    remark: Vec<Spanned<Remark>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFigure {
    model: String,
    exam: String,
    printed: String,
    unit: Unit,
    stated_n: Option<usize>,
    count: Option<[usize; 2]>,
    source: String,
    note: Option<String>,
}

impl History {
    /// Reads states from the bytes of a file called `name`.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] for a wrong form.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ClaimsError> {
        let raw: RawHistory = File::new(name, bytes)?.parse()?;
        Ok(Self(raw.state))
    }

    /// Returns the history of the README's table.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn paper() -> Self {
        Self::parse("golden/paper/readme_history.toml", HISTORY.as_bytes())
            .expect("the embedded history is read by a test")
    }
}

impl Others {
    /// Reads figures from the bytes of a file called `name`.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] for a wrong form, an unknown source, digits that are none, or a count that
    /// does not print them.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, ClaimsError> {
        let file = File::new(name, bytes)?;
        let raw: RawOthers = file.parse()?;
        for remark in &raw.remark {
            let source = &remark.get_ref().source;
            if !raw.source.contains_key(source) {
                return Err(file.wrong(remark, "remark", format!("no `[source.{source}]`")));
            }
        }
        let mut figures = Vec::with_capacity(raw.figure.len());
        for figure in raw.figure {
            let RawFigure { model, exam, source, .. } = figure.get_ref();
            let field = format!("figure \"{model}\", {exam}");
            if !raw.source.contains_key(source) {
                return Err(file.wrong(&figure, field, format!("no `[source.{source}]`")));
            }
            let printed = PrintedShare::parse(&figure.get_ref().printed, figure.get_ref().unit)
                .map_err(|error| file.number(&figure, &*field, error))?;
            if let Some([k, n]) = figure.get_ref().count
                && !printed.counts(n).contains(&k)
            {
                let problem = format!("{k}/{n} is not printed as {printed}");
                return Err(file.wrong(&figure, field, problem));
            }
            let figure = figure.into_inner();
            figures.push(Figure {
                value: printed.value(),
                model: figure.model,
                exam: figure.exam,
                printed: figure.printed,
                stated_n: figure.stated_n,
                count: figure.count,
                source: figure.source,
                note: figure.note,
            });
        }
        let remarks = raw.remark.into_iter().map(Spanned::into_inner).collect();
        Ok(Self { sources: raw.source, figures, remarks })
    }

    /// Returns what others printed about the paper's models.
    ///
    /// # Panics
    ///
    /// Never: the embedded file is read by a test.
    pub fn paper() -> Self {
        Self::parse("golden/paper/others.toml", OTHERS.as_bytes())
            .expect("the embedded figures are read by a test")
    }

    /// Returns each figure for a cell of `table` beside that cell.
    pub fn beside<'a>(&'a self, table: &Table, audit: &Audit) -> Vec<Dispute<'a>> {
        self.figures
            .iter()
            .filter_map(|figure| {
                let cell = audit.cell(&figure.model, table.column(&figure.exam)?)?;
                let other = figure.count.and_then(|[k, n]| Share::new(k, n).ok());
                let test = cell.count.zip(other);
                Some(Dispute {
                    figure,
                    source: self.sources.get(&figure.source)?,
                    printed: cell.printed.clone(),
                    test: test.map(|(own, other)| two_proportions(own.share(), other)),
                })
            })
            .collect()
    }
}
