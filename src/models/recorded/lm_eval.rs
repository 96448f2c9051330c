//! lm-evaluation-harness' `samples_*.jsonl`: one record per document and filter.
//!
//! The reply is what lm-eval's default filter takes, the first of the document's responses; in a
//! file exported by this program, where responses are attempts, it is the last. Source: lm_eval
//! 0.4.13, `loggers/evaluation_tracker.py`.

use serde_json::Value;

use super::{
    fields::{Fields, wrong},
    shapes::Record,
};
use crate::exam::{Choice, Letter};

/// Reads one record, or says which field is wrong.
pub(super) fn read(fields: &Fields<'_>) -> Result<Record, String> {
    let Value::Object(doc) = fields.value("doc")? else {
        return Err(wrong("doc", "an object", fields.value("doc")?));
    };
    let doc = Fields(doc);
    let filter = fields.optional_text("filter")?.unwrap_or("none");
    let id = fields.name("doc_id")?;
    let id = if filter == "none" { id } else { format!("{id}/{filter}") };
    let mut record = Record::new(id, reply(fields)?).label("filter", filter);
    record.question = doc.optional_text("question")?.unwrap_or_default().to_owned();
    record.options = options(&doc)?;
    record.gold = Some(target(fields, record.options.as_deref())?);
    Ok(record)
}

fn reply<'a>(fields: &Fields<'a>) -> Result<&'a str, String> {
    let value = fields.value("resps")?;
    let texts = value.get(0).and_then(Value::as_array).filter(|texts| !texts.is_empty());
    let texts = texts.ok_or_else(|| wrong("resps", "a list of lists of replies", value))?;
    let counts = if fields.has("medharness") { texts.last() } else { texts.first() };
    match counts {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(_)) => {
            Err("field `resps`: log-likelihoods of options, no reply to read".into())
        }
        _ => Err(wrong("resps", "replies as text", value)),
    }
}

/// `options`, or `choices` as a list or as `{"text": […], "label": […]}`.
fn options(doc: &Fields<'_>) -> Result<Option<Vec<Choice>>, String> {
    if doc.optional("options").is_some() {
        return doc.options("options").map(Some);
    }
    match doc.optional("choices") {
        None => Ok(None),
        Some(Value::Object(choices)) if choices.contains_key("text") => {
            Fields(choices).options("text").map(Some)
        }
        Some(_) => doc.options("choices").map(Some),
    }
}

/// The target as a letter (`B`, `(B)`) or as the position of an option, counted from 0.
fn target(fields: &Fields<'_>, options: Option<&[Choice]>) -> Result<Letter, String> {
    let name = fields.name("target")?;
    let bare = name.trim().trim_start_matches('(').trim_end_matches([')', '.']);
    let mut chars = bare.chars();
    if let (Some(letter), None) = (chars.next().and_then(Letter::from_char), chars.next()) {
        return Ok(letter);
    }
    let index = bare.parse::<usize>().ok();
    let letter = match options {
        Some(options) => index.and_then(|index| options.get(index)).map(|option| option.letter),
        None => index.and_then(Letter::from_index),
    };
    letter.ok_or_else(|| {
        wrong("target", "a letter or the position of an option", &Value::String(name.clone()))
    })
}
