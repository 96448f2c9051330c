//! Training text: rows of instruction, input and output, and what a model is made to learn of them.
//!
//! [`Row`]s come from JSON or JSONL; a [`Template`] turns one into a prompt with its answer, and
//! [`Encoding`] into token ids with labels, masks included. Every row that is cut, or of which
//! nothing is left to learn, is counted.

pub mod audit;
pub mod build;
mod encoding;
pub mod miniature;
pub mod overlap;
mod read;
mod row;
pub mod sources;
mod template;
mod words;

pub use audit::{Audit, AuditSettings, Auditor};
pub use encoding::{Encoding, EncodingError, Example, IGNORED, Truncation};
pub use overlap::{Overlap, OverlapError, OverlapLevel, OverlapSearch, OverlapSettings, RowPlace};
pub use read::each_row;
pub use row::{Row, RowError, read_rows};
pub use template::{Rendered, Template};
