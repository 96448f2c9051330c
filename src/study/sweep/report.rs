//! What a sweep shows: every point with its accuracy on the validation split, and what moved it.
//!
//! The point chosen is the one with the highest mean over the seeds; of equals the one with fewer
//! elements trained, then the first. Differences from the centre are tested as the study's are (the
//! exact paired test with one seed, by questions with more) and adjusted over all points (Holm).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::json;

use super::{Sweep, grid::show};
use crate::{
    reports::{ReportError, TextTable, format, short_label},
    stats::holm,
    study::{
        StudyError,
        mini::{Accuracy, Counted, Difference, Record, RowRecord, Stratum, report::forest},
        pages::{Pages, Section},
    },
};

/// Size of every test.
const ALPHA: f64 = 0.05;

/// Value of `schema` in `sweep.json`.
const SCHEMA: &str = "medharness-sweep/1";

/// The files that [`write_sweep`] makes, the page first.
pub const SWEEP_FILES: [&str; 4] = ["index.html", "report.md", "points.csv", "sweep.json"];

/// One point with what it came to.
#[derive(Debug, Clone, Serialize)]
pub struct PointResult {
    /// Its name.
    pub id: String,
    /// Changed settings with their values.
    pub changed: Vec<(String, serde_json::Value)>,
    /// Right answers on the validation split.
    pub accuracy: Accuracy,
    /// Replies out of which an option is read.
    pub in_form: Accuracy,
    /// Point minus centre; `None` for the centre.
    pub difference: Option<Difference>,
    /// p of the difference, adjusted over all points.
    pub p_holm: Option<f64>,
    /// Elements trained.
    pub trained: u64,
    /// Time spent training, mean over the seeds, in seconds.
    pub wall_s: f64,
}

/// A sweep's result.
#[derive(Debug, Clone, Serialize)]
pub struct SweepResult {
    /// Every point, the centre first.
    pub points: Vec<PointResult>,
    /// The one chosen.
    pub chosen: String,
    /// For each setting: its values with their accuracies, and whether it moved anything.
    pub moved: Vec<Moved>,
}

/// What changing one setting alone did.
#[derive(Debug, Clone, Serialize)]
pub struct Moved {
    /// The setting.
    pub key: String,
    /// Each value that was tried alone, the centre's among them, with the mean accuracy.
    pub values: Vec<(String, f64)>,
    /// Values whose difference from the centre is beyond chance.
    pub beyond_chance: usize,
}

impl SweepResult {
    /// Works out what a record of a sweep shows; `None` if a point has no answers.
    pub fn of(sweep: &Sweep, record: &Record) -> Option<Self> {
        let exam = record.exams.first()?;
        let protocol = &*sweep.protocol.id;
        let centre = record.rows.first()?;
        let mut points = Vec::with_capacity(record.rows.len());
        for (point, row) in sweep.points.iter().zip(&record.rows) {
            let share = |counted| record.accuracy(row, exam, protocol, Stratum::Whole, counted);
            let is_centre = row.id == centre.id;
            let difference = (!is_centre)
                .then(|| record.difference([row, centre], protocol, Stratum::Whole))
                .flatten();
            points.push(PointResult {
                id: point.id.clone(),
                changed: point.changed.clone(),
                accuracy: share(Counted::Right)?,
                in_form: share(Counted::Read)?,
                p_holm: difference.as_ref().map(|difference| difference.p),
                difference,
                trained: trained(row),
                wall_s: wall_s(row),
            });
        }
        let p: Vec<f64> = points.iter().filter_map(|point| point.p_holm).collect();
        let mut adjusted = holm(&p).unwrap_or(p).into_iter();
        for point in points.iter_mut().filter(|point| point.p_holm.is_some()) {
            point.p_holm = adjusted.next();
        }
        let mut chosen = points.first()?;
        for point in &points {
            let (better, worse) = (point.accuracy.value, chosen.accuracy.value);
            let is_cheaper = point.trained < chosen.trained;
            if better > worse || (better >= worse && is_cheaper) {
                chosen = point;
            }
        }
        let chosen = chosen.id.clone();
        let moved = sweep.grid.vary.iter().map(|vary| moved(sweep, &vary.key, &points)).collect();
        Some(Self { points, chosen, moved })
    }

