//! `medharness exam convert`: any known format to the project's own.

use std::{io::Write, path::PathBuf};

use super::{CommandError, Input};
use crate::exam::{Severity, jsonl};

/// Arguments of `exam convert`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// The file to write; replaced as a whole or not at all
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Writes the canonical form and says on stderr what was written.
pub(super) fn run(args: &Args) -> Result<(), CommandError> {
    let exam = args.input.read(None)?;
    write_whole(&args.out, jsonl::write(&exam.questions).as_bytes())
        .map_err(|error| CommandError::input(format!("{}: {error}", args.out.display())))?;
    let errors = exam.findings.iter().filter(|found| found.severity == Severity::Error).count();
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(
        stderr,
        "{}: {} questions, {} of them image items, sha256 {}",
        args.out.display(),
        exam.questions.len(),
        exam.questions.iter().filter(|question| question.has_image).count(),
        exam.sha256(),
    );
    if errors > 0 {
        let _ = writeln!(stderr, "warning: {errors} error(s) went along; see `exam check`");
    }
    Ok(())
}

/// Replaces `path` in one step, so that a reader never sees half a file.
fn write_whole(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    // What any new file may be, less the umask; a scratch file is the owner's alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder.unwrap_or(std::path::Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
