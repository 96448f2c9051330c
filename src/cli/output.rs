//! The form a command's result takes on stdout.

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A screen of text
    Text,
    /// JSON with documented, stable fields
    Json,
    /// Markdown, for a comment or a page
    Markdown,
}
