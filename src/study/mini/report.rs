//! A study's report: one screen of text, Markdown, HTML, CSV, JSON, and the stages apart.
//!
//! Everything is made of the [`Record`]: equal records give equal bytes. Times and memory are those
//! that were recorded when a stage was made; a study that is repeated uses its stages again and so
//! repeats them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{Claim, Counted, ExamRecord, Record, Stratum, tables};
use crate::{
    reports::{
        ReportError, TextTable,
        plot::{self, Mark},
        short_label,
    },
    study::{
        StudyError,
        pages::{Pages, Section},
    },
};

/// Value of `schema` in `report.json`.
const SCHEMA: &str = "medharness-miniature/1";

/// The files that [`write_report`] makes, the page first.
pub const REPORT_FILES: [&str; 5] =
    ["index.html", "report.md", "table.csv", "report.json", "stages.csv"];

/// Returns the protocol whose numbers are the headline's.
fn headline(record: &Record) -> &str {
    record.protocols.first().map_or("", |protocol| &*protocol.id)
}

/// Returns the one screen that the command ends with.
pub fn text(record: &Record, page: &Path) -> String {
    let protocol = headline(record);
    let mut text = format!("{}\n{}\n\n", record.title, subtitle(record));
    text += &tables::paper_shaped(record, protocol, true).text();
    text.push('\n');
    for claim in record.claims(protocol) {
        text += &format!("claim     {}: {}\n", claim.text, claim.sentence());
        let elsewhere = record.protocols.iter().skip(1).filter_map(|other| {
            let claims = record.claims(&other.id);
            let same = claims.iter().find(|same| same.text == claim.text)?;
            (!same.tests.is_empty()).then(|| format!("{}: {}", other.id, same.counts()))
        });
        let elsewhere: Vec<String> = elsewhere.collect();
        if !elsewhere.is_empty() {
            text += &format!("          under {}\n", elsewhere.join("; under "));
        }
    }
    let targets = tables::targets(record, protocol);
    let met = targets.rows().iter().filter(|row| row[2] == "met").count();
    text += &format!("targets   {met} of {} met\n", targets.rows().len());
    for row in targets.rows().iter().filter(|row| row[2] != "met") {
        text += &format!("          not met: {}, {}: {}\n", row[0], row[1], row[3]);
    }
    if let Some(exam) = record.exams.get(1) {
        let right = |row| record.accuracy(row, exam, protocol, Stratum::Whole, Counted::Right);
        let values = record.rows.iter().filter_map(right).map(|share| share.value);
        let (low, high) =
            values.fold((1.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = (100.0 * low, 100.0 * high);
        let n = exam.items.len();
        text += &format!(
            "set apart {low:.1} to {high:.1} % right of the {n} items of `{}` (guessing: {:.1} %)\n",
            exam.name,
            100.0 * exam.chance
        );
    }
    let (total_s, memory) = tables::cost(record);
    let memory =
        memory.map_or_else(String::new, |bytes| format!(", at most {}", tables::mib(bytes)));
    text += &format!("cost      {:.0} s{memory} ({})\n", total_s, record.machine);
    text + &format!("page      {}\n", page.display())
}

/// What the numbers are of, in a line.
fn subtitle(record: &Record) -> String {
    let protocol = record.protocols.first();
    let label = protocol.map_or_else(String::new, |p| short_label(&p.id, &p.sha256));
    let exam = record.exams.first();
    let (asked, excluded) = exam.map_or((0, 0), |exam| (exam.items.len(), exam.excluded));
    let chance = exam.map_or(0.0, |exam| 100.0 * exam.chance);
    let seeds = record.rows.first().map_or(0, |row| row.seeds.len());
    let seeds = if seeds == 1 { "one seed".to_owned() } else { format!("mean of {seeds} seeds") };
    format!(
        "Accuracy in % with 95 % intervals under {label}: {asked} items, {excluded} with an image left out, {seeds}; guessing gives {chance:.1} %."
    )
}

fn sections(record: &Record) -> Result<Vec<Section>, StudyError> {
    let protocol = headline(record);
    let others = record.protocols.iter().skip(1);
    let mut sections = vec![Section {
        id: "table",
        title: "Table",
        says: vec![
            subtitle(record),
            "The columns at the right are the digits that the paper prints for the row beside which each stands: other models, another exam. Only the order of rows can be compared.".into(),
        ],
        tables: vec![(String::new(), tables::paper_shaped(record, protocol, true))],
        plot: Some((
            "The accuracies over the whole exam with their intervals, the same numbers as in the table above".into(),
            forest(record, protocol)?,
        )),
    }];
    let mut more = Section {
        id: "protocols",
        title: "Other protocols",
        says: vec!["The same weights asked otherwise.".into()],
        tables: Vec::new(),
        plot: None,
    };
    for other in others {
        let label = short_label(&other.id, &other.sha256);
        more.tables.push((label, tables::paper_shaped(record, &other.id, false)));
    }
    if !more.tables.is_empty() {
        sections.push(more);
    }
    let each = |table: &dyn Fn(&str) -> TextTable| -> Vec<(String, TextTable)> {
        let labelled = record.protocols.iter();
        labelled.map(|p| (short_label(&p.id, &p.sha256), table(&p.id))).collect()
    };
    let is_known = |exam: &ExamRecord| exam.items.iter().any(|item| item.taught.is_some());
    if record.exams.first().is_some_and(is_known) {
        sections.push(Section {
        id: "strata",
        title: "By how a fact was taught",
        says: vec!["Every item asks in wording of its own. Its fact was taught by multiple-choice questions, by flashcards, or stood in the pre-training text alone.".into()],
        tables: each(&|id| tables::by_way(record, id)),
        plot: None,
    });
    }
    sections.push(Section {
        id: "form",
        title: "Replies in form",
        says: vec![
            "Share of replies out of which the protocol's rule reads an option, in per cent."
                .into(),
        ],
        tables: each(&|id| tables::in_form(record, id)),
        plot: None,
    });
    sections.push(claims_section(record));
    sections.push(Section::new(
        "targets",
        "Targets",
        "Set before the table was read.",
        tables::targets(record, protocol),
    ));
    sections.push(Section {
        id: "trade-off",
        title: "What LoRA and 8-bit save",
        says: vec![format!(
            "Accuracy under {protocol}, in per cent; elements trained; memory as the program foresees it, the same on every machine; largest memory that the process held and time as measured when the row was made, first seed, on {}.",
            record.machine
        )],
        tables: vec![(String::new(), tables::trade_off(record, protocol))],
        plot: None,
    });
    if let Some(exam) = record.exams.get(1) {
        sections.push(Section {
            id: "vignettes",
            title: "The set apart",
            says: [
                format!("The {} items of `{}`.", exam.items.len(), exam.name),
                exam.about.clone(),
            ]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect(),
            tables: vec![(String::new(), tables::vignettes(record, exam, protocol))],
            plot: None,
        });
    }
    if record.rows.iter().any(|row| row.seeds.len() > 1) {
        sections.push(Section {
            id: "seeds",
            title: "Seeds",
            says: vec!["Right answers over the whole exam, in per cent. The interval of the mean takes all answers to one question as one group.".into()],
            tables: each(&|id| tables::seeds(record, id)),
            plot: None,
        });
    }
    let (total_s, memory) = tables::cost(record);
    let memory = memory
        .map_or_else(String::new, |bytes| format!(", at most {} at once", tables::mib(bytes)));
    sections.push(Section {
        id: "stages",
        title: "Time and memory",
        says: vec![format!(
            "As measured when each stage was made on {}, kernels {}: the times add up to {total_s:.0} s{memory}. \
             Rows may have been made at the same time, each then on its share of the processors.",
            record.machine, record.kernel_set
        )],
        tables: vec![(String::new(), tables::stage_table(record))],
        plot: None,
    });
    Ok(sections)
}

fn claims_section(record: &Record) -> Section {
    let claims: Vec<Claim> =
        record.protocols.iter().flat_map(|protocol| record.claims(&protocol.id)).collect();
    let mut tables = vec![(String::new(), tables::claims(&claims))];
    for claim in claims.iter().filter(|claim| !claim.tests.is_empty()) {
        let heading = format!("{}, {}: {}", claim.text, claim.protocol, claim.sentence());
        tables.push((heading, tables::tests(claim)));
    }
    Section {
        id: "claims",
        title: "Claims of the paper",
        says: vec!["First minus second on the same items, in points; p of the exact paired test (McNemar) with one seed, of the mean over questions with more; adjusted within a claim (Holm). Beyond chance is p (Holm) below 0.05.".into()],
        tables,
        plot: None,
    }
}

/// Every row's whole exam on one axis.
pub(in crate::study) fn forest(record: &Record, protocol: &str) -> Result<String, StudyError> {
    let Some(exam) = record.exams.first() else { return Ok(String::new()) };
    let mark = |row: &super::RowRecord| {
        let share = record.accuracy(row, exam, protocol, Stratum::Whole, Counted::Right)?;
        let label = format!("{} · {}", row.size, row.label);
        Some(Mark { label, value: share.value, interval: share.interval, reference: None })
    };
    let marks: Vec<Mark> = record.rows.iter().filter_map(mark).collect();
    Ok(plot::forest(&marks)?)
}

/// One line a row, seed, exam, protocol and part.
fn csv(record: &Record) -> Result<String, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "row", "size", "family", "method", "mirrors", "exam", "protocol", "part", "seeds", "asked",
        "right", "in_form", "accuracy", "low", "high",
    ])?;
    for row in &record.rows {
        for (exam, protocol) in asked(record) {
            let parts = Stratum::TABLE.into_iter().chain(Stratum::WAYS);
            for part in parts {
                let share = |counted| record.accuracy(row, exam, protocol, part, counted);
                let (Some(right), Some(read)) = (share(Counted::Right), share(Counted::Read))
                else {
                    continue;
                };
                let counts = |counts: &[usize]| {
                    counts.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
                };
                writer.write_record([
                    row.id.clone(),
                    row.size.clone(),
                    word(&row.family),
                    word(&row.method),
                    row.mirrors.clone().unwrap_or_default(),
                    exam.name.clone(),
                    protocol.to_owned(),
                    String::from(part),
                    row.seeds.iter().map(|s| s.seed.to_string()).collect::<Vec<_>>().join(" "),
                    right.asked.to_string(),
                    counts(&right.counts),
                    counts(&read.counts),
                    right.value.to_string(),
                    right.interval[0].to_string(),
                    right.interval[1].to_string(),
                ])?;
            }
        }
    }
    finish(writer)
}

