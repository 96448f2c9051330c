//! One writer per run directory.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use super::{StoreError, files::io};

/// The right to write a run directory, given back when dropped or when the process ends.
///
/// An advisory lock on the file `lock`, which stays behind empty: a process that is killed leaves
/// nothing to clean up.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "closing the file releases the lock")] File);

impl RunLock {
    /// Takes the lock of the run at `folder`, which must exist.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another process, or another writer of this one, holds it.
    pub fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => {
                Err(StoreError::Io { action: "lock", path, source })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_until_the_first_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = RunLock::take(dir.path()).unwrap();
        assert!(matches!(RunLock::take(dir.path()), Err(StoreError::Locked { .. })));
        drop(first);
        RunLock::take(dir.path()).unwrap();
    }
}
