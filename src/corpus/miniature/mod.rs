//! The miniature study's texts: facts, and everything seeded templates make of them.
//!
//! [`Facts`] are read from `golden/mini/facts.toml` (medical) and `golden/mini/general.toml`
//! (everyday life), which are part of the program; what they are and where they are from stands in
//! the README beside them. From both a [`Miniature`] is drawn: exam, validation split, pre-training
//! text, a Medical Meadow in miniature and general instruction data. The same seed yields the same
//! bytes everywhere.
//!
//! The exam asks for the facts in wordings of its own. No training text shares 13 words in a row
//! with an exam item, its options included: what does is drawn again.

mod build;
mod document;
mod draw;
mod facts;
mod items;
mod meadow;
mod pretraining;
mod runs;

pub use build::Miniature;
pub use document::Document;
pub use facts::{Fact, Facts, FactsError, Topic, Wording};
pub use items::{Item, Taught};
pub use pretraining::Stage;
