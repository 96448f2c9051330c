//! The miniature study's texts: medical facts, and everything seeded templates make of them.
//!
//! [`Facts`] are read from `golden/mini/facts.toml`, which is part of the program. What they are
//! and where they are from stands in the README beside that file.

mod facts;

pub use facts::{Fact, Facts, FactsError, Topic, Wording};
