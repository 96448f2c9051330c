//! Run directories: what was asked, what came back, and every identity a number depends on.
//!
//! | file | what |
//! |---|---|
//! | `manifest.json` | [`Manifest`]: identities, settings, machine, start and end |
//! | `exam.jsonl` | every question of the exam, in the project's own format |
//! | `protocol.toml` | the protocol, byte for byte |
//! | `attempts.jsonl` | [`AttemptRecord`], append-only, one line an attempt, synced per question |
//! | `timings.jsonl` | [`Timing`], one line an attempt; apart, so that `attempts.jsonl` has the same bytes in every run |
//! | `summary.json` | [`Summary`], derived from the files above and from nothing else |
//! | `SHA256SUMS` | of the files above, for [`verify()`] and for `sha256sum -c`; its presence ends the run |
//! | `lock` | empty; see [`RunLock`] |
//!
//! A run can be verified, rescored and reported from its directory alone.

mod error;
mod files;
mod identity;
mod journal;
mod judge;
mod ledger;
mod lock;
mod merge;
mod record;
mod run;
mod summary;
mod verify;
mod writer;

pub use crate::exam::Baselines;
pub use error::StoreError;
pub use files::{identify_file, remove_folder, sha256_hex, sync_folder, write_whole};
pub use journal::TornLine;
pub use judge::{Answer, Judgement, judge};
pub use ledger::{LedgerError, reason_name};
pub use lock::RunLock;
pub use merge::merge_runs;
pub use record::*;
pub use run::{Run, file};
pub use summary::{STEPS, part_name, summarise};
pub use verify::{Difference, Verification, verify};
pub use writer::RunWriter;
