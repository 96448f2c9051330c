//! Files as bytes, and as the text the loaders read.
//!
//! A UTF-8 byte order mark is dropped; anything that is not UTF-8 is refused with file, line and
//! byte, never guessed. The digests are over the bytes as they lie on the disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ExamError;

/// A file an exam was read from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExamFile {
    /// File name without folders.
    pub name: String,
    /// Hex sha256 of its bytes.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}

/// A file's path and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) file: ExamFile,
}

impl Source {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, ExamError> {
        let bytes =
            fs::read(path).map_err(|source| ExamError::Read { path: path.to_owned(), source })?;
        Self::from_bytes(path, &bytes)
    }

    /// Takes `bytes` as the content of the file `path`.
    pub(super) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ExamError> {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text =
            str::from_utf8(text).map_err(|error| not_utf8(path, text, error.valid_up_to()))?;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let file = ExamFile { name, sha256: sha256_hex(bytes), bytes: bytes.len() as u64 };
        Ok(Self { path: path.to_owned(), text: text.to_owned(), file })
    }

    /// Returns the file name without its last extension.
    pub(super) fn stem(&self) -> String {
        self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }

    /// Returns the lines that hold something, with their numbers from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.split('\n').enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(_, line)| !line.trim().is_empty())
    }
}

/// The place of the byte at `at` in `bytes`.
fn not_utf8(path: &Path, bytes: &[u8], at: usize) -> ExamError {
    let before = &bytes[..at];
    let line_start =
        before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    ExamError::Encoding {
        path: path.to_owned(),
        line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
        byte: at - line_start + 1,
        value: bytes[at],
    }
}

/// Returns the digest as `sha256sum` prints it.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin_1_is_refused_with_line_and_byte() {
        let error = Source::from_bytes(Path::new("x.csv"), b"one\nM\xe9ni\xe8re").unwrap_err();
        assert_eq!(error.to_string(), "x.csv, line 2, byte 2: 0xe9 is not UTF-8");
    }

    #[test]
    fn byte_order_mark_is_no_text_but_part_of_the_digest() {
        let marked = Source::from_bytes(Path::new("x"), b"\xef\xbb\xbfA").unwrap();
        assert_eq!((marked.text.as_str(), marked.file.bytes), ("A", 4));
    }
}