    fn sentences(&self, sweep: &Sweep) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(chosen) = self.points.iter().find(|point| point.id == self.chosen) {
            lines.push(format!(
                "Chosen on `{}`: {} with {:.1} %; the exam was not asked.",
                sweep.validation.name,
                chosen.id,
                100.0 * chosen.accuracy.value
            ));
        }
        for Moved { key, values, beyond_chance } in &self.moved {
            let list: Vec<String> = values
                .iter()
                .map(|(value, share)| format!("{value}: {:.1} %", 100.0 * share))
                .collect();
            let verdict = match beyond_chance {
                0 => "no value differs from the recipe's beyond chance".to_owned(),
                n => format!(
                    "{n} of {} values differ from the recipe's beyond chance",
                    values.len() - 1
                ),
            };
            lines.push(format!("{key}: {verdict} ({}).", list.join(", ")));
        }
        lines
    }
}

fn moved(sweep: &Sweep, key: &str, points: &[PointResult]) -> Moved {
    let own = sweep.points.first().and_then(|centre| {
        let json = serde_json::to_value(&centre.recipe).ok()?;
        key.split('.').try_fold(json, |json, part| json.get(part).cloned())
    });
    let mut values = Vec::new();
    let mut beyond_chance = 0;
    for point in points {
        let value = match &*point.changed {
            [] => own.as_ref().map_or_else(String::new, show) + " (the recipe's)",
            [(changed, value)] if changed == key => show(value),
            _ => continue,
        };
        values.push((value, point.accuracy.value));
        beyond_chance += usize::from(point.p_holm.is_some_and(|p| p < ALPHA));
    }
    Moved { key: key.to_owned(), values, beyond_chance }
}

fn trained(row: &RowRecord) -> u64 {
    let training = row.seeds.first().and_then(|seed| seed.training.as_ref());
    training.map_or(0, |training| training.trained)
}

fn wall_s(row: &RowRecord) -> f64 {
    let times = row.seeds.iter().filter_map(|seed| Some(seed.training.as_ref()?.wall_s));
    times.sum::<f64>() / row.seeds.len().max(1) as f64
}

fn table(result: &SweepResult) -> TextTable {
    let mut table = TextTable::new(
        &["point", "seeds"],
        &["accuracy", "95 %", "against centre", "p (Holm)", "in form", "trained", "time"],
    );
    for point in &result.points {
        let Accuracy { asked, counts, value, interval: [low, high] } = &point.accuracy;
        let each: Vec<String> = counts
            .iter()
            .map(|count| format!("{:.1}", 100.0 * *count as f64 / *asked as f64))
            .collect();
        let difference = point.difference.as_ref();
        table.row([
            if point.id == result.chosen { format!("{} *", point.id) } else { point.id.clone() },
            each.join(" "),
            format!("{:.1}", 100.0 * value),
            format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high),
            difference.map_or_else(|| "–".into(), |d| format!("{:+.1}", 100.0 * d.value)),
            point.p_holm.map_or_else(
                || "–".into(),
                |p| format::p_value(p).trim_start_matches("= ").to_owned(),
            ),
            format!("{:.1}", 100.0 * point.in_form.value),
            point.trained.to_string(),
            format!("{:.1} s", point.wall_s),
        ]);
    }
    table
}

fn strata(record: &Record, protocol: &str) -> TextTable {
    let mut table = TextTable::new(&["point"], &["as question", "as flashcard", "only read"]);
    let Some(exam) = record.exams.first() else { return table };
    for row in &record.rows {
        let share = |way| {
            let share = record.accuracy(row, exam, protocol, way, Counted::Right);
            share.map_or_else(|| "–".to_owned(), |share| format!("{:.1}", 100.0 * share.value))
        };
        table.row([row.id.clone()].into_iter().chain(Stratum::WAYS.map(share)));
    }
    table
}

