//! JSON read strictly: every value knows its line, and a key given twice is seen.
//!
//! `serde_json` does the parsing (its grammar, its depth limit); this keeps what
//! `serde_json::Value` drops, so that a loader can name the place of a wrong field and refuse an
//! option that is given twice. It leaves to the loaders which fields there are.

use std::{
    cell::Cell,
    fmt,
    io::{self, Read},
    path::Path,
};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{ExamError, FieldProblem, Letter, Place};

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Json {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What a [`Json`] holds. Objects keep their order and repeated keys.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float,
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses `text`, which begins on line `first_line` of `path`, as one value.
    pub(super) fn parse(path: &Path, text: &str, first_line: usize) -> Result<Self, ExamError> {
        let line = Cell::new(first_line);
        let reader = LineCounter { rest: text.as_bytes(), line: &line, newline: false };
        let mut deserializer = serde_json::Deserializer::from_reader(reader);
        let seed = Seed { line: &line };
        let parsed = seed.deserialize(&mut deserializer).and_then(|json| {
            deserializer.end()?;
            Ok(json)
        });
        parsed.map_err(|error| ExamError::Json {
            path: path.to_owned(),
            line: first_line + error.line().max(1) - 1,
            column: error.column(),
            problem: problem(&error),
        })
    }

    /// Says what kind of value this is, for a message.
    pub(super) fn kind(&self) -> String {
        match &self.value {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Float => "a fraction".into(),
            Value::Text(text) => format!("`{}`", shortened(text)),
            Value::List(_) => "a list".into(),
            Value::Object(_) => "an object".into(),
        }
    }

    /// Returns the error that this value, the field `field`, should have been `expected`.
    pub(super) fn unexpected(&self, path: &Path, field: &str, expected: &'static str) -> ExamError {
        ExamError::Field {
            place: Place::new(path, self.line, field),
            problem: FieldProblem::Expected { expected, got: self.kind() },
        }
    }

    /// Returns the text, or an error naming `field`.
    pub(super) fn text(&self, path: &Path, field: &str) -> Result<&str, ExamError> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.unexpected(path, field, "a text")),
        }
    }

    /// Returns the letter, or an error naming `field`.
    pub(super) fn letter(&self, path: &Path, field: &str) -> Result<Letter, ExamError> {
        let text = self.text(path, field)?;
        letter(text).ok_or_else(|| self.unexpected(path, field, "a letter from A to Z"))
    }

    /// Returns a whole number, also when written as a text, or an error naming `field`.
    pub(super) fn number(&self, path: &Path, field: &str) -> Result<u32, ExamError> {
        let number = match &self.value {
            Value::Integer(number) => u32::try_from(*number).ok(),
            Value::Text(text) => number(text),
            _ => None,
        };
        number.ok_or_else(|| self.unexpected(path, field, "a whole number"))
    }

    /// Returns the list, or an error naming `field`.
    pub(super) fn list(&self, path: &Path, field: &str) -> Result<&[Self], ExamError> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.unexpected(path, field, "a list")),
        }
    }

    /// Returns the entries, or an error naming `field`. Keys may repeat.
    pub(super) fn entries(&self, path: &Path, field: &str) -> Result<&[(String, Self)], ExamError> {
        match &self.value {
            Value::Object(entries) => Ok(entries),
            _ => Err(self.unexpected(path, field, "an object")),
        }
    }

    /// Returns the object's fields, refusing a key given twice. `field` names the object.
    pub(super) fn object<'a>(
        &'a self,
        path: &'a Path,
        field: &str,
    ) -> Result<Object<'a>, ExamError> {
        let entries = self.entries(path, field)?;
        let mut seen = std::collections::HashSet::new();
        for (key, value) in entries {
            if !seen.insert(key) {
                let place = Place::new(path, value.line, key);
                return Err(ExamError::Field { place, problem: FieldProblem::Repeated });
            }
        }
        Ok(Object { path, line: self.line, entries })
    }
}

/// The fields of one object, each at most once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) path: &'a Path,
    pub(super) line: usize,
    entries: &'a [(String, Json)],
}

