//! Quotes of a CSV file that are never closed: the rest of the file would count as one field.

use std::{
    io::{Chain, Read},
    path::Path,
};

use csv::ByteRecord;

use super::SourceError;

/// A last record of our own: if it is not read as one, a quote before it is open.
const END: &[u8] = b"\n\0\n";

/// Bytes from which a record is taken for a field that swallowed others: abstracts and cards have
/// some thousands.
const LONGEST: usize = 1 << 20;

/// Returns the file with the record that [`Quotes`] waits for.
pub(super) fn with_end<R: Read>(file: R) -> Chain<R, &'static [u8]> {
    file.chain(END)
}

/// Watches the records of one file that was opened [`with_end`].
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// Line of the last record.
    line: u64,
}

impl Quotes {
    /// Looks at a record as it is read; returns whether it is the end.
    ///
    /// # Errors
    ///
    /// [`SourceError::Quote`] if it is longer than any record can be.
    pub(super) fn is_end(&mut self, record: &ByteRecord, path: &Path) -> Result<bool, SourceError> {
        if record.len() == 1 && &record[0] == b"\0" {
            return Ok(true);
        }
        self.line = record.position().map_or(self.line, csv::Position::line);
        if record.as_slice().len() > LONGEST { Err(self.open(path)) } else { Ok(false) }
    }

    /// Returns the error of a file whose end is not read as a record: the last one swallowed it.
    pub(super) fn open(&self, path: &Path) -> SourceError {
        SourceError::Quote { path: path.to_owned(), line: self.line }
    }
}
