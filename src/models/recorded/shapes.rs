//! The layouts in which answers are recorded, each read field by field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Mark,
    fields::{Fields, wrong},
    lm_eval,
};
use crate::{
    exam::{Choice, Letter},
    protocol::FinishReason,
};

/// A layout of recorded answers, told by the fields of the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Shape {
    /// A run directory of this program.
    Run,
    /// The project's own JSONL: `id`, `text`; optional `attempt`, `finish_reason`, `error`, `gold`,
    /// `options`, `labels`.
    Answers,
    /// MMLU-Pro: `question_id`, `options`, `answer`, `category`, `src`, `pred`, and the reply in
    /// `generated_text` or `model_outputs`.
    MmluPro,
    /// MIRAGE, one file of its results per line: `id`, `file_text` (a JSON list whose first element
    /// is the reply), `gold`.
    Mirage,
    /// medical-reasoning's export: `qid`, `prompt`, `mark`, `text`, `gold`, `question`.
    MedicalReasoning,
    /// One letter per model and question: `model`, `step`, `question`, `answer`, `gold`, `correct`,
    /// `api_error`.
    Letters,
    /// lm-evaluation-harness' samples: `doc_id`, `doc`, `target`, `resps`, optional `filter`.
    LmEval,
    /// A JSON list of free-text replies without answer key: `id`, `instruction`, `response`.
    FreeText,
}

impl Shape {
    /// What a file must hold, for people.
    pub(super) const KNOWN: &str = "id, text (the project's own); question_id, options, answer, \
        generated_text (MMLU-Pro); id, file_text, gold (MIRAGE); qid, prompt, mark, text, gold \
        (medical-reasoning); model, step, question, answer, gold, correct (one letter per model); \
        doc_id, doc, target, resps (lm-eval samples); id, instruction, response (free text)";

    /// Returns the name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Answers => "answers",
            Self::MmluPro => "mmlu-pro",
            Self::Mirage => "mirage",
            Self::MedicalReasoning => "medical-reasoning",
            Self::Letters => "letters",
            Self::LmEval => "lm-eval",
            Self::FreeText => "free-text",
        }
    }

    /// The layout of a record with these fields.
    pub(super) fn of(fields: &Fields<'_>) -> Option<Self> {
        let has = |names: &[&str]| names.iter().all(|name| fields.has(name));
        Some(if has(&["doc_id", "doc", "resps"]) {
            Self::LmEval
        } else if has(&["question_id", "options", "answer"]) {
            Self::MmluPro
        } else if has(&["id", "file_text"]) {
            Self::Mirage
        } else if has(&["qid", "mark"]) {
            Self::MedicalReasoning
        } else if has(&["model", "question", "answer", "gold"]) {
            Self::Letters
        } else if has(&["instruction", "response"]) {
            Self::FreeText
        } else if has(&["id", "text"]) || has(&["id", "error"]) {
            Self::Answers
        } else {
            return None;
        })
    }

    /// Reads one record, or says which field is wrong.
    pub(super) fn read(self, fields: &Fields<'_>) -> Result<Record, String> {
        match self {
            Self::Run | Self::Answers => answers(fields),
            Self::MmluPro => mmlu_pro(fields),
            Self::Mirage => mirage(fields),
            Self::MedicalReasoning => medical_reasoning(fields),
            Self::Letters => letters(fields),
            Self::LmEval => lm_eval::read(fields),
            Self::FreeText => free_text(fields),
        }
    }
}

/// A record as its file has it.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) attempt: u32,
    pub(super) question: String,
    pub(super) options: Option<Vec<Choice>>,
    pub(super) gold: Option<Letter>,
    /// The reply, or why there is none.
    pub(super) reply: Option<String>,
    pub(super) missing: String,
    pub(super) finish_reason: Option<FinishReason>,
    pub(super) mark: Option<Mark>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn new(id: String, reply: &str) -> Self {
        Self { id, attempt: 1, reply: Some(reply.to_owned()), ..Self::default() }
    }

    pub(super) fn label(mut self, name: &str, value: impl Into<String>) -> Self {
        self.labels.insert(name.to_owned(), value.into());
        self
    }
}

/// Fields of the project's own layout; any other is an error.
const OWN: [&str; 9] =
    ["id", "attempt", "text", "finish_reason", "error", "gold", "options", "labels", "question"];

fn answers(fields: &Fields<'_>) -> Result<Record, String> {
    if let Some(unknown) = fields.0.keys().find(|name| !OWN.contains(&name.as_str())) {
        return Err(format!("unknown field `{unknown}`, expected {}", OWN.join(", ")));
    }
    let mut record = Record { id: fields.name("id")?, attempt: 1, ..Record::default() };
    if fields.has("attempt") {
        let attempt = u32::try_from(fields.count("attempt")?).ok().filter(|attempt| *attempt > 0);
        record.attempt = attempt.ok_or("field `attempt`: expected 1 or more")?;
    }
    record.reply = fields.optional_text("text")?.map(str::to_owned);
    record.missing = match (fields.optional_text("error")?, &record.reply) {
        (Some(_), Some(_)) => return Err("fields `text` and `error` exclude each other".into()),
        (Some(error), None) => error.to_owned(),
        (None, _) if !fields.has("text") => return Err("missing field `text`".into()),
        (None, _) => "text is null".into(),
    };
    if let Some(value) = fields.optional("finish_reason") {
        let reason = serde_json::from_value(value.clone());
        record.finish_reason =
            Some(reason.map_err(|error| format!("field `finish_reason`: {error}"))?);
    }
    record.question = fields.optional_text("question")?.unwrap_or_default().to_owned();
    record.gold = fields.optional_letter("gold")?;
    if fields.optional("options").is_some() {
        record.options = Some(fields.options("options")?);
    }
    match fields.optional("labels") {
        None => {}
        Some(Value::Object(labels)) => {
            for (name, value) in labels {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                record.labels.insert(name.clone(), text);
            }
        }
        Some(other) => return Err(wrong("labels", "an object", other)),
    }
    Ok(record)
}

