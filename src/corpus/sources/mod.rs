//! Readers of the raw sources that Medical Meadow was made of, each with the paper's rule.
//!
//! | reader | file | rule |
//! |---|---|---|
//! | `flashcards` | Anki, notes as plain text (tabs) | cards with images are dropped; a cloze card asks for its gaps |
//! | `stack-exchange` | `Posts.xml` of a site's dump | answers with at least 5 votes, each with its question |
//! | `wikidoc-textbook` | MediaWiki XML, or pages as HTML | the text under each heading; the heading is rephrased where a model is at hand |
//! | `wikidoc-patient` | the same | the text under each heading that is a question |
//! | `mediqa` | MEDIQA 2019 QA XML | answers that the reference scores 3 (correct, incomplete) or 4 |
//! | `cord-19` | `metadata.csv` | abstract to title |
//! | `mmlu` | CSV without a heading | question and options to letter and text |
//! | `medqa` | JSON lines | the same |
//! | `pubmed-causal`, `health-advice` | CSV with `sentence` and `label` | sentence to the label's words |
//! | `open-assistant` | JSON lines of trees | first question and its best answer |
//! | `rows` | `{instruction, input, output}`: JSON, JSON lines, Parquet | as they are |
//!
//! Every reader streams: memory holds one record, and for Stack Exchange the questions that still
//! wait for an answer. What gives no row is counted by its [`Reject`]. The paper does not print the
//! instructions it used; the defaults here are ours, and a recipe can name others.
//!
//! Source: arXiv 2304.08247, section 3.1; `DATA_DESCRIPTION.md` of kbressem/medAlpaca at 63448c5.

mod cloze;
mod flashcards;
mod html;
mod mediqa;
mod nesting;
pub(super) mod parquet;
mod quotes;
mod stack_exchange;
mod tables;
mod trees;
mod wiki;
mod wikitext;
mod xml;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Row, RowError, each_row};

/// A reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// Anki's plain text.
    Flashcards,
    /// A Stack Exchange dump.
    StackExchange,
    /// WikiDoc's living textbook.
    WikidocTextbook,
    /// WikiDoc's patient information.
    WikidocPatient,
    /// MEDIQA 2019, question answering.
    Mediqa,
    /// CORD-19's metadata.
    #[serde(rename = "cord-19")]
    Cord19,
    /// MMLU.
    Mmlu,
    /// MedQA.
    Medqa,
    /// Causal language in PubMed.
    PubmedCausal,
    /// Health advice in PubMed.
    HealthAdvice,
    /// OpenAssistant's trees.
    OpenAssistant,
    /// Rows as they are.
    Rows,
}

impl SourceKind {
    /// Returns the instruction of its rows where a recipe names none; `None` if rows bring their own.
    pub fn instruction(self) -> Option<&'static str> {
        match self {
            Self::Flashcards
            | Self::StackExchange
            | Self::WikidocTextbook
            | Self::WikidocPatient
            | Self::Mediqa => Some("Answer this question truthfully"),
            Self::Cord19 => Some("Give this abstract a title"),
            Self::Mmlu | Self::Medqa => {
                Some("Answer this multiple-choice question with one of its options")
            }
            Self::PubmedCausal => Some(
                "What does this sentence state: causation, conditional causation, correlation, or \
                 no relation?",
            ),
            Self::HealthAdvice => {
                Some("Does this sentence give strong advice, weak advice, or no advice?")
            }
            Self::OpenAssistant | Self::Rows => None,
        }
    }
}

/// Fewest votes of an answer (the paper's number).
pub const MIN_VOTES: i64 = 5;
/// Least reference score of a MEDIQA answer: 3 is "correct but incomplete", 4 "excellent".
pub const MIN_REFERENCE_SCORE: i64 = 3;
/// Fewest words under a heading of a wiki page.
pub const MIN_SECTION_WORDS: usize = 10;

/// How a source is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Name of the source, written into every row that brings none.
    pub source: String,
    /// Instruction of every row; `None` for [`SourceKind::instruction`].
    pub instruction: Option<String>,
    /// Fewest votes or least score; `None` for [`MIN_VOTES`] and [`MIN_REFERENCE_SCORE`].
    pub min_score: Option<i64>,
}

