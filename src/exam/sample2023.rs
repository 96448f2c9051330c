//! The 2023 USMLE sample exams as JSON: `step{1,2,3}_questions.json`.
//!
//! Each file is a list of `{question_number, question, choices {A: …}, correct_answer}`. The step
//! is in the file's name; a file named otherwise has no step, and its stem stands in the ids
//! instead (`step1/40`, `mine/40`).

use super::{
    ExamError, Question, QuestionId, Step, entry,
    entry::{Entry, Loaded, UnknownFields},
    json::{Json, Object},
    source::Source,
};

const FIELDS: [&str; 4] = ["question_number", "question", "choices", "correct_answer"];

/// Reads the files, in the order given.
pub(super) fn load(sources: &[Source]) -> Result<Loaded, ExamError> {
    let mut loaded = Loaded::default();
    let mut unknown = UnknownFields::default();
    for source in sources {
        let stem = source.stem();
        let step = stem.strip_suffix("_questions").and_then(Step::of_name);
        let part = step.map_or(stem, |step| format!("step{step}"));
        let json = Json::parse(&source.path, &source.text, 1)?;
        for item in json.list(&source.path, "file")? {
            let object = item.object(&source.path, "item")?;
            unknown.note(&object, &FIELDS);
            loaded.entries.push(read(&object, &part, step)?);
        }
    }
    loaded.findings.extend(unknown.findings());
    Ok(loaded)
}

fn read(object: &Object<'_>, part: &str, step: Option<Step>) -> Result<Entry, ExamError> {
    let path = object.path;
    let number = object.get("question_number")?.number(path, "question_number")?;
    let question = Question {
        id: QuestionId(format!("{part}/{number}")),
        step,
        text: object.text("question")?.0.to_owned(),
        options: entry::options(path, object.get("choices")?, "choices")?,
        answer: object.get("correct_answer")?.letter(path, "correct_answer")?,
        has_image: false,
        source: "usmle-2023".into(),
    };
    Ok(Entry {
        question,
        id_place: object.place("question_number"),
        text_place: object.place("question"),
        options_place: object.place("choices"),
        answer_place: object.place("correct_answer"),
    })
}
