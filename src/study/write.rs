//! Writes the study's files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{Reproduction, RowRun, Runs, StudyError, html::html, json, markdown::markdown};
use crate::{
    reports::{self, Report, ReportError, RunRecords},
    store::summarise,
};

/// The files that [`write()`] makes, the page first.
pub const FILES: [&str; 4] = ["index.html", "report.md", "table.csv", "report.json"];

/// The files that [`write_runs`] makes, the page first.
pub const FILES_OF_RUNS: [&str; 2] = ["runs.html", "runs.json"];

/// Writes the study to `folder`, made if it is not there, and returns the path of the page.
///
/// Each file is replaced as a whole. Equal studies give equal bytes.
///
/// # Errors
///
/// [`StudyError::File`] if a file cannot be written, [`StudyError::Report`] if one cannot be made.
pub fn write(study: &Reproduction, folder: &Path) -> Result<PathBuf, StudyError> {
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let report = serde_json::to_string_pretty(&json::json(study)).map_err(ReportError::from)?;
    let contents = [html(study)?, markdown(study), json::csv(study)?, report + "\n"];
    for (name, content) in FILES.iter().zip(contents) {
        let path = folder.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(folder.join(FILES[0]))
}

/// Writes the report of the study's runs to `folder`: every question, and every field of a report
/// with the printed values it is held against. Returns the path of the page; `None` without runs,
/// where an older one is taken away.
///
/// # Errors
///
/// As [`write()`], and [`StudyError::Store`] if a run's numbers cannot be worked out again.
pub fn write_runs(
    study: &Reproduction,
    runs: Runs,
    folder: &Path,
) -> Result<Option<PathBuf>, StudyError> {
    let [page, report] = FILES_OF_RUNS.map(|name| folder.join(name));
    if runs.is_empty() {
        for path in [&page, &report] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", path)(error));
                }
                _ => {}
            }
        }
        return Ok(None);
    }
    let mut records = Vec::with_capacity(runs.len());
    let mut printed = Vec::with_capacity(runs.len());
    for ((row, protocol), run) in runs {
        let summary = summarise(&run)?;
        printed.push(beside(study, &row, &protocol));
        records.push(RunRecords::of(format!("{row} · {protocol}"), run, summary));
    }
    let mut side_by_side = Report::new(&records)?;
    for (run, printed) in side_by_side.runs.iter_mut().zip(printed) {
        run.printed = printed;
    }
    let json = serde_json::to_string_pretty(&reports::json(&side_by_side)?);
    let json = json.map_err(ReportError::from)? + "\n";
    fs::write(&page, reports::html(&side_by_side)?).map_err(failed("write", &page))?;
    fs::write(&report, json).map_err(failed("write", &report))?;
    Ok(Some(page))
}

/// What a row's report says about the printed values: each field lists the columns.
fn beside(study: &Reproduction, row: &str, protocol: &str) -> Option<Value> {
    let result = study.rows.iter().find(|result| result.model == row)?;
    let run = result.runs.iter().find(|run| run.protocol.id == protocol)?;
    let list = |pick: &dyn Fn(usize, &RowRun) -> Value| -> Value {
        let columns = study.table.columns.iter().enumerate();
        columns.map(|(index, column)| (column.name.clone(), pick(index, run))).collect()
    };
    let comparison =
        |index: usize, run: &RowRun| run.cells[index].as_ref().map(|cell| cell.comparison.clone());
    Some(json!({
        "printed": list(&|index, _| json!(result.printed[index])),
        "ours": list(&|index, run| {
            json!(run.cells[index].as_ref().and_then(|cell| cell.ours.as_ref()))
        }),
        "difference": list(&|index, run| {
            comparison(index, run).map_or(Value::Null, |c| {
                json!({ "difference": c.difference, "p": c.p, "detectable": c.detectable })
            })
        }),
        "verdict": list(&|index, run| json!(comparison(index, run).map(|c| c.verdict))),
    }))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StudyError {
    let path = path.to_owned();
    move |source| StudyError::File { what, path, source }
}