/// Each exam with the protocols it was asked under.
fn asked(record: &Record) -> impl Iterator<Item = (&ExamRecord, &str)> {
    let exam = record.exams.first();
    let whole = record.protocols.iter().filter_map(move |p| Some((exam?, &*p.id)));
    whole.chain(record.exams.iter().skip(1).map(|exam| (exam, headline(record))))
}

fn stages_csv(record: &Record) -> Result<String, ReportError> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(["row", "seed", "stage", "wall_s", "mem_peak_bytes"])?;
    for tables::Stage { row, seed, name, wall_s, mem_peak } in tables::stages(record) {
        let memory = mem_peak.map_or_else(String::new, |bytes| bytes.to_string());
        writer.write_record([row, &seed.to_string(), &name, &format!("{wall_s:.2}"), &memory])?;
    }
    finish(writer)
}

fn finish(writer: ::csv::Writer<Vec<u8>>) -> Result<String, ReportError> {
    let bytes = writer.into_inner().map_err(|error| ::csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `report.json`: rows with accuracies and costs, claims with tests; outcomes stand in the record.
fn json(record: &Record) -> Result<String, ReportError> {
    let mut rows = Vec::new();
    for row in &record.rows {
        let mut shares = Vec::new();
        for (exam, protocol) in asked(record) {
            for part in Stratum::TABLE.into_iter().chain(Stratum::WAYS) {
                let share = |counted| record.accuracy(row, exam, protocol, part, counted);
                if let Some(right) = share(Counted::Right) {
                    shares.push(json!({
                        "exam": exam.name, "protocol": protocol, "part": part,
                        "right": right, "in_form": share(Counted::Read),
                    }));
                }
            }
        }
        let trainings: Vec<_> = row
            .seeds
            .iter()
            .map(|seed| json!({ "seed": seed.seed, "training": seed.training }))
            .collect();
        rows.push(json!({
            "id": row.id, "label": row.label, "size": row.size, "family": row.family,
            "method": row.method, "mirrors": row.mirrors, "shares": shares, "seeds": trainings,
        }));
    }
    let claims: Vec<Claim> = record.protocols.iter().flat_map(|p| record.claims(&p.id)).collect();
    let exams: Vec<_> = record
        .exams
        .iter()
        .map(|exam| {
            json!({
                "name": exam.name, "sha256": exam.sha256, "asked": exam.items.len(),
                "excluded": exam.excluded, "chance": exam.chance,
            })
        })
        .collect();
    let report = json!({
        "schema": SCHEMA,
        "title": record.title,
        "about": record.about,
        "tool_version": record.tool_version,
        "kernel_set": record.kernel_set,
        "machine": record.machine,
        "exams": exams,
        "protocols": record.protocols,
        "rows": rows,
        "claims": claims,
    });
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}

/// The word that stands for a value in files.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or_default().to_owned()
}

/// Writes the report to `folder`, made if it is not there, and returns the path of the page.
///
/// # Errors
///
/// [`StudyError::File`] if a file cannot be written, [`StudyError::Report`] if one cannot be made.
pub fn write_report(record: &Record, folder: &Path) -> Result<PathBuf, StudyError> {
    let failed = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| StudyError::File { what, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    let pages = Pages {
        title: &record.title,
        about: &record.about,
        command: "medharness reproduce",
        sections: sections(record)?,
    };
    let contents =
        [pages.html()?, pages.markdown(), csv(record)?, json(record)?, stages_csv(record)?];
    for (name, content) in REPORT_FILES.iter().zip(contents) {
        let path = folder.join(name);
        fs::write(&path, content).map_err(failed("write", &path))?;
    }
    Ok(folder.join(REPORT_FILES[0]))
}
