//! What every loader yields: a question, and where each part of it stands.

use std::{collections::BTreeMap, path::Path};

use super::{
    Choice, Defect, ExamError, Finding, Place, Question,
    json::{self, Json, Object, Value},
};

/// A question with the places of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) question: Question,
    pub(super) id_place: Place,
    pub(super) text_place: Place,
    pub(super) options_place: Place,
    pub(super) answer_place: Place,
}

/// What a loader read: the questions, and the findings only it can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) entries: Vec<Entry>,
    pub(super) findings: Vec<Finding>,
}

/// Reads `{"A": "text", …}`; a letter given twice stays, to be found.
pub(super) fn options(path: &Path, json: &Json, field: &str) -> Result<Vec<Choice>, ExamError> {
    let choice = |(key, text): &(String, Json)| {
        let name = format!("{field}.{}", json::shortened(key));
        let letter = json::letter(key);
        let letter = letter
            .ok_or_else(|| Json { line: text.line, value: Value::Text(key.clone()) })
            .map_err(|key| key.unexpected(path, field, "letters from A to Z as keys"))?;
        Ok(Choice { letter, text: text.text(path, &name)?.to_owned() })
    };
    json.entries(path, field)?.iter().map(choice).collect()
}

/// Counts the fields of a file that its format does not know.
#[derive(Debug, Default)]
pub(super) struct UnknownFields(BTreeMap<String, (Place, usize)>);

impl UnknownFields {
    /// Notes the fields of `object` that are not among `known`.
    pub(super) fn note(&mut self, object: &Object<'_>, known: &[&str]) {
        for (key, line) in object.keys().filter(|(key, _)| !known.contains(key)) {
            let first = || (Place::new(object.path, line, key), 0);
            self.0.entry(key.to_owned()).or_insert_with(first).1 += 1;
        }
    }

    /// Returns one finding a field.
    pub(super) fn findings(self) -> impl Iterator<Item = Finding> {
        let finding = |(place, count)| Finding::new(None, place, Defect::UnknownField { count });
        self.0.into_values().map(finding)
    }
}
