//! `metrics.jsonl`: one line an event, appended as the training proceeds.
//!
//! A checkpoint holds the length and the digest the file had; a training that goes on from it cuts the
//! file there, so that every update stands in it once. Numbers read back to the same bits.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Defect, TrainError};
use crate::store::{StoreError, sha256_hex};

/// Name of the file.
pub const METRICS: &str = "metrics.jsonl";

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An update was made.
    Update {
        /// Its number, from 1.
        step: u64,
        /// Epoch, from 0, in which it was made.
        epoch: u64,
        /// Loss in nats a token.
        loss: f64,
        /// Learning rate.
        rate: f64,
        /// Norm of the gradients before clipping.
        norm: f64,
        /// Tokens that went through the network.
        tokens: usize,
        /// Tokens that entered the loss.
        learnt: usize,
        /// Time spent training until then, in seconds.
        wall_s: f64,
    },
    /// An update was left out.
    Skipped {
        /// Its number, from 1.
        step: u64,
        /// What was wrong with it.
        defect: Defect,
        /// Places of its examples in the file.
        rows: Vec<usize>,
    },
    /// The rows held out were asked.
    Validation {
        /// Updates gone by.
        step: u64,
        /// Loss in nats a token, as the reference averages it.
        loss: f64,
        /// Time spent training until then, in seconds.
        wall_s: f64,
    },
    /// The rows held out were asked, and their loss was no finite number.
    ValidationBroken {
        /// Updates gone by.
        step: u64,
    },
}

impl Event {
    /// Returns the updates gone by.
    pub fn step(&self) -> u64 {
        match self {
            Self::Update { step, .. }
            | Self::Skipped { step, .. }
            | Self::Validation { step, .. }
            | Self::ValidationBroken { step } => *step,
        }
    }
}

/// The open file.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Every event in it.
    pub(super) events: Vec<Event>,
}

impl Journal {
    /// Opens `folder`'s file, cut to its first `bytes`; those must be whole lines, and have the digest
    /// `sha256` where one is known.
    pub(super) fn open(
        folder: &Path,
        bytes: u64,
        sha256: Option<&str>,
    ) -> Result<Self, TrainError> {
        let path = folder.join(METRICS);
        let io = |action, source| {
            TrainError::from(StoreError::Io { action, path: path.clone(), source })
        };
        let damaged = |problem: String| TrainError::Damaged { path: path.clone(), problem };
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io("read", error)),
        };
        let Some(text) = usize::try_from(bytes).ok().and_then(|bytes| text.get(..bytes)) else {
            return Err(damaged(format!("is shorter than the {bytes} bytes of the checkpoint")));
        };
        if sha256.is_some_and(|sha256| sha256_hex(text) != sha256) {
            return Err(damaged("was changed after it was written: its digest differs".into()));
        }
        let mut events = Vec::new();
        for (number, line) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            events.push(
                serde_json::from_slice(line)
                    .map_err(|error| damaged(format!("line {number}: {error}")))?,
            );
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut file = file.map_err(|error| io("open", error))?;
        file.set_len(bytes).map_err(|error| io("cut", error))?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(|error| io("cut", error))?;
        Ok(Self { path: path.clone(), file, bytes, events })
    }

    /// Appends a line.
    pub(super) fn append(&mut self, event: Event) -> Result<(), TrainError> {
        let mut line = serde_json::to_vec(&event).expect("numbers have a JSON form");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| self.failed("write", source))?;
        self.bytes += line.len() as u64;
        self.events.push(event);
        Ok(())
    }

    /// Makes every line durable and returns the file's length and digest.
    pub(super) fn sync(&mut self) -> Result<(u64, String), TrainError> {
        self.file.sync_all().map_err(|source| self.failed("sync", source))?;
        let text = fs::read(&self.path).map_err(|source| self.failed("read", source))?;
        // Something else may have written behind what is ours.
        let own = usize::try_from(self.bytes).ok().and_then(|bytes| text.get(..bytes));
        let own = own.ok_or_else(|| TrainError::Damaged {
            path: self.path.clone(),
            problem: "became shorter while the training went on".into(),
        })?;
        Ok((self.bytes, sha256_hex(own)))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> TrainError {
        StoreError::Io { action, path: self.path.clone(), source }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(step: u64) -> Event {
        Event::Validation { step, loss: 0.1 + 0.2, wall_s: 1.0 }
    }

    #[test]
    fn what_was_written_behind_a_checkpoint_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 0, None).unwrap();
        journal.append(event(1)).unwrap();
        let (bytes, sha256) = journal.sync().unwrap();
        journal.append(event(2)).unwrap();
        drop(journal);
        let mut journal = Journal::open(folder.path(), bytes, Some(&sha256)).unwrap();
        assert_eq!(journal.events, [event(1)]);
        journal.append(event(3)).unwrap();
        let text = fs::read_to_string(folder.path().join(METRICS)).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("\"step\":3") && !text.contains("\"step\":2"));
    }

    #[test]
    fn a_file_shorter_than_the_checkpoint_saw_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Journal::open(folder.path(), 10, None).unwrap_err().to_string();
        assert!(error.contains("shorter than the 10 bytes"), "{error}");
    }

    #[test]
    fn a_number_that_was_changed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(folder.path(), 0, None).unwrap();
        journal.append(event(7)).unwrap();
        let (bytes, sha256) = journal.sync().unwrap();
        let path = folder.path().join(METRICS);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"step\":7", "\"step\":8")).unwrap();
        let error = Journal::open(folder.path(), bytes, Some(&sha256)).unwrap_err().to_string();
        assert!(error.contains("its digest differs"), "{error}");
    }
}
