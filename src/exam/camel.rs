//! Clinical Camel's JSONL: the options stand inside the text as `(A) …`, the key is `(B) …`.
//!
//! Fields: `question_id` (text or integer), `text`, `answer`, `category` (`one`, `two`, `three`, or
//! null). The text is read by lines:
//!
//! - Blanks at the end of a line go, and so does the indentation that all lines behind the first
//!   share: in 40 rows of the published file every line begins with one blank.
//! - The options begin at the last line that opens with `(A)`. From there a line that opens with
//!   a letter in parentheses begins an option, and any other line continues the one above it, joined
//!   by one blank: some options wrap.
//!
//! The key's text is compared with its option's, both with single blanks; a difference is a
//! warning, because only the letter is scored.
//!
//! Source: bowang-lab/clinical-camel at 49a798b, evaluation data.

use super::{
    Choice, Defect, ExamError, FieldProblem, Finding, Letter, Question, QuestionId, Step,
    entry::{Entry, Loaded, UnknownFields},
    json::{Json, Object, Value, shortened},
    source::Source,
};

const FIELDS: [&str; 4] = ["question_id", "text", "answer", "category"];

/// Reads the file.
pub(super) fn load(source: &Source) -> Result<Loaded, ExamError> {
    let mut loaded = Loaded::default();
    let mut unknown = UnknownFields::default();
    for (line, text) in source.lines() {
        let json = Json::parse(&source.path, text, line)?;
        let object = json.object(&source.path, "line")?;
        unknown.note(&object, &FIELDS);
        let (entry, gold) = read(&object)?;
        let Question { id, answer, .. } = &entry.question;
        if let Some(option) = entry.question.option(*answer).filter(|option| *option != gold) {
            let defect =
                Defect::AnswerTextDiffers { letter: *answer, option: option.to_owned(), gold };
            loaded.findings.push(Finding::new(Some(id), entry.answer_place.clone(), defect));
        }
        loaded.entries.push(entry);
    }
    loaded.findings.extend(unknown.findings());
    Ok(loaded)
}

/// Returns the question and the text of its key.
fn read(object: &Object<'_>) -> Result<(Entry, String), ExamError> {
    let path = object.path;
    let id = object.get("question_id")?;
    let id = match &id.value {
        Value::Integer(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        _ => return Err(id.unexpected(path, "question_id", "a text or an integer")),
    };
    let category = object.get("category")?;
    let step = match &category.value {
        Value::Null => None,
        Value::Text(text) => match text.as_str() {
            "one" => Some(Step::One),
            "two" => Some(Step::Two),
            "three" => Some(Step::Three),
            _ => {
                return Err(category.unexpected(path, "category", "`one`, `two`, `three` or null"));
            }
        },
        _ => return Err(category.unexpected(path, "category", "`one`, `two`, `three` or null")),
    };
    let (answer, _) = object.text("answer")?;
    let Some((answer, gold)) = marked(answer) else {
        let problem = FieldProblem::Expected { expected: "`(B) text`", got: shortened(answer) };
        return Err(ExamError::Field { place: object.place("answer"), problem });
    };
    let (text, options) = split(object.text("text")?.0);
    let entry = Entry {
        question: Question {
            id: QuestionId(id),
            step,
            text,
            options,
            answer,
            has_image: false,
            source: "clinical-camel".into(),
        },
        id_place: object.place("question_id"),
        text_place: object.place("text"),
        options_place: object.place("text"),
        answer_place: object.place("answer"),
    };
    Ok((entry, single_blanks(gold)))
}

/// Splits a text into the question and its options.
fn split(text: &str) -> (String, Vec<Choice>) {
    let lines = dedented(text);
    let start = lines
        .iter()
        .rposition(|line| marked(line).is_some_and(|(letter, _)| letter.index() == 0))
        .unwrap_or(lines.len());
    let (question, rest) = lines.split_at(start);
    let mut options: Vec<Choice> = Vec::new();
    for line in rest {
        if let Some((letter, text)) = marked(line) {
            options.push(Choice { letter, text: single_blanks(text) });
        } else if let Some(option) = options.last_mut() {
            option.text = single_blanks(&format!("{} {line}", option.text));
        }
    }
    (question.join("\n").trim().to_owned(), options)
}

/// Returns the lines without the blanks that carry no meaning; see the module's header.
fn dedented(text: &str) -> Vec<&str> {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let lines: Vec<&str> = text.split('\n').map(str::trim_end).collect();
    let behind_first = lines.iter().skip(1).filter(|line| !line.is_empty());
    let shared = behind_first.map(|line| indent(line)).min().unwrap_or(0);
    lines.into_iter().map(|line| &line[shared.min(indent(line))..]).collect()
}

/// Splits `(B) text` into letter and text; `None` for any other line.
fn marked(line: &str) -> Option<(Letter, &str)> {
    let (mark, text) = line.trim().split_at_checked(3)?;
    let letter = mark.strip_prefix('(')?.strip_suffix(')')?.chars().next()?;
    let is_apart = text.is_empty() || text.starts_with(char::is_whitespace);
    is_apart.then(|| Letter::from_char(letter)).flatten().map(|letter| (letter, text.trim()))
}

fn single_blanks(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
