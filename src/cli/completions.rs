//! `medharness completions`: a shell's completion script, made from the command definitions.

use clap_complete::Shell;

use super::{CommandError, Context, command};

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Writes the script to stdout.
///
/// # Errors
///
/// If stdout cannot be written.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "medharness", &mut script);
    Ok(context.out.write_all(&script)?)
}