impl SourceSettings {
    /// Returns the settings of the paper for a source called `source`.
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), instruction: None, min_score: None }
    }
}

/// Why a record gives no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reject {
    /// It cannot be read, or lacks a field.
    Malformed,
    /// Its bytes are no UTF-8.
    NotUtf8,
    /// It holds an image.
    Image,
    /// Its gaps, or the braces in them, do not close as they open.
    BrokenCloze,
    /// Its elements are nested deeper than a page needs.
    TooDeep,
    /// There is no question.
    NoQuestion,
    /// There is no answer.
    NoAnswer,
    /// Too few votes, or too low a score.
    LowScore,
    /// Its answer is not scored.
    NotScored,
    /// The question of an answer is not in the file.
    Orphan,
    /// Neither question nor answer (a wiki post, a tag).
    OtherPost,
    /// A page that only points to another.
    Redirect,
    /// A page that is no article.
    OtherPage,
    /// A section of references, links and the like.
    Apparatus,
    /// Fewer words than [`MIN_SECTION_WORDS`].
    TooShort,
    /// A heading that is no question.
    NotAQuestion,
    /// A label that the source does not define.
    UnknownLabel,
    /// Not English.
    NotEnglish,
    /// Not released: still growing, deleted, or spam.
    NotReleased,
}

impl Reject {
    /// Returns the reason in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotUtf8 => "not UTF-8",
            Self::Image => "with an image",
            Self::BrokenCloze => "clozes that do not close",
            Self::TooDeep => "nested too deep",
            Self::NoQuestion => "without a question",
            Self::NoAnswer => "without an answer",
            Self::LowScore => "scored too low",
            Self::NotScored => "not scored",
            Self::Orphan => "answers without their question",
            Self::OtherPost => "neither question nor answer",
            Self::Redirect => "redirects",
            Self::OtherPage => "pages that are no articles",
            Self::Apparatus => "sections of references and links",
            Self::TooShort => "too short",
            Self::NotAQuestion => "headings that are no question",
            Self::UnknownLabel => "with an unknown label",
            Self::NotEnglish => "not English",
            Self::NotReleased => "not released",
        }
    }
}

/// What was in the files of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SourceCounts {
    /// Records: cards, posts, sections, lines.
    pub records: usize,
    /// Rows made of them.
    pub rows: usize,
    /// Records that gave none.
    pub rejected: BTreeMap<Reject, usize>,
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The file cannot be opened or read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is not well-formed XML.
    #[error("`{}`, byte {byte}: not well-formed XML", path.display())]
    Xml {
        /// The file.
        path: PathBuf,
        /// Where the reader stood.
        byte: u64,
        /// The parser's reason.
        source: Box<quick_xml::Error>,
    },
    /// The file ends inside an element.
    #[error("`{}` ends inside `<{element}>`", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The innermost open element.
        element: String,
    },
    /// The file is no CSV.
    #[error("`{}` is no such table", path.display())]
    Csv {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: csv::Error,
    },
    /// A quote is opened and not closed: what follows would be one field.
    #[error("`{}`: the record at line {line} never closes its quote, or is longer than 1 MiB", path.display())]
    Quote {
        /// The file.
        path: PathBuf,
        /// Where the record begins, from 1; of a file with a heading for Anki, behind that.
        line: u64,
    },
    /// A table lacks a column.
    #[error("`{}` has no column `{column}`", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// Its name.
        column: &'static str,
    },
    /// The file is no Parquet.
    #[error("`{}` cannot be read as Parquet", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: ::parquet::errors::ParquetError,
    },
    /// Rows cannot be read.
    #[error(transparent)]
    Rows(#[from] RowError),
    /// The file holds no record.
    #[error("`{}` holds no record for this reader", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
    },
}

