//! Why the paper's table has the denominators it has: evidence as data, checked as it is read.
//!
//! The conclusion is drawn only for the very table it was written for, and only if the numbers of
//! questions found there are those the cause leaves.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{ClaimsError, ColumnAudit, Table, file::File};

const EMBEDDED: &str = include_str!("../../golden/paper/evidence.toml");

/// What is known about the making of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    cause: Cause,
    columns: Vec<Denominator>,
    facts: Vec<Fact>,
    readings: Vec<Reading>,
}

/// The conclusion with everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inference {
    /// What the denominators are put down to.
    pub cause: Cause,
    /// How each denominator comes about.
    pub columns: Vec<Denominator>,
    /// What was read, computed, inferred.
    pub facts: Vec<Fact>,
    /// What the entries that do not fit could be.
    pub readings: Vec<Reading>,
}

/// What the denominators are put down to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// In a sentence.
    pub summary: String,
    /// The line of code.
    pub code: String,
    /// File, line, commits.
    #[serde(rename = "where")]
    pub place: String,
}

/// How a column's denominator comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denominator {
    /// The column.
    pub name: String,
    /// Questions of the exam.
    pub questions: usize,
    /// Of these, excluded for their images.
    pub excluded: usize,
    /// Of the rest, never asked.
    pub never_asked: usize,
}

/// One piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// How it is known.
    pub kind: FactKind,
    /// What.
    pub text: String,
    /// From where.
    #[serde(rename = "where")]
    pub place: String,
}

/// How a fact is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FactKind {
    /// Read in the file it names.
    Read,
    /// Follows from the numbers.
    Computed,
    /// Our conclusion, which no file states.
    Inference,
}

/// What an entry that does not fit its column could be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The row.
    pub model: String,
    /// The column.
    pub column: String,
    /// Counts such as `20/90`; each prints the entry's digits (checked).
    pub counts: Vec<String>,
    /// Why.
    pub note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    cause: Cause,
    column: Vec<Denominator>,
    fact: Vec<Fact>,
    reading: Vec<Spanned<Reading>>,
}

impl Evidence {
    /// Reads evidence about `table` from the bytes of a file called `name`.
    ///
    /// # Errors
    ///
    /// [`ClaimsError`] for a wrong form, for a row or column the table does not have, and for a
    /// count that would not print the entry's digits.
    pub fn parse(name: &str, bytes: &[u8], table: &Table) -> Result<Self, ClaimsError> {
        let file = File::new(name, bytes)?;
        let raw: Raw = file.parse()?;
        for reading in &raw.reading {
            let Reading { model, column, counts, .. } = reading.get_ref();
            let field = format!("reading of \"{model}\", {column}");
            let printed = table
                .row(model)
                .zip(table.column(column))
                .and_then(|(row, index)| row.values[index].as_ref())
                .ok_or_else(|| file.wrong(reading, &*field, "the table prints no such entry"))?;
            for count in counts {
                let fits = count
                    .split_once('/')
                    .and_then(|(k, n)| Some((k.parse::<usize>().ok()?, n.parse().ok()?)))
                    .is_some_and(|(k, n)| printed.counts(n).contains(&k));
                if !fits {
                    let problem = format!("{count} is not printed as {printed}");
                    return Err(file.wrong(reading, field, problem));
                }
            }
        }
        Ok(Self {
            cause: raw.cause,
            columns: raw.column,
            facts: raw.fact,
            readings: raw.reading.into_iter().map(Spanned::into_inner).collect(),
        })
    }

    /// Returns the evidence about the paper's table.
    pub(super) fn embedded() -> Self {
        Self::parse("golden/paper/evidence.toml", EMBEDDED.as_bytes(), &Table::paper())
            .expect("the embedded evidence is read by a test")
    }

    /// Draws the conclusion if `columns` found what it explains.
    pub(super) fn infer(self, columns: &[ColumnAudit]) -> Option<Inference> {
        let same_counts = columns.len() == self.columns.len()
            && columns.iter().zip(&self.columns).all(|(column, denominator)| {
                let left = denominator.questions - denominator.excluded - denominator.never_asked;
                column.found.as_ref().is_some_and(|fit| fit.n == left)
            });
        let Self { cause, columns, facts, readings } = self;
        same_counts.then_some(Inference { cause, columns, facts, readings })
    }
}
