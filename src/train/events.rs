//! TensorBoard event files: records of length, data and their masked CRC-32C, each a small protocol
//! buffer message.
//!
//! The file is rewritten whole, so that after a continued training every step stands in it once; a
//! reader that follows it sees it grow. Source: TensorFlow's `record_writer.h`, `event.proto`,
//! `summary.proto`; read back by tensorboard 2.20 in `golden/check/read_events.py`.

use std::path::Path;

use super::{Event, TrainError};
use crate::store::write_whole;

/// Writes the scalars of `events` as an event file; `begun_s` is the Unix time of the first update.
///
/// # Errors
///
/// If the file cannot be written.
pub fn write_events(path: &Path, events: &[Event], begun_s: f64) -> Result<(), TrainError> {
    let mut bytes = Vec::new();
    record(&mut bytes, &message(begun_s, 0, &field(3, b"brain.Event:2")));
    for event in events {
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
            Event::Skipped { .. } => continue,
        };
        let values: Vec<u8> = scalars.iter().flat_map(|(tag, x)| scalar(tag, *x)).collect();
        record(&mut bytes, &message(begun_s + wall_s, event.step(), &field(5, &values)));
    }
    Ok(write_whole(path, &bytes)?)
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
    fn numbers_are_written_in_groups_of_seven_bits() {
        let mut bytes = Vec::new();
        varint(&mut bytes, 300);
        assert_eq!(bytes, [0xAC, 0x02]);
    }
}
