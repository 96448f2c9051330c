//! Reads a TOML file so that every complaint names file, line and field.

use serde::de::DeserializeOwned;
use toml::Spanned;

use super::ClaimsError;
use crate::stats::StatsError;

/// A file's text with its name, for messages.
pub(super) struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> File<'a> {
    /// Takes `bytes` as UTF-8 text with LF line ends and no byte order mark.
    pub(super) fn new(name: &'a str, bytes: &'a [u8]) -> Result<Self, ClaimsError> {
        let wrong = |at: usize, problem| {
            let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
            Err(ClaimsError::Encoding { file: name.to_owned(), line, problem })
        };
        if bytes.starts_with(b"\xef\xbb\xbf") {
            return wrong(0, "begins with a byte order mark; save it as UTF-8 without one");
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return wrong(0, "is UTF-16; save it as UTF-8");
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => {
                return wrong(error.valid_up_to(), "is not UTF-8 (Latin-1?); save it as UTF-8");
            }
        };
        if let Some(at) = text.find('\r') {
            return wrong(at, "has Windows line ends (CR LF); save it with LF alone");
        }
        Ok(Self { name, text })
    }

    /// Reads the whole file as a `T`.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ClaimsError> {
        toml::from_str(self.text).map_err(|error| ClaimsError::Form {
            file: self.name.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            problem: error.message().to_owned(),
        })
    }

    /// Complains about a name that is empty or would break the line or screen it is printed on.
    pub(super) fn check_name(&self, at: &Spanned<String>, what: &str) -> Result<(), ClaimsError> {
        match at.get_ref() {
            name if name.trim().is_empty() => Err(self.wrong(at, what, "is empty")),
            name if name.chars().any(char::is_control) => {
                Err(self.wrong(at, what, "holds a line break or control character"))
            }
            _ => Ok(()),
        }
    }

    /// Complains about `at`.
    pub(super) fn wrong<T>(
        &self,
        at: &Spanned<T>,
        field: impl Into<String>,
        problem: impl Into<String>,
    ) -> ClaimsError {
        ClaimsError::Content {
            file: self.name.to_owned(),
            line: self.line(at.span().start),
            field: field.into(),
            problem: problem.into(),
        }
    }

    /// Complains about the number at `at`.
    pub(super) fn number<T>(
        &self,
        at: &Spanned<T>,
        field: impl Into<String>,
        source: StatsError,
    ) -> ClaimsError {
        let line = self.line(at.span().start);
        ClaimsError::Number { file: self.name.to_owned(), line, field: field.into(), source }
    }

    /// Complains about the file as a whole.
    pub(super) fn wrong_as_a_whole(&self, problem: &str) -> ClaimsError {
        ClaimsError::Form { file: self.name.to_owned(), line: 1, problem: problem.to_owned() }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().iter().take(offset);
        1 + before.filter(|byte| **byte == b'\n').count()
    }
}