/// Returns the screen that the command ends with.
pub fn sweep_text(sweep: &Sweep, result: &SweepResult, page: &Path) -> String {
    let mut text =
        format!("Sweep {}\n{}\n\n{}\n", sweep.grid.name, says(sweep), table(result).text());
    for line in result.sentences(sweep) {
        text += &format!("{line}\n");
    }
    text + &format!("page      {}\n", page.display())
}

fn says(sweep: &Sweep) -> String {
    let label = short_label(&sweep.protocol.id, sweep.protocol.sha256());
    let items = sweep.validation.asked().count();
    let Sweep { row, validation, grid, .. } = sweep;
    format!(
        "Right answers in % on the validation split `{}` ({items} items) under {label}; centre: recipe {} of row {}, seeds {:?}.",
        validation.name,
        row.recipe.as_deref().unwrap_or_default(),
        row.id,
        grid.seeds
    )
}

fn csv(result: &SweepResult) -> Result<String, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "point",
        "changed",
        "asked",
        "right",
        "in_form",
        "accuracy",
        "low",
        "high",
        "difference",
        "p_holm",
        "trained",
        "wall_s",
    ])?;
    for point in &result.points {
        let counts =
            |counts: &[usize]| counts.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let changed: Vec<String> =
            point.changed.iter().map(|(key, value)| format!("{key}={}", show(value))).collect();
        let difference = point.difference.as_ref().map(|difference| difference.value.to_string());
        writer.write_record([
            point.id.clone(),
            changed.join(" "),
            point.accuracy.asked.to_string(),
            counts(&point.accuracy.counts),
            counts(&point.in_form.counts),
            point.accuracy.value.to_string(),
            point.accuracy.interval[0].to_string(),
            point.accuracy.interval[1].to_string(),
            difference.unwrap_or_default(),
            point.p_holm.map(|p| p.to_string()).unwrap_or_default(),
            point.trained.to_string(),
            format!("{:.2}", point.wall_s),
        ])?;
    }
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes the report to `folder`, made if it is not there, and returns the path of the page.
///
/// # Errors
///
/// [`StudyError::File`] if a file cannot be written, [`StudyError::Report`] if one cannot be made.
pub fn write_sweep(
    sweep: &Sweep,
    result: &SweepResult,
    record: &Record,
    folder: &Path,
) -> Result<PathBuf, StudyError> {
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| StudyError::File { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let protocol = &*sweep.protocol.id;
    let mut points = Section::new("points", "Points", &says(sweep), table(result));
    points.says.push("* is the point chosen. Adjusted over all points (Holm).".into());
    points.plot =
        Some(("Every point's accuracy with its interval".into(), forest(record, protocol)?));
    let mut moved = Section::new(
        "moved",
        "By how a fact was taught",
        "The same points, right answers in per cent.",
        strata(record, protocol),
    );
    moved.says.extend(result.sentences(sweep));
    let title = format!("Sweep {}", sweep.grid.name);
    let pages = Pages {
        title: &title,
        about: &sweep.grid.about,
        command: "medharness sweep",
        sections: vec![points, moved],
    };
    let json = json!({
        "schema": SCHEMA, "grid": sweep.grid.name, "row": sweep.row.id,
        "validation": { "name": sweep.validation.name, "sha256": sweep.validation.sha256() },
        "protocol": { "id": protocol, "sha256": sweep.protocol.sha256() },
        "seeds": sweep.grid.seeds, "result": result,
    });
    let json = serde_json::to_string_pretty(&json).map_err(ReportError::from)? + "\n";
    let contents = [pages.html()?, pages.markdown(), csv(result)?, json];
    for (name, content) in SWEEP_FILES.iter().zip(contents) {
        let path = folder.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(folder.join(SWEEP_FILES[0]))
}
