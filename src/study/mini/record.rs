//! What a study came to, in one file: per-item outcomes of every row, costs of every training.
//!
//! Tables, claims and gates are made of this alone, so a committed record re-creates its report
//! without a model, and a later study is held against it item by item. Outcomes are one character an
//! item, in the order of the exam's items, so that a flip shows in a diff:
//!
//! | character | outcome |
//! |---|---|
//! | `A` to `Z` | this option was read, and it is right |
//! | `a` to `z` | this option was read, and it is wrong |
//! | `0` to `8` | no option was read: empty, no form, letter only, letter not offered, text of another option, text of no option, truncated, degenerate, retries spent |
//! | `!` | no reply |
//! | `.` | not asked under this protocol |

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Family, Method, definition::read};
use crate::{
    claims::runs::{ExamKey, Item, Outcomes},
    corpus::miniature::Taught,
    exam::{Exam, Letter, QuestionId, Step},
    protocol::{Outcome, Reason},
    store::{ProtocolIdentity, write_whole},
    study::StudyError,
};

/// Value of `format` in the file.
const FORMAT: &str = "medharness-study";
/// Value of `format_version` in the file.
const VERSION: u32 = 1;

/// Why no option was read, by the digit that stands for it.
const REASONS: [Reason; 9] = [
    Reason::Empty,
    Reason::NoForm,
    Reason::LetterOnly,
    Reason::LetterNotOffered,
    Reason::TextOfAnotherOption,
    Reason::TextOfNoOption,
    Reason::Truncated,
    Reason::Degenerate,
    Reason::RetriesSpent,
];

/// A whole study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    format: String,
    format_version: u32,
    /// Heading of the report.
    pub title: String,
    /// What it is, in a sentence.
    pub about: String,
    /// Version of the program.
    pub tool_version: String,
    /// Which kernels computed it.
    pub kernel_set: String,
    /// Processor and threads that times and memory are of.
    pub machine: String,
    /// The exam, then the set apart if there is one.
    pub exams: Vec<ExamRecord>,
    /// Protocols, the headline's first.
    pub protocols: Vec<ProtocolIdentity>,
    /// The rows, in the order of the table.
    pub rows: Vec<RowRecord>,
    /// Ids of the study's other rows, which were not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamRecord {
    /// Its name.
    pub name: String,
    /// What a report says of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Of its canonical form.
    pub sha256: String,
    /// Items left out because they need an image.
    pub excluded: usize,
    /// Share right that guessing among the options gives, on average.
    pub chance: f64,
    /// Every other item.
    pub items: Vec<ExamItem>,
}

/// An item of an exam, written `step|taught|id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExamItem {
    /// `None` where the exam does not say.
    pub step: Option<Step>,
    /// How the training data teach its fact; `None` where nobody says.
    pub taught: Option<Taught>,
    /// Its name.
    pub id: QuestionId,
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowRecord {
    /// Unique.
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
    pub mirrors: Option<String>,
    /// Each seed it was made with.
    pub seeds: Vec<SeedRecord>,
}

/// A row made with one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRecord {
    /// The seed.
    pub seed: u64,
    /// What the training came to; `None` for a base model.
    pub training: Option<TrainingRecord>,
    /// One an exam and protocol.
    pub runs: Vec<RunRecord>,
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The recipe's name.
    pub recipe: String,
    /// The file of rows.
    pub data: String,
    /// Elements trained.
    pub trained: u64,
    /// Updates made.
    pub updates: u64,
    /// Loss of the first update, in nats a token.
    pub first_loss: f64,
    /// Loss of the last update.
    pub last_loss: f64,
    /// Lowest loss on the rows held out; `None` without any.
    pub validation_loss: Option<f64>,
    /// Tokens that went through the network.
    pub tokens: u64,
    /// Memory foreseen, in bytes: the same on every machine.
    pub mem_estimate: u64,
    /// Largest memory the process held while it trained, in bytes; `None` where nobody says.
    pub mem_peak: Option<u64>,
    /// Time spent training, in seconds.
    pub wall_s: f64,
}

/// One exam under one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The exam's name.
    pub exam: String,
    /// The protocol's id.
    pub protocol: String,
    /// The run.
    pub run_id: String,
    /// Who answered.
    pub model: String,
    /// A character an item, see the module.
    pub outcomes: String,
    /// Time spent answering, in seconds.
    pub wall_s: f64,
    /// Largest memory the process held meanwhile, in bytes; `None` where nobody says.
    pub mem_peak: Option<u64>,
}

impl From<ExamItem> for String {
    fn from(ExamItem { step, taught, id }: ExamItem) -> Self {
        let step = step.map_or_else(|| "-".to_owned(), |step| step.to_string());
        format!("{step}|{}|{id}", taught.map_or("-", name))
    }
}

