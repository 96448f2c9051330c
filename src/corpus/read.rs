//! Rows one at a time, whatever their number: JSON lists, JSON lines, Parquet.
//!
//! Unlike [`read_rows`](super::read_rows), a row that is no row does not end the reading: the caller
//! is told what is wrong with it and counts it. Memory holds one row.

use std::{
    fmt,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::Value;

use super::{Row, RowError, sources::parquet};

const BUFFER_BYTES: usize = 1 << 18;

/// Calls `found` with the number (from 1) of each row of a JSON list, of JSON lines or of Parquet,
/// and the row or what is wrong with it; blank lines do not count. Returns how many there were.
///
/// # Errors
///
/// [`RowError`] if the file cannot be read, a list ends in the middle, or there is no row.
pub fn each_row(
    path: &Path,
    mut found: impl FnMut(usize, Result<Row, String>),
) -> Result<usize, RowError> {
    let here = || path.to_owned();
    let io = |source| RowError::Io { path: here(), source };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(io)?);
    if file.fill_buf().map_err(io)?.starts_with(parquet::MAGIC) {
        let rows = parquet::each_row(path, &mut found)
            .map_err(|error| RowError::Parquet { path: here(), source: error.into() })?;
        return if rows == 0 { Err(RowError::Empty { path: here() }) } else { Ok(rows) };
    }
    if file.fill_buf().map_err(io)?.starts_with(b"\xEF\xBB\xBF") {
        file.consume(3);
    }
    let rows = match first_byte(&mut file).map_err(io)? {
        Some(b'[') => list(file, &mut found).map_err(|error| match error.io_error_kind() {
            Some(kind) => io(kind.into()),
            None => {
                RowError::Malformed { path: here(), line: error.line(), reason: error.to_string() }
            }
        })?,
        _ => lines(file, &mut found).map_err(io)?,
    };
    if rows == 0 { Err(RowError::Empty { path: here() }) } else { Ok(rows) }
}

/// Skips white space and returns what follows, without taking it.
fn first_byte(file: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = file.fill_buf()?;
        let Some(byte) = buffer.first().copied() else { return Ok(None) };
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
        file.consume(1);
    }
}

fn row(value: Value) -> Result<Row, String> {
    Row::deserialize(value).map_err(|error| error.to_string())
}

fn lines(
    mut file: impl BufRead,
    found: &mut impl FnMut(usize, Result<Row, String>),
) -> std::io::Result<usize> {
    let (mut rows, mut line) = (0, Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        if !line.trim_ascii().is_empty() {
            rows += 1;
            found(rows, serde_json::from_slice(&line).map_err(|error| error.to_string()));
        }
        line.clear();
    }
    Ok(rows)
}

fn list(
    file: impl BufRead,
    found: &mut impl FnMut(usize, Result<Row, String>),
) -> Result<usize, serde_json::Error> {
    struct Rows<'a, F>(&'a mut F);

    impl<'de, F: FnMut(usize, Result<Row, String>)> Visitor<'de> for Rows<'_, F> {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of rows")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
            let mut rows = 0;
            while let Some(value) = list.next_element::<Value>()? {
                rows += 1;
                (self.0)(rows, row(value));
            }
            Ok(rows)
        }
    }

    let mut json = serde_json::Deserializer::from_reader(file);
    let rows = json.deserialize_seq(Rows(found))?;
    json.end()?;
    Ok(rows)
}
