//! Append-only lines that survive a kill at any moment.
//!
//! A reader accepts whole lines only. What follows the last whole line is torn: reported and, by a
//! writer, cut. A broken line before it is damage and never passed over.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    StoreError,
    files::{self, io},
};

/// What a journal holds.
#[derive(Debug, Clone)]
pub(super) struct Lines<T> {
    /// The records, each with the offset just behind its line.
    pub records: Vec<(T, u64)>,
    /// The line that an interrupted write left at the end.
    pub torn: Option<TornLine>,
    /// All bytes, the torn ones too.
    pub bytes: Vec<u8>,
}

/// A line that an interrupted write left at the end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornLine {
    /// The file.
    pub path: PathBuf,
    /// Its line number, from 1.
    pub line: usize,
    /// Length of what is there of it, in bytes.
    pub bytes: u64,
}

impl std::fmt::Display for TornLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, line, bytes } = self;
        write!(f, "`{}`, line {line}: torn after {bytes} bytes", path.display())
    }
}

/// Reads the journal at `path`.
///
/// # Errors
///
/// [`StoreError::Line`] for a broken line that is not the last one.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Lines<T>, StoreError> {
    let bytes = files::read(path)?;
    let (mut records, mut torn, mut start) = (Vec::new(), None, 0);
    while start < bytes.len() {
        let line = records.len() + 1;
        let newline = bytes[start..].iter().position(|&byte| byte == b'\n');
        let end = newline.map_or(bytes.len(), |length| start + length + 1);
        match (newline, serde_json::from_slice(&bytes[start..end])) {
            (Some(_), Ok(record)) => records.push((record, end as u64)),
            (_, result) if end == bytes.len() => {
                // Whole JSON without its newline is torn too: the write did not end.
                drop(result);
                torn = Some(TornLine { path: path.into(), line, bytes: (end - start) as u64 });
            }
            (_, Err(error)) => {
                return Err(StoreError::Line {
                    path: path.into(),
                    line,
                    problem: error.to_string(),
                });
            }
            (None, Ok(_)) => unreachable!("a line without a newline ends the file"),
        }
        start = end;
    }
    Ok(Lines { records, torn, bytes })
}

/// Returns the line of a record, with its newline.
pub(super) fn line<T: Serialize>(record: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(record).expect("records are JSON");
    line.push(b'\n');
    line
}

/// A journal open for appending.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Length of what was written whole.
    len: u64,
}

impl Journal {
    /// Opens the journal at `path`, cut to its first `keep` bytes; creates it if it is missing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn open(path: &Path, keep: u64) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(io("create", path))?;
        file.set_len(keep).map_err(io("cut", path))?;
        file.seek(SeekFrom::Start(keep)).map_err(io("seek in", path))?;
        Ok(Self { path: path.to_owned(), file, len: keep })
    }

    /// Appends one line a record, in one write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`]. What was written of the lines is cut again, here if the system lets
    /// us, else by the next writer.
    pub(super) fn append<T: Serialize>(&mut self, records: &[T]) -> Result<(), StoreError> {
        let lines: Vec<u8> = records.iter().flat_map(line).collect();
        if let Err(error) = self.file.write_all(&lines) {
            let cut = self.file.set_len(self.len);
            let _ = cut.and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
            return Err(io("write", &self.path)(error));
        }
        self.len += lines.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(io("sync", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn journal(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers.jsonl");
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn a_line_cut_anywhere_is_torn_and_the_ones_before_it_stay() {
        let whole = b"[1,2]\n[3,4]\n";
        for end in 7..whole.len() {
            let (_dir, path) = journal(&whole[..end]);
            let lines = read_lines::<Vec<u8>>(&path).unwrap();
            assert_eq!(lines.records, [(vec![1, 2], 6)], "cut at {end}");
            let torn = lines.torn.unwrap();
            assert_eq!((torn.line, torn.bytes), (2, end as u64 - 6));
        }
        for (end, records) in [(0, 0), (6, 1), (12, 2)] {
            let (_dir, path) = journal(&whole[..end]);
            let lines = read_lines::<Vec<u8>>(&path).unwrap();
            assert_eq!((lines.records.len(), lines.torn), (records, None));
        }
    }

    #[test]
    fn garbage_in_the_last_line_is_torn_even_with_its_newline() {
        let (_dir, path) = journal(b"[1]\n\0\0\xff\n");
        assert_eq!(read_lines::<Vec<u8>>(&path).unwrap().torn.unwrap().bytes, 4);
    }

    #[test]
    fn a_broken_line_in_the_middle_is_damage() {
        for middle in ["[1", "", "x", "[1]x"] {
            let (_dir, path) = journal(format!("[0]\n{middle}\n[2]\n").as_bytes());
            let error = read_lines::<Vec<u8>>(&path).unwrap_err();
            assert!(matches!(error, StoreError::Line { line: 2, .. }), "{middle}: {error}");
        }
    }

    #[test]
    fn appending_continues_behind_the_cut() {
        let (_dir, path) = journal(b"[1]\n[2");
        let mut journal = Journal::open(&path, 4).unwrap();
        journal.append(&[vec![5_u8], vec![6]]).unwrap();
        journal.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"[1]\n[5]\n[6]\n");
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_file() {
        let path = Path::new("/dev/full");
        if path.exists() {
            let mut journal = Journal {
                path: path.into(),
                file: OpenOptions::new().write(true).open(path).unwrap(),
                len: 0,
            };
            let error = journal.append(&[1]).unwrap_err();
            assert_eq!(error.to_string(), "cannot write `/dev/full`");
        }
    }
}
