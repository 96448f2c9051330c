//! Messages on stderr that are no errors.

use std::{fmt::Display, io::Write};

/// Writes one line to stderr; a closed stderr is no failure.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