impl TryFrom<String> for ExamItem {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not step|taught|id");
        let mut parts = text.splitn(3, '|');
        let mut part = || parts.next().ok_or_else(wrong);
        let step = match part()? {
            "-" => None,
            step => Some(Step::parse(step).ok_or_else(wrong)?),
        };
        let taught = match part()? {
            "-" => None,
            way => Some(
                Taught::ALL.into_iter().find(|taught| name(*taught) == way).ok_or_else(wrong)?,
            ),
        };
        Ok(Self { step, taught, id: QuestionId(part()?.to_owned()) })
    }
}

/// How a stratum is called in files and tables.
pub(super) fn name(taught: Taught) -> &'static str {
    match taught {
        Taught::Question => "question",
        Taught::Flashcard => "flashcard",
        Taught::Read => "read",
    }
}

/// Returns the character of an outcome.
pub(super) fn encode(outcome: Outcome, letter: Option<Letter>) -> char {
    let letter = letter.map_or('?', Letter::as_char);
    match outcome {
        Outcome::Correct => letter,
        Outcome::Wrong => letter.to_ascii_lowercase(),
        Outcome::Unparsed { reason } => {
            let place = REASONS.iter().position(|known| *known == reason);
            place.and_then(|place| char::from_digit(u32::try_from(place).ok()?, 10)).unwrap_or('?')
        }
        Outcome::Errored => '!',
    }
}

/// Returns the outcome and the option read, `Err` for a character that stands for nothing, `None`
/// where the item was not asked.
pub(super) fn decode(code: char) -> Result<Option<(Outcome, Option<Letter>)>, char> {
    Ok(Some(match code {
        '.' => return Ok(None),
        '!' => (Outcome::Errored, None),
        'A'..='Z' => (Outcome::Correct, Letter::from_char(code)),
        'a'..='z' => (Outcome::Wrong, Letter::from_char(code.to_ascii_uppercase())),
        _ => {
            let place = code.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            let reason = place.and_then(|place| REASONS.get(place)).ok_or(code)?;
            (Outcome::Unparsed { reason: *reason }, None)
        }
    }))
}

/// Mean of one over the number of options, over the items asked; 0 if there are none.
fn chance(exam: &Exam) -> f64 {
    let shares: Vec<f64> =
        exam.asked().map(|question| 1.0 / question.options.len().max(1) as f64).collect();
    shares.iter().sum::<f64>() / shares.len().max(1) as f64
}

impl ExamRecord {
    /// Returns what a record keeps of an exam.
    pub(in crate::study) fn of(
        exam: &Exam,
        taught: &std::collections::BTreeMap<QuestionId, Taught>,
    ) -> Self {
        let item = |question: &crate::exam::Question| ExamItem {
            step: question.step,
            taught: taught.get(&question.id).copied(),
            id: question.id.clone(),
        };
        Self {
            name: exam.name.clone(),
            about: String::new(),
            sha256: exam.sha256(),
            excluded: exam.excluded.len(),
            chance: chance(exam),
            items: exam.asked().map(item).collect(),
        }
    }

    /// Returns a character an item for the outcomes of a run.
    pub(in crate::study) fn encode(&self, outcomes: &Outcomes) -> String {
        let found: std::collections::BTreeMap<&QuestionId, &Item> =
            outcomes.items.iter().map(|item| (&item.id, item)).collect();
        let code = |item: &ExamItem| {
            found.get(&item.id).map_or('.', |found| encode(found.outcome, found.letter))
        };
        self.items.iter().map(code).collect()
    }
}

impl RowRecord {
    /// Returns the run of a seed under a protocol.
    pub fn run(&self, seed: usize, exam: &str, protocol: &str) -> Option<&RunRecord> {
        let runs = &self.seeds.get(seed)?.runs;
        runs.iter().find(|run| run.exam == exam && run.protocol == protocol)
    }
}

impl Record {
    /// Returns a record without rows.
    pub(in crate::study) fn new(title: String, about: String, exams: Vec<ExamRecord>) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: VERSION,
            title,
            about,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            kernel_set: String::new(),
            machine: String::new(),
            exams,
            protocols: Vec::new(),
            rows: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Takes over the machine of the record at `path` if everything here stands there, too: times and
    /// memory are of the machine on which the rows were made.
    pub(in crate::study) fn keep_machine(&mut self, path: &Path) {
        let Ok(before) = Self::open(path) else { return };
        let is_there = |row: &RowRecord| {
            let old = before.rows.iter().find(|old| old.id == row.id);
            old.is_some_and(|old| row.seeds.iter().all(|seed| old.seeds.contains(seed)))
        };
        if self.rows.iter().all(is_there) {
            self.machine = before.machine;
        }
    }

