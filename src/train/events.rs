//! TensorBoard event files: records of length, data and their masked CRC-32C, each a small protocol
//! buffer message.
//!
//! The file grows with every update, so that TensorBoard can follow a training; a continued training
//! writes it anew from its log and removes the one before, which has another name where the folder
//! was copied: every step stands in the folder once. Source: TensorFlow's
//! `record_writer.h`, `event.proto`, `summary.proto`; read back by tensorboard 2.20 in
//! `golden/check/read_events.py`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use super::{Event, LINEAGE, TrainError};
use crate::store::StoreError;

/// An event file that is being written.
#[derive(Debug)]
pub(super) struct EventFile {
    path: PathBuf,
    file: File,
    /// Unix time of the training's beginning.
    begun_s: f64,
}

impl EventFile {
    /// Begins the file in a training's folder with what has happened.
    pub(super) fn create(folder: &Path, events: &[Event]) -> Result<Self, TrainError> {
        let begun = fs::metadata(folder.join(LINEAGE)).and_then(|data| data.modified()).ok();
        let begun = begun.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let begun_s = begun.map_or(0.0, |time| time.as_secs_f64());
        let folder = folder.join("tensorboard");
        let path = folder.join(format!("events.out.tfevents.{begun_s:.0}.medharness"));
        fs::create_dir_all(&folder).map_err(|source| io_error("create", &folder, source))?;
        remove_own(&folder).map_err(|source| io_error("clear", &folder, source))?;
        let file = File::create(&path).map_err(|source| io_error("create", &path, source))?;
        let mut own = Self { path, file, begun_s };
        let mut bytes = Vec::new();
        record(&mut bytes, &message(begun_s, 0, &field(3, b"brain.Event:2")));
        events.iter().for_each(|event| own.encode(event, &mut bytes));
        own.write(&bytes)?;
        Ok(own)
    }

    /// Appends what happened.
    pub(super) fn append(&mut self, event: &Event) -> Result<(), TrainError> {
        let mut bytes = Vec::new();
        self.encode(event, &mut bytes);
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let Self { path, file, .. } = self;
        file.write_all(bytes).map_err(|source| io_error("write", path, source))
    }

    /// Appends the scalars of an event.
    fn encode(&self, event: &Event, bytes: &mut Vec<u8>) {
        let (wall_s, scalars) = match event {
            Event::Update { loss, rate, norm, wall_s, .. } => (
                *wall_s,
                vec![
                    ("train/loss", *loss),
                    ("train/learning_rate", *rate),
                    ("train/grad_norm", *norm),
                ],
            ),
            Event::Validation { loss, wall_s, .. } => (*wall_s, vec![("eval/loss", *loss)]),
            Event::Skipped { .. } | Event::ValidationBroken { .. } => return,
        };
        let values: Vec<u8> = scalars.iter().flat_map(|(tag, x)| scalar(tag, *x)).collect();
        record(bytes, &message(self.begun_s + wall_s, event.step(), &field(5, &values)));
    }
}

/// Removes the event files that this program wrote.
fn remove_own(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("events.out.tfevents.") && name.ends_with(".medharness") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> TrainError {
    StoreError::Io { action, path: path.to_owned(), source }.into()
}

/// An `Event`: wall time, step, and its content.
fn message(wall_s: f64, step: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1 << 3 | 1];
    bytes.extend(wall_s.to_le_bytes());
    bytes.push(2 << 3);
    varint(&mut bytes, step);
    bytes.extend(content);
    bytes
}

/// A `Summary.Value` with a tag and a number, as field 1 of a `Summary`.
fn scalar(tag: &str, value: f64) -> Vec<u8> {
    let mut bytes = field(1, tag.as_bytes());
    bytes.push(2 << 3 | 5);
    #[expect(clippy::cast_possible_truncation, reason = "the format has f32")]
    bytes.extend((value as f32).to_le_bytes());
    field(1, &bytes)
}

/// A field of bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    varint(&mut bytes, content.len() as u64);
    bytes.extend(content);
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push((value & 0x7F) as u8);
}

fn record(bytes: &mut Vec<u8>, data: &[u8]) {
    let length = (data.len() as u64).to_le_bytes();
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(data: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !data.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: RFC 3720, appendix B.4.
    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46DD_794E);
    }

    #[test]
    fn a_copied_folder_holds_every_step_once() {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("tensorboard");
        fs::create_dir(&events).unwrap();
        for name in ["events.out.tfevents.17.medharness", "events.out.tfevents.17.another"] {
            fs::write(events.join(name), "").unwrap();
        }
        EventFile::create(folder.path(), &[]).unwrap();
        assert!(!events.join("events.out.tfevents.17.medharness").exists());
        assert_eq!(fs::read_dir(&events).unwrap().count(), 2);
    }

    #[test]
    fn numbers_are_written_in_groups_of_seven_bits() {
        let mut bytes = Vec::new();
        varint(&mut bytes, 300);
        assert_eq!(bytes, [0xAC, 0x02]);
    }
}
