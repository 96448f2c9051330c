//! The miniature's files, which are part of the program: laid out in a folder to be read from there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{store::write_whole, study::StudyError};

/// Name and bytes of every file of `golden/mini`, relative to it: `build.rs` lists them.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/miniature.rs"));

/// Name of the study's file.
const STUDY: &str = "study.toml";

/// Writes the miniature's files to `folder` where they are not there, and returns its study's file.
///
/// A file that was changed is replaced, and `note` is told.
///
/// # Errors
///
/// [`StudyError::File`] or [`StudyError::Store`] if one cannot be written.
pub fn lay_out(folder: &Path, note: &mut dyn FnMut(&str)) -> Result<PathBuf, StudyError> {
    for (name, bytes) in FILES {
        let path = folder.join(name);
        match fs::read(&path) {
            Ok(found) if found == *bytes => continue,
            Ok(_) => note(&format!("`{}` was changed: written anew", path.display())),
            Err(_) => {}
        }
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|source| StudyError::File {
            what: "create",
            path: parent.to_owned(),
            source,
        })?;
        write_whole(&path, bytes)?;
    }
    Ok(folder.join(STUDY))
}
