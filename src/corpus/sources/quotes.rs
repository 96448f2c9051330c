//! Quotes of a CSV file that are never closed: the rest of the file would count as one field.

use std::path::Path;

use csv::ByteRecord;

use super::SourceError;

/// Bytes from which a record is taken for a field that swallowed others: abstracts and cards have
/// some thousands.
const LONGEST: usize = 1 << 20;

/// Watches the records of one file.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    /// Line of the last record, if its last field ends in a line break.
    open_at: Option<u64>,
}

impl Quotes {
    /// Looks at a record as it is read.
    ///
    /// # Errors
    ///
    /// [`SourceError::Quote`] if it is longer than any record can be.
    pub(super) fn saw(&mut self, record: &ByteRecord, path: &Path) -> Result<(), SourceError> {
        let line = record.position().map_or(0, csv::Position::line);
        if record.as_slice().len() > LONGEST {
            return Err(SourceError::Quote { path: path.to_owned(), line });
        }
        // A line break ends a field only where a quote keeps it from ending the record.
        let ends_open = record.iter().next_back().is_some_and(|field| field.ends_with(b"\n"));
        self.open_at = ends_open.then_some(line);
        Ok(())
    }

    /// Looks at the end of the file.
    ///
    /// # Errors
    ///
    /// [`SourceError::Quote`] if the last field runs into it.
    pub(super) fn end(&self, path: &Path) -> Result<(), SourceError> {
        match self.open_at {
            Some(line) => Err(SourceError::Quote { path: path.to_owned(), line }),
            None => Ok(()),
        }
    }
}
