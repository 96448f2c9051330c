//! Files that are whole or absent: written aside, synced, renamed, the folder synced.
//!
//! After a crash at any moment a file written here holds its old bytes or its new ones. A failed
//! sync is an error and is not tried again: what the system kept is then unknown.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::{FileIdentity, StoreError};

/// Returns an [`StoreError::Io`] maker for `action` on `path`.
pub(super) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> StoreError + 'a {
    move |source| StoreError::Io { action, path: path.to_owned(), source }
}

/// Replaces `path` by `bytes`, atomically and durably.
///
/// # Errors
///
/// [`StoreError::Io`]; `path` then holds what it held before.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    let mut file = File::create(aside).map_err(io("create", aside))?;
    file.write_all(bytes).map_err(io("write", aside))?;
    file.sync_all().map_err(io("sync", aside))?;
    drop(file);
    fs::rename(aside, path).map_err(io("replace", path))?;
    sync_parent(path)
}

/// Removes a folder with all that is in it; killed meanwhile, `path` is there whole or not at all, and
/// what is left lies in `.NAME.old` beside it until the next call.
///
/// # Errors
///
/// [`StoreError::Io`] if it cannot be moved or removed.
pub fn remove_folder(path: &Path) -> Result<(), StoreError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}.old"));
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(io("remove", &aside))?;
    }
    fs::rename(path, &aside).map_err(io("move aside", path))?;
    sync_parent(path)?;
    fs::remove_dir_all(&aside).map_err(io("remove", &aside))
}

/// Makes the entry of `path` in its folder durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_folder(parent)
}

/// Makes the entries of `folder` durable. Only Unix can open a folder to sync it.
///
/// # Errors
///
/// [`StoreError::Io`] if the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        File::open(folder).and_then(|file| file.sync_all()).map_err(io("sync", folder))?;
    }
    Ok(())
}

/// Reads a whole file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(io("read", path))
}

/// Returns the hex sha256 of `bytes`, as `sha256sum` prints it.
///
/// # Examples
///
/// ```
/// let digest = medharness::store::sha256_hex(b"abc");
/// assert!(digest.starts_with("ba7816bf8f01cfea"));
/// ```
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Returns name, digest and length of the file at `path`, read in pieces.
///
/// # Errors
///
/// [`StoreError::Io`] if it cannot be read.
pub fn identify_file(path: &Path) -> Result<FileIdentity, StoreError> {
    let mut file = File::open(path).map_err(io("read", path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut piece = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut piece).map_err(io("read", path))?;
        if n == 0 {
            break;
        }
        digest.update(&piece[..n]);
        bytes += n as u64;
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(FileIdentity { name, sha256: hex(&digest.finalize()), bytes })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_whole(&path, b"old").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let error = write_whole(Path::new("/no/such/folder/a.json"), b"x").unwrap_err();
        assert_eq!(error.to_string(), "cannot create `/no/such/folder/a.json.new`");
    }

    #[test]
    fn a_file_is_identified_by_name_digest_and_length() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc.bin");
        fs::write(&path, b"abc").unwrap();
        let identity = identify_file(&path).unwrap();
        assert_eq!((&*identity.name, identity.bytes), ("abc.bin", 3));
        assert_eq!(identity.sha256, sha256_hex(b"abc"));
    }
}
