//! Recorded answers: replies that were given before, read from whatever layout they are kept in.
//!
//! Guarantees that no record is dropped and none is repaired: a malformed one is an error that
//! names file, line and field. What a reply means is left to `protocol`.

mod fields;
mod lm_eval;
mod run;
mod shapes;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use thiserror::Error;

use self::{fields::Fields, shapes::Record};
use crate::{
    exam::{Choice, Exam, Letter, Question, QuestionId},
    protocol::FinishReason,
    store::{FileIdentity, StoreError, sha256_hex},
};
pub use shapes::Shape;

/// A file of recorded answers.
#[derive(Debug, Clone)]
pub struct Transcript {
    /// Its layout.
    pub shape: Shape,
    /// Its name and digest.
    pub file: FileIdentity,
    /// Every answer, in the file's order.
    pub answers: Vec<Recorded>,
    /// The letters that every question is taken to offer, where options are not recorded: A to the
    /// highest right answer of the file, to D at least. `None` where they are.
    pub assumed_letters: Option<String>,
    /// What was done to tell answers apart, for the reader.
    pub notes: Vec<String>,
    /// Questions of the exam given along with the file that have no answer in it.
    pub not_recorded: Vec<QuestionId>,
}

/// One recorded answer.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Names what was answered, and by whom where the file holds several models or prompts.
    pub id: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What was asked. Its `answer` repeats `gold`, or is its first option where there is none.
    pub question: Question,
    /// The right letter, `None` where the file has none.
    pub gold: Option<Letter>,
    /// Whether the options' texts are known.
    pub options: Options,
    /// The reply, or why there is none.
    pub reply: Result<String, String>,
    /// Why the reply ended.
    pub finish_reason: FinishReason,
    /// What the file itself says of the reply.
    pub mark: Option<Mark>,
    /// What answers can be selected and grouped by, e.g. `category`.
    pub labels: BTreeMap<String, String>,
}

/// What is known of a question's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Options {
    /// Letters and texts.
    Texts,
    /// Letters alone, and these are assumed.
    LettersOnly,
}

/// What a file itself says of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The letter its own scorer read, `None` if it read none.
    Letter(Option<Letter>),
    /// Whether its own scorer found it right.
    Right(bool),
}

impl Transcript {
    /// Reads recorded answers, with the options and right answers of `exam` where it is given.
    ///
    /// # Errors
    ///
    /// [`RecordedError`] that names the file, and the line or record and the field.
    pub fn load(path: &Path, exam: Option<&Exam>) -> Result<Self, RecordedError> {
        let bytes = fs::read(path)
            .map_err(|source| RecordedError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes, path, exam)
    }

    /// Reads recorded answers that are at hand; `path` stands for the file in errors.
    ///
    /// # Errors
    ///
    /// As [`Transcript::load`].
    pub fn from_bytes(
        bytes: &[u8],
        path: &Path,
        exam: Option<&Exam>,
    ) -> Result<Self, RecordedError> {
        let reader = Reader { path };
        let (shape, mut records) = reader.records(reader.text(bytes)?)?;
        let mut notes = Vec::new();
        if shape == Shape::Letters {
            notes.extend(tell_apart(&mut records));
        }
        reader.check_unique(&records)?;
        let letters = assumed_letters(&records);
        let mut answers = Vec::with_capacity(records.len());
        let mut assumed = false;
        let known: BTreeMap<&str, &Question> = exam
            .iter()
            .flat_map(|exam| &exam.questions)
            .map(|question| (&*question.id.0, question))
            .collect();
        for (place, record) in records {
            let found = match exam {
                None => None,
                Some(exam) => Some(*known.get(&*record.id).ok_or_else(|| {
                    let problem =
                        format!("the exam `{}` has no question `{}`", exam.name, record.id);
                    reader.wrong(place, problem)
                })?),
            };
            let answer =
                answer(record, found, &letters).map_err(|problem| reader.wrong(place, problem))?;
            assumed |= answer.options == Options::LettersOnly;
            answers.push(answer);
        }
        let answered: BTreeSet<_> = answers.iter().map(|answer| &answer.question.id).collect();
        let asked = exam.iter().flat_map(|exam| exam.asked()).map(|question| &question.id);
        let not_recorded = asked.filter(|id| !answered.contains(id)).cloned().collect();
        Ok(Self {
            shape,
            file: identity(path, bytes),
            answers,
            assumed_letters: assumed.then(|| letters.iter().map(|l| l.as_char()).collect()),
            notes,
            not_recorded,
        })
    }
}