fn mmlu_pro(fields: &Fields<'_>) -> Result<Record, String> {
    let reply = match fields.has("model_outputs") {
        true => fields.text("model_outputs")?,
        false => fields.text("generated_text")?,
    };
    let mut record = Record::new(fields.name("question_id")?, reply);
    record.question = fields.optional_text("question")?.unwrap_or_default().to_owned();
    record.options = Some(fields.options("options")?);
    record.gold = Some(fields.letter("answer")?);
    if fields.has("pred") {
        record.mark = Some(Mark::Letter(fields.optional_letter("pred")?));
    }
    record = record.label("category", fields.text("category")?);
    Ok(match fields.optional_text("src")? {
        Some(src) => record.label("src", src),
        None => record,
    })
}

fn mirage(fields: &Fields<'_>) -> Result<Record, String> {
    let file = fields.text("file_text")?;
    let list: Value = serde_json::from_str(file).map_err(|error| {
        format!("field `file_text`: not the JSON that a result file is: {error}")
    })?;
    let Value::Array(list) = list else {
        return Err(wrong("file_text", "a JSON list", &list));
    };
    let mut record = Record { id: fields.name("id")?, attempt: 1, ..Record::default() };
    match list.first() {
        Some(Value::String(first)) => record.reply = Some(first.clone()),
        Some(other) => return Err(wrong("file_text", "a list of texts", other)),
        None => record.missing = "the result file is an empty list".into(),
    }
    record.gold = fields.optional_letter("gold")?;
    Ok(record)
}

/// The file writes its mark in front of the reply; it is no part of what the model said.
fn medical_reasoning(fields: &Fields<'_>) -> Result<Record, String> {
    let (right, sign) = match fields.text("mark")? {
        "correct" => (true, "✅ "),
        "wrong" => (false, "❌ "),
        _ => return Err(wrong("mark", "`correct` or `wrong`", fields.value("mark")?)),
    };
    let text = fields.text("text")?;
    let Some(reply) = text.strip_prefix(sign) else {
        return Err(wrong("text", &format!("the mark `{sign}` in front"), fields.value("text")?));
    };
    let prompt = fields.text("prompt")?;
    let mut record = Record::new(format!("{}/{prompt}", fields.text("qid")?), reply);
    let question = fields.text("question")?;
    let (stem, options) = options_in_text(question);
    record.question = stem.to_owned();
    record.options = Some(options).filter(|options| !options.is_empty());
    record.gold = fields.optional_letter("gold")?;
    record.mark = Some(Mark::Right(right));
    Ok(record.label("prompt", prompt))
}

/// Splits `A) …`, `B) …` lines off the end of a question; no options if they are not in order.
///
/// Some questions of the source end in a quotation mark on a line of its own.
fn options_in_text(text: &str) -> (&str, Vec<Choice>) {
    let Some(start) = text.rfind("\nA) ") else { return (text, Vec::new()) };
    let lines = text[start + 1..].trim_end_matches(['\n', '"']).lines();
    let mut options = Vec::new();
    for (index, line) in lines.enumerate() {
        let letter = Letter::from_index(index);
        match (letter, letter.and_then(|letter| line.strip_prefix(&format!("{letter}) ")))) {
            (Some(letter), Some(text)) => options.push(Choice { letter, text: text.to_owned() }),
            _ => return (text, Vec::new()),
        }
    }
    (text[..start].trim_end(), options)
}

fn letters(fields: &Fields<'_>) -> Result<Record, String> {
    let (model, step) = (fields.text("model")?, fields.name("step")?);
    let id = format!("{model}/step{step}/{}", fields.name("question")?);
    let mut record = Record::new(id, fields.text("answer")?);
    if fields.has("api_error") && fields.boolean("api_error")? {
        record.reply = None;
        record.missing = "the interface returned an error".into();
    }
    record.gold = Some(fields.letter("gold")?);
    record.mark = Some(Mark::Right(fields.boolean("correct")?));
    record = record.label("model", model).label("step", step);
    Ok(match fields.optional_text("engine")? {
        Some(engine) => record.label("engine", engine),
        None => record,
    })
}

fn free_text(fields: &Fields<'_>) -> Result<Record, String> {
    let mut record = Record::new(fields.name("id")?, fields.text("response")?);
    record.question = fields.text("instruction")?.to_owned();
    Ok(record)
}