    /// Name of the file in the folder of a study's runs.
    pub const FILE: &str = "record.json";

    /// Returns the file of the record that `path` is, or that a folder of runs holds; `None` if it
    /// is something else.
    pub fn find(path: &Path) -> Option<PathBuf> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let path = if path.is_dir() { path.join(Self::FILE) } else { path.to_owned() };
        let head = read(&path).ok().and_then(|text| serde_json::from_str::<Head>(&text).ok());
        head.is_some_and(|head| head.format == FORMAT).then_some(path)
    }

    /// Reads a record.
    ///
    /// # Errors
    ///
    /// [`StudyError::Record`] if it is none, of a newer version, or does not add up.
    pub fn open(path: &Path) -> Result<Self, StudyError> {
        let wrong = |problem: String| StudyError::Record { path: path.to_owned(), problem };
        let record: Self =
            serde_json::from_str(&read(path)?).map_err(|error| wrong(error.to_string()))?;
        let (format, version) = (&record.format, record.format_version);
        if format != FORMAT || version > VERSION {
            return Err(wrong(format!("is `{format}` version {version}, not {FORMAT} {VERSION}")));
        }
        if record.exams.is_empty() || record.protocols.is_empty() || record.rows.is_empty() {
            return Err(wrong("holds no exam, no protocol or no row".into()));
        }
        for row in &record.rows {
            for run in row.seeds.iter().flat_map(|seed| &seed.runs) {
                record.outcomes(run).map_err(|problem| {
                    wrong(format!(
                        "row `{}`, {} under {}: {problem}",
                        row.id, run.exam, run.protocol
                    ))
                })?;
            }
        }
        Ok(record)
    }

    /// Writes the record, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`StudyError::Store`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), StudyError> {
        Ok(write_whole(path, self.to_json().as_bytes())?)
    }

    /// Returns the file of this record.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("texts and finite numbers are JSON") + "\n"
    }

    /// Returns the outcomes of one of its runs.
    ///
    /// # Errors
    ///
    /// In words, if they do not fit the exam.
    pub fn outcomes(&self, run: &RunRecord) -> Result<Outcomes, String> {
        let exam = self.exams.iter().find(|exam| exam.name == run.exam).ok_or("unknown exam")?;
        let protocol = self.protocols.iter().find(|protocol| protocol.id == run.protocol);
        let protocol = protocol.ok_or("unknown protocol")?;
        let (got, wanted) = (run.outcomes.chars().count(), exam.items.len());
        if got != wanted {
            return Err(format!("{got} outcomes for {wanted} items"));
        }
        let mut items = Vec::with_capacity(wanted);
        for (item, code) in exam.items.iter().zip(run.outcomes.chars()) {
            let decoded = decode(code).map_err(|code| format!("`{code}` is no outcome"))?;
            let Some((outcome, letter)) = decoded else { continue };
            items.push(Item { id: item.id.clone(), step: item.step, outcome, letter });
        }
        if items.is_empty() {
            return Err("no item was asked".into());
        }
        Ok(Outcomes {
            run_id: run.run_id.clone(),
            model: run.model.clone(),
            tool_version: self.tool_version.clone(),
            exam: ExamKey { name: exam.name.clone(), sha256: exam.sha256.clone() },
            protocol: protocol.clone(),
            items,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_character_of_its_own() {
        let b = Letter::from_char('B');
        let mut outcomes =
            vec![(Outcome::Correct, b), (Outcome::Wrong, b), (Outcome::Errored, None)];
        outcomes.extend(REASONS.map(|reason| (Outcome::Unparsed { reason }, None)));
        let codes: String =
            outcomes.iter().map(|(outcome, letter)| encode(*outcome, *letter)).collect();
        assert_eq!(codes, "Bb!012345678");
        let back: Vec<_> = codes.chars().map(|code| decode(code).unwrap().unwrap()).collect();
        assert_eq!(back, outcomes);
        assert_eq!(decode('.'), Ok(None));
        for code in ['9', '?', ' ', 'é'] {
            assert_eq!(decode(code), Err(code));
        }
    }

    #[test]
    fn an_item_reads_back_as_it_was_written() {
        for text in ["1|question|mini/step1/1", "-|-|a|b", "2&3|read|x"] {
            let item = ExamItem::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(item), text);
        }
        assert!(ExamItem::try_from("4|read|x".to_owned()).is_err());
        assert!(ExamItem::try_from("1|read".to_owned()).is_err());
    }
}