/// Gives the second answer to one question number an id of its own: the 2023 sample exam numbers two
/// questions of Step 2 alike, and letters per model are recorded under that number.
fn tell_apart(records: &mut [(Place, Record)]) -> Option<String> {
    let mut seen = BTreeMap::<String, usize>::new();
    let mut renamed = 0;
    for (_, record) in records {
        let times = seen.entry(record.id.clone()).or_default();
        *times += 1;
        if *times > 1 {
            record.id = format!("{} ({times})", record.id);
            renamed += 1;
        }
    }
    (renamed > 0).then(|| {
        format!("{renamed} answers have the number of an earlier one and are marked (2) and so on")
    })
}

/// The letters a question offers where none are recorded.
fn assumed_letters(records: &[(Place, Record)]) -> Vec<Letter> {
    /// Most exams have at least four options.
    const AT_LEAST: usize = 4;
    let highest = records.iter().filter_map(|(_, record)| record.gold).max();
    let count = highest.map_or(AT_LEAST, |letter| (letter.index() + 1).max(AT_LEAST));
    (0..count).filter_map(Letter::from_index).collect()
}

/// A record with its question, taken from the exam where there is one.
fn answer(
    record: Record,
    found: Option<&Question>,
    letters: &[Letter],
) -> Result<Recorded, String> {
    if let (Some(gold), Some(question)) = (record.gold, found)
        && gold != question.answer
    {
        return Err(format!("field `gold`: {gold}, but the exam says {}", question.answer));
    }
    let gold = record.gold.or(found.map(|question| question.answer));
    let (choices, options) = match (record.options, found) {
        (Some(options), _) => (options, Options::Texts),
        (None, Some(question)) => (question.options.clone(), Options::Texts),
        (None, None) => {
            let lettered = |&letter: &Letter| Choice { letter, text: String::new() };
            (letters.iter().map(lettered).collect(), Options::LettersOnly)
        }
    };
    if let Some(gold) = gold.filter(|gold| choices.iter().all(|choice| choice.letter != *gold)) {
        return Err(format!("field `gold`: {gold} is not offered"));
    }
    let first = choices.first().ok_or("field `options`: no options")?.letter;
    let question = Question {
        id: QuestionId(record.id.clone()),
        step: found.and_then(|question| question.step),
        text: found.map_or(record.question, |question| question.text.clone()),
        options: choices,
        answer: gold.unwrap_or(first),
        has_image: found.is_some_and(|question| question.has_image),
        source: found.map_or_else(|| "recorded".into(), |question| question.source.clone()),
    };
    let mut labels = record.labels;
    if let Some(step) = question.step {
        labels.entry("step".into()).or_insert_with(|| step.to_string());
    }
    Ok(Recorded {
        id: record.id,
        attempt: record.attempt,
        question,
        gold,
        options,
        reply: record.reply.ok_or(record.missing),
        finish_reason: record.finish_reason.unwrap_or(FinishReason::Unknown),
        mark: record.mark,
        labels,
    })
}

/// One record as its file has it.
type Object = Map<String, Value>;

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
enum Place {
    Line(usize),
    Record(usize),
}

