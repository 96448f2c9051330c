//! Run directories: what was asked, what came back, and every identity a number depends on.
//!
//! | file | what |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: identities, settings, machine, start and end |
//! | `exam.jsonl` | the questions as asked, in the project's own format |
//! | `protocol.toml` | the protocol, byte for byte |
//! | `attempts.jsonl` | [`AttemptRecord`], append-only, one line an attempt, synced per question |
//! | `timings.jsonl` | [`Timing`], one line an attempt; apart, so that `attempts.jsonl` has the same bytes in every run |
//! | `summary.json` | [`Summary`], derived from the files above and from nothing else |
//!
//! A run can be verified, rescored and reported from its directory alone.

mod record;

pub use record::*;
