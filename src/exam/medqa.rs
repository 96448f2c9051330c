//! MedQA's JSONL: one object a line, options by letter, the key as letter and as text.
//!
//! Fields: `question`, `options {A: …}`, `answer` (text), `answer_idx` (letter), `meta_info`
//! (`step1` or `step2&3`; absent or null is unknown). `metamap_phrases` is derived from the
//! question and not read. A record has no name of its own, so its id is its position from 0 in
//! four digits, `medqa/0041`, as MIRAGE numbers the test set.
//!
//! Source: Jin et al. 2021 (arXiv 2009.13081), files `US/test.jsonl` and `4_options/…`.

use super::{
    Defect, ExamError, Finding, Question, QuestionId, Step, entry,
    entry::{Entry, Loaded, UnknownFields},
    json::{Json, Object, Value},
    source::Source,
};

const FIELDS: [&str; 6] =
    ["question", "answer", "options", "meta_info", "answer_idx", "metamap_phrases"];

/// Reads the file.
pub(super) fn load(source: &Source) -> Result<Loaded, ExamError> {
    let mut loaded = Loaded::default();
    let mut unknown = UnknownFields::default();
    for (index, (line, text)) in source.lines().enumerate() {
        let json = Json::parse(&source.path, text, line)?;
        let object = json.object(&source.path, "line")?;
        unknown.note(&object, &FIELDS);
        let entry = read(&object, QuestionId(format!("medqa/{index:04}")))?;
        let (gold, gold_json) = object.text("answer")?;
        let Question { answer, .. } = entry.question;
        if let Some(option) = entry.question.option(answer).filter(|option| *option != gold) {
            let place = super::Place::new(&source.path, gold_json.line, "answer");
            let (option, gold) = (option.to_owned(), gold.to_owned());
            let defect = Defect::AnswerTextDiffers { letter: answer, option, gold };
            loaded.findings.push(Finding::new(Some(&entry.question.id), place, defect));
        }
        loaded.entries.push(entry);
    }
    loaded.findings.extend(unknown.findings());
    Ok(loaded)
}

fn read(object: &Object<'_>, id: QuestionId) -> Result<Entry, ExamError> {
    let path = object.path;
    let step = match object.find("meta_info") {
        None | Some(Json { value: Value::Null, .. }) => None,
        Some(json) => match json.text(path, "meta_info")? {
            "step1" => Some(Step::One),
            "step2&3" => Some(Step::TwoOrThree),
            _ => return Err(json.unexpected(path, "meta_info", "`step1` or `step2&3`")),
        },
    };
    let question = Question {
        id,
        step,
        text: object.text("question")?.0.to_owned(),
        options: entry::options(path, object.get("options")?, "options")?,
        answer: object.get("answer_idx")?.letter(path, "answer_idx")?,
        has_image: false,
        source: "medqa".into(),
    };
    Ok(Entry {
        question,
        id_place: object.place("question"),
        text_place: object.place("question"),
        options_place: object.place("options"),
        answer_place: object.place("answer_idx"),
    })
}
