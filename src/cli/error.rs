//! Why a command failed, by who can repair it; printed as `error: a: b: c` and `hint: …`.

use std::{error::Error, fmt, io};

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError {
    kind: Kind,
    source: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Check,
    Input,
    Internal,
    Interrupted,
}

impl CommandError {
    /// A check ran and did not hold; exit code 1.
    pub fn check(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Check, source: source.into(), hint: None }
    }

    /// The arguments or the input files are wrong; exit code 2.
    pub fn input(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Input, source: source.into(), hint: None }
    }

    /// Anything else; exit code 3.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Internal, source: source.into(), hint: None }
    }

    /// Stopped by the user with everything kept; exit code [`CommandError::INTERRUPTED`].
    pub fn interrupted(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Interrupted, source: source.into(), hint: None }
    }

    /// What a shell reports for a program that Ctrl-C ended: 128 + SIGINT.
    pub const INTERRUPTED: u8 = 130;

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns whether the fault lies with the program or the machine, not with the caller.
    pub fn is_internal(&self) -> bool {
        self.kind == Kind::Internal
    }

    /// Returns the exit code to end with.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Check => 1,
            Kind::Input => 2,
            Kind::Internal => 3,
            Kind::Interrupted => Self::INTERRUPTED,
        }
    }

    /// Returns whether the reader of stdout has gone, which is no failure.
    pub fn is_broken_pipe(&self) -> bool {
        let mut source: Option<&(dyn Error + 'static)> = Some(&*self.source);
        while let Some(error) = source {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return io.kind() == io::ErrorKind::BrokenPipe;
            }
            source = error.source();
        }
        false
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.source)?;
        let mut source = self.source.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        writeln!(f)?;
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Only writing to stdout is converted without a word of context.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::internal(error)
    }
}