impl<'a> Object<'a> {
    /// Returns the field, `None` if there is none.
    pub(super) fn find(&self, field: &str) -> Option<&'a Json> {
        self.entries.iter().find(|(key, _)| key == field).map(|(_, value)| value)
    }

    /// Returns the field, or the error that it is missing.
    pub(super) fn get(&self, field: &str) -> Result<&'a Json, ExamError> {
        self.find(field).ok_or_else(|| ExamError::Field {
            place: Place::new(self.path, self.line, field),
            problem: FieldProblem::Missing,
        })
    }

    /// Returns the text of the field, and the field.
    pub(super) fn text(&self, field: &str) -> Result<(&'a str, &'a Json), ExamError> {
        let json = self.get(field)?;
        Ok((json.text(self.path, field)?, json))
    }

    /// Returns the names of the fields, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&'a str, usize)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value.line))
    }

    /// Returns the place of `field`, present or not.
    pub(super) fn place(&self, field: &str) -> Place {
        Place::new(self.path, self.find(field).map_or(self.line, |json| json.line), field)
    }
}

/// Returns the letter that `text` is, and nothing else.
pub(super) fn letter(text: &str) -> Option<Letter> {
    let mut chars = text.chars();
    let letter = chars.next().and_then(Letter::from_char)?;
    chars.next().is_none().then_some(letter)
}

/// Returns the whole number that `text` is in plain digits.
pub(super) fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// Returns the first 60 characters of `text`, for a message.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The parser's words without its own idea of the place.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Feeds the parser and knows the line of the byte it read last.
struct LineCounter<'a> {
    rest: &'a [u8],
    line: &'a Cell<usize>,
    newline: bool,
}

impl Read for LineCounter<'_> {
    /// Gives one byte a call; the parser asks for no more and looks one byte ahead at most.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (Some((&byte, rest)), Some(slot)) = (self.rest.split_first(), buffer.first_mut())
        else {
            return Ok(0);
        };
        if self.newline {
            self.line.set(self.line.get() + 1);
        }
        self.newline = byte == b'\n';
        self.rest = rest;
        *slot = byte;
        Ok(1)
    }
}

/// Builds a [`Json`], asking the counter for its line.
#[derive(Clone, Copy)]
struct Seed<'a> {
    line: &'a Cell<usize>,
}

impl Seed<'_> {
    fn here<E>(self, value: Value) -> Result<Json, E> {
        Ok(Json { line: self.line.get(), value })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        self.here(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        self.here(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        self.here(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        self.here(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        self.here(Value::Float)
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        self.here(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let line = self.line.get();
        let mut list = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Json { line, value: Value::List(list) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let line = self.line.get();
        let mut entries = Vec::new();
        while let Some(key) = access.next_key()? {
            entries.push((key, access.next_value_seed(self)?));
        }
        Ok(Json { line, value: Value::Object(entries) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Json, ExamError> {
        Json::parse(Path::new("x.json"), text, 1)
    }

    #[test]
    fn every_value_knows_its_line() {
        let json = parse("[\n 1\n,\n{\"a\":\n 2\n, \"b\": []}\n]\n").unwrap();
        let list = json.list(Path::new(""), "").unwrap();
        assert_eq!((json.line, list[0].line, list[1].line), (1, 2, 4));
        let object = list[1].object(Path::new(""), "").unwrap();
        assert_eq!((object.get("a").unwrap().line, object.get("b").unwrap().line), (5, 6));
    }

    #[test]
    fn key_given_twice_is_refused_with_its_line() {
        let json = parse("{\"a\": 1,\n\"a\": 2}").unwrap();
        let error = json.object(Path::new("x.json"), "").unwrap_err();
        assert_eq!(error.to_string(), "x.json, line 2, field `a`: given twice");
    }

    #[test]
    fn broken_json_names_line_and_column_of_the_file() {
        let error = Json::parse(Path::new("x.jsonl"), "{\"a\": }", 7).unwrap_err();
        assert_eq!(error.to_string(), "x.jsonl, line 7, column 7: expected value");
        let error = parse("[1, 2\n").unwrap_err();
        assert_eq!(error.to_string(), "x.json, line 2, column 0: EOF while parsing a list");
        assert!(parse("1 2").is_err(), "a second value is no part of the first");
    }

    #[test]
    fn deep_nesting_is_an_error_not_an_overflow() {
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