/// Calls `found` with every row of the file at `path`, in the file's order (answers whose question
/// comes later: behind the others), and returns what was in it.
///
/// # Errors
///
/// [`SourceError`] names the file; one without any record is an error, one without any row is not.
pub fn read_source(
    kind: SourceKind,
    path: &Path,
    settings: &SourceSettings,
    found: &mut dyn FnMut(Row),
) -> Result<SourceCounts, SourceError> {
    let instruction = settings.instruction.as_deref().or(kind.instruction()).unwrap_or_default();
    let counts = SourceCounts::default();
    let mut sink = Sink { source: &settings.source, instruction, counts, found };
    let sink_ref = &mut sink;
    let is_blank =
        is_blank(path).map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
    if is_blank {
        // Before a reader misses a heading, or the first element.
        return Err(SourceError::Nothing { path: path.to_owned() });
    }
    match kind {
        SourceKind::Flashcards => flashcards::read(path, sink_ref),
        SourceKind::StackExchange => {
            stack_exchange::read(path, settings.min_score.unwrap_or(MIN_VOTES), sink_ref)
        }
        SourceKind::WikidocTextbook => wiki::read(path, wiki::Rule::Textbook, sink_ref),
        SourceKind::WikidocPatient => wiki::read(path, wiki::Rule::Patient, sink_ref),
        SourceKind::Mediqa => {
            mediqa::read(path, settings.min_score.unwrap_or(MIN_REFERENCE_SCORE), sink_ref)
        }
        SourceKind::Cord19 => tables::cord19(path, sink_ref),
        SourceKind::Mmlu => tables::mmlu(path, sink_ref),
        SourceKind::Medqa => tables::medqa(path, sink_ref),
        SourceKind::PubmedCausal => tables::labelled(path, &tables::CAUSAL, sink_ref),
        SourceKind::HealthAdvice => tables::labelled(path, &tables::ADVICE, sink_ref),
        SourceKind::OpenAssistant => trees::read(path, sink_ref),
        SourceKind::Rows => rows(path, settings, sink_ref),
    }?;
    if sink.counts.records == 0 {
        return Err(SourceError::Nothing { path: path.to_owned() });
    }
    Ok(sink.counts)
}

fn rows(path: &Path, settings: &SourceSettings, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    each_row(path, |number, row| {
        let Ok(mut row) = row else { return sink.reject(Reject::Malformed) };
        if row.output.trim().is_empty() {
            return sink.reject(Reject::NoAnswer);
        }
        if row.instruction.trim().is_empty() && row.input.trim().is_empty() {
            return sink.reject(Reject::NoQuestion);
        }
        if let Some(instruction) = &settings.instruction {
            row.instruction.clone_from(instruction);
        }
        row.source.get_or_insert_with(|| settings.source.clone());
        row.id.get_or_insert_with(|| number.to_string());
        sink.whole(row);
    })
    .map(drop)
    .or_else(|error| match error {
        // The caller's to say, as of any other reader.
        RowError::Empty { .. } => Ok(()),
        error => Err(error.into()),
    })
}

/// Whether a file holds nothing but white space.
fn is_blank(path: &Path) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(path)?);
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        let bytes_read = bytes.len();
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
        if !text.trim_ascii().is_empty() {
            return Ok(false);
        }
        file.consume(bytes_read);
    }
}

/// Takes what a reader makes of its records.
struct Sink<'a> {
    source: &'a str,
    instruction: &'a str,
    counts: SourceCounts,
    found: &'a mut dyn FnMut(Row),
}

impl Sink<'_> {
    /// A record that gives a row, unless question or answer is blank.
    fn row(&mut self, id: impl Into<String>, question: &str, answer: &str) {
        let (question, answer) = (question.trim(), answer.trim());
        if question.is_empty() {
            return self.reject(Reject::NoQuestion);
        }
        if answer.is_empty() {
            return self.reject(Reject::NoAnswer);
        }
        self.whole(Row {
            instruction: self.instruction.to_owned(),
            input: question.to_owned(),
            output: answer.to_owned(),
            source: Some(self.source.to_owned()),
            id: Some(id.into()),
            licence: None,
        });
    }

    fn whole(&mut self, row: Row) {
        self.counts.records += 1;
        self.counts.rows += 1;
        (self.found)(row);
    }

    /// A record that gives none.
    fn reject(&mut self, reason: Reject) {
        self.counts.records += 1;
        *self.counts.rejected.entry(reason).or_default() += 1;
    }
}
