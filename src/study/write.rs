//! Writes the study's files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Reproduction, StudyError, html::html, json, markdown::markdown};

/// The files that [`write()`] makes, the page first.
pub const FILES: [&str; 4] = ["index.html", "report.md", "table.csv", "report.json"];

/// Writes the study to `folder`, made if it is not there, and returns the path of the page.
///
/// Each file is replaced as a whole. Equal studies give equal bytes.
///
/// # Errors
///
/// [`StudyError::File`] if a file cannot be written, [`StudyError::Report`] if one cannot be made.
pub fn write(study: &Reproduction, folder: &Path) -> Result<PathBuf, StudyError> {
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| StudyError::File { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let report = serde_json::to_string_pretty(&json::json(study))
        .map_err(crate::reports::ReportError::from)?;
    let contents = [html(study)?, markdown(study), json::csv(study)?, report + "\n"];
    for (name, content) in FILES.iter().zip(contents) {
        let path = folder.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(folder.join(FILES[0]))
}
