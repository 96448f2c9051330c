//! The project's own exam format, which every other one can be converted to.
//!
//! One JSON object a line, UTF-8, in exactly these fields:
//!
//! | field | value |
//! |---|---|
//! | `id` | text, unique within the file, e.g. `"step1/4"` |
//! | `step` | `"1"`, `"2"`, `"3"`, `"2&3"` (or the integers 1 to 3), or `null` where unknown |
//! | `question` | text, without the options |
//! | `options` | list of `{"letter": "A", "text": "…"}` in printed order |
//! | `answer` | letter of the right option |
//! | `has_image` | `true` where the item shows an image; such an item is never asked |
//! | `source` | text, where the item comes from |
//!
//! No field may be missing, given twice or added: a misspelt field is an error, not a default.
//! Blank lines count for nothing. [`write()`] is the canonical form: fields in the order above, steps
//! as text, no blanks, `\n` behind every line. Its sha256 is the identity of the exam.

use std::path::Path;

use super::{
    Choice, ExamError, FieldProblem, Place, Question, QuestionId, Step,
    entry::{Entry, Loaded},
    json::{Json, Object, Value},
    source::Source,
};

const FIELDS: [&str; 7] = ["id", "step", "question", "options", "answer", "has_image", "source"];

/// Reads the file.
pub(super) fn load(source: &Source) -> Result<Loaded, ExamError> {
    let entry = |(line, text)| {
        let json = Json::parse(&source.path, text, line)?;
        read(&json.object(&source.path, "line")?)
    };
    let entries = source.lines().map(entry).collect::<Result<_, _>>()?;
    Ok(Loaded { entries, findings: Vec::new() })
}

/// Returns the canonical form of `questions`.
pub fn write<'a>(questions: impl IntoIterator<Item = &'a Question>) -> String {
    let line = |question| {
        let mut line = serde_json::to_string(question).expect("texts and flags are always JSON");
        line.push('\n');
        line
    };
    questions.into_iter().map(line).collect()
}

fn read(object: &Object<'_>) -> Result<Entry, ExamError> {
    known_only(object, &FIELDS)?;
    let path = object.path;
    let has_image = object.get("has_image")?;
    let question = Question {
        id: QuestionId(object.text("id")?.0.to_owned()),
        step: step(path, object.get("step")?)?,
        text: object.text("question")?.0.to_owned(),
        options: object
            .get("options")?
            .list(path, "options")?
            .iter()
            .map(|json| choice(path, json))
            .collect::<Result<_, _>>()?,
        answer: object.get("answer")?.letter(path, "answer")?,
        has_image: match has_image.value {
            Value::Bool(value) => value,
            _ => return Err(has_image.unexpected(path, "has_image", "true or false")),
        },
        source: object.text("source")?.0.to_owned(),
    };
    Ok(Entry {
        question,
        id_place: object.place("id"),
        text_place: object.place("question"),
        options_place: object.place("options"),
        answer_place: object.place("answer"),
    })
}

fn choice(path: &Path, json: &Json) -> Result<Choice, ExamError> {
    let object = json.object(path, "options")?;
    known_only(&object, &["letter", "text"])?;
    let letter = object.get("letter")?.letter(path, "options.letter")?;
    Ok(Choice { letter, text: object.get("text")?.text(path, "options.text")?.to_owned() })
}

/// Reads a step; `null` is unknown.
fn step(path: &Path, json: &Json) -> Result<Option<Step>, ExamError> {
    let step = match &json.value {
        Value::Null => return Ok(None),
        Value::Integer(number) => Step::parse(&number.to_string()),
        Value::Text(text) => Step::parse(text),
        _ => None,
    };
    step.map(Some).ok_or_else(|| json.unexpected(path, "step", "1, 2, 3, \"2&3\" or null"))
}

/// Refuses a field that the format does not know.
fn known_only(object: &Object<'_>, known: &[&str]) -> Result<(), ExamError> {
    match object.keys().find(|(key, _)| !known.contains(key)) {
        None => Ok(()),
        Some((key, line)) => Err(ExamError::Field {
            place: Place::new(object.path, line, key),
            problem: FieldProblem::Unknown,
        }),
    }
}
