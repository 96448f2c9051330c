//! `medharness verify`: recompute every number and hash of a run.

use std::path::PathBuf;

use super::{CommandError, Context, Format, page::Page};
use crate::store::{Verification, verify};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The run directory
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 if anything differs, 2 if it is no run.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let found = verify(&args.run).map_err(CommandError::input)?;
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&found).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&found, false),
        Format::Markdown => page(&found, true),
    };
    context.out.write_all(text.as_bytes())?;
    if found.holds() {
        return Ok(());
    }
    let (count, path) = (found.differences.len(), args.run.display());
    Err(CommandError::check(format!("{count} difference(s) in `{path}`")))
}

fn page(found: &Verification, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    let run = found.run_id.as_deref().unwrap_or("unknown");
    page.heading(1, &format!("Run {run}"));
    page.facts([
        ("attempts", format!("{} read again", found.attempts)),
        ("compared", format!("{} values", found.compared)),
        ("differing", found.differences.len().to_string()),
    ]);
    if !found.differences.is_empty() {
        page.heading(2, "Differences");
        page.list(&found.differences);
    }
    if !found.not_checked.is_empty() {
        page.heading(2, "Not checked");
        page.list(&found.not_checked);
    }
    page.finish()
}