/// Reads the records of one file.
struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn wrong(&self, place: Place, problem: String) -> RecordedError {
        let path = self.path.to_owned();
        match place {
            Place::Line(line) => RecordedError::Line { path, line, problem },
            Place::Record(record) => RecordedError::Record { path, record, problem },
        }
    }

    fn text<'b>(&self, bytes: &'b [u8]) -> Result<&'b str, RecordedError> {
        let text = str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            self.wrong(Place::Line(line), "not UTF-8".into())
        })?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }

    fn records(&self, text: &str) -> Result<(Shape, Vec<(Place, Record)>), RecordedError> {
        let objects =
            if text.trim_start().starts_with('[') { self.list(text)? } else { self.lines(text)? };
        let Some((_, first)) = objects.first() else {
            return Err(RecordedError::Empty { path: self.path.to_owned() });
        };
        let Some(shape) = Shape::of(&Fields(first)) else {
            return Err(RecordedError::UnknownShape {
                path: self.path.to_owned(),
                fields: first.keys().cloned().collect::<Vec<_>>().join(", "),
                known: Shape::KNOWN,
            });
        };
        let read = |(place, object): (Place, Object)| {
            let record = shape.read(&Fields(&object));
            record.map(|record| (place, record)).map_err(|problem| self.wrong(place, problem))
        };
        let records: Result<_, _> = objects.into_iter().map(read).collect();
        Ok((shape, records?))
    }

    fn lines(&self, text: &str) -> Result<Vec<(Place, Object)>, RecordedError> {
        let lines = text.split('\n').enumerate().filter(|(_, line)| !line.trim().is_empty());
        lines
            .map(|(index, line)| {
                let place = Place::Line(index + 1);
                let object = serde_json::from_str(line)
                    .map_err(|error| self.wrong(place, format!("not a JSON object: {error}")))?;
                Ok((place, object))
            })
            .collect()
    }

    fn list(&self, text: &str) -> Result<Vec<(Place, Object)>, RecordedError> {
        let objects: Vec<Object> = serde_json::from_str(text).map_err(|error| {
            self.wrong(Place::Line(error.line()), format!("not a list of JSON objects: {error}"))
        })?;
        let numbered = objects.into_iter().enumerate();
        Ok(numbered.map(|(index, object)| (Place::Record(index + 1), object)).collect())
    }

    fn check_unique(&self, records: &[(Place, Record)]) -> Result<(), RecordedError> {
        let mut seen = BTreeMap::new();
        for (place, record) in records {
            if seen.insert((&record.id, record.attempt), place).is_some() {
                let problem =
                    format!("`{}`, attempt {} is recorded twice", record.id, record.attempt);
                return Err(self.wrong(*place, problem));
            }
        }
        Ok(())
    }
}

fn identity(path: &Path, bytes: &[u8]) -> FileIdentity {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    FileIdentity { name, sha256: sha256_hex(bytes), bytes: bytes.len() as u64 }
}

/// Why recorded answers cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecordedError {
    /// The file cannot be opened.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run directory cannot be read.
    #[error(transparent)]
    Run(#[from] StoreError),
    /// A run has no replies: its protocol scored the options.
    #[error("`{path}` has no replies to read: its protocol `{protocol}` scores the options")]
    Scored {
        /// The folder.
        path: PathBuf,
        /// The protocol.
        protocol: String,
    },
    /// A line is malformed.
    #[error("{path}:{line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, with the field.
        problem: String,
    },
    /// A record of a JSON list is malformed.
    #[error("{path}: record {record}: {problem}")]
    Record {
        /// The file.
        path: PathBuf,
        /// From 1.
        record: usize,
        /// What is wrong, with the field.
        problem: String,
    },
    /// The first record has the fields of no known layout.
    #[error("{path}: no known layout has the fields {fields}; known are {known}")]
    UnknownShape {
        /// The file.
        path: PathBuf,
        /// Those of the first record.
        fields: String,
        /// Those of each layout.
        known: &'static str,
    },
    /// There is no record.
    #[error("{path}: no recorded answers")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}
