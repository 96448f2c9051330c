//! The tables of a study, each as words and numbers; every format prints these.

use super::{
    Accuracy, Claim, Counted, ExamRecord, Expected, Finding, Method, Record, RowRecord, Stratum,
    results::{full_of, medical_full},
};
use crate::{
    claims::Table,
    reports::{TextTable, format},
};

/// Digits of the paper's table for the row beside which one stands; dashes where there is none.
fn printed(paper: &Table, row: &RowRecord) -> [String; 3] {
    let values = row.mirrors.as_ref().and_then(|name| paper.row(name)).map(|row| &*row.values);
    [0, 1, 2].map(|column| {
        let value = values.and_then(|values| values.get(column)?.as_ref());
        value.map_or_else(|| format::NONE.into(), |value| value.text().to_owned())
    })
}

/// `43.2 [37–50]`, in per cent.
fn with_interval(accuracy: Option<Accuracy>) -> String {
    accuracy.map_or_else(
        || format::NONE.into(),
        |Accuracy { value, interval: [low, high], .. }| {
            format!("{:.1} [{:.0}–{:.0}]", 100.0 * value, 100.0 * low, 100.0 * high)
        },
    )
}

fn percent(accuracy: Option<Accuracy>) -> String {
    accuracy
        .map_or_else(|| format::NONE.into(), |accuracy| format!("{:.1}", 100.0 * accuracy.value))
}

fn points(difference: f64) -> String {
    format!("{:+.1}", 100.0 * difference)
}

/// Size and name of a row.
fn label(row: &RowRecord) -> [String; 2] {
    [row.size.clone(), row.label.clone()]
}

/// The paper-shaped table under one protocol: accuracies in per cent, the paper's digits beside.
pub(super) fn paper_shaped(record: &Record, protocol: &str, is_strict: bool) -> TextTable {
    let paper = Table::paper();
    let mut numbers = vec!["step 1", "step 2", "step 3", "all"];
    if is_strict {
        numbers.push("in form");
    }
    numbers.extend(["paper 1", "paper 2", "paper 3"]);
    let mut table = TextTable::new(&["size", "row"], &numbers);
    let Some(exam) = record.exams.first() else { return table };
    for row in &record.rows {
        let share = |stratum, counted| record.accuracy(row, exam, protocol, stratum, counted);
        let mut cells = label(row).to_vec();
        cells.extend(Stratum::TABLE.map(|part| with_interval(share(part, Counted::Right))));
        if is_strict {
            cells.push(percent(share(Stratum::Whole, Counted::Read)));
        }
        cells.extend(printed(&paper, row));
        table.row(cells);
    }
    table
}

/// The same rows by how the fact of an item was taught.
pub(super) fn by_way(record: &Record, protocol: &str) -> TextTable {
    let mut table =
        TextTable::new(&["size", "row"], &["as question", "as flashcard", "only read", "all"]);
    let Some(exam) = record.exams.first() else { return table };
    for row in &record.rows {
        let share = |stratum| record.accuracy(row, exam, protocol, stratum, Counted::Right);
        let parts = Stratum::WAYS.into_iter().chain([Stratum::Whole]);
        table.row(label(row).into_iter().chain(parts.map(|part| with_interval(share(part)))));
    }
    table
}

/// How many replies an option was read out of, by how facts were taught.
pub(super) fn in_form(record: &Record, protocol: &str) -> TextTable {
    let mut table =
        TextTable::new(&["size", "row"], &["all", "as question", "as flashcard", "only read"]);
    let Some(exam) = record.exams.first() else { return table };
    for row in &record.rows {
        let share = |stratum| record.accuracy(row, exam, protocol, stratum, Counted::Read);
        let parts = [Stratum::Whole].into_iter().chain(Stratum::WAYS);
        table.row(label(row).into_iter().chain(parts.map(|part| with_interval(share(part)))));
    }
    table
}

/// The claims with what becomes of them.
pub(super) fn claims(claims: &[Claim]) -> TextTable {
    let mut table = TextTable::new(&["claim of the paper", "protocol", "in the miniature"], &[]);
    for claim in claims {
        table.row([claim.text.to_owned(), claim.protocol.clone(), claim.sentence()]);
    }
    table
}

/// Every comparison of a claim, differences in points.
pub(super) fn tests(claim: &Claim) -> TextTable {
    let mut table = TextTable::new(
        &["first", "second", "finding"],
        &["difference", "95 %", "p", "p (Holm)", "as question", "as flashcard", "only read"],
    );
    for test in &claim.tests {
        let [low, high] = test.difference.interval.map(points);
        let finding = match (test.finding, claim.expected) {
            (Finding::AsClaimed, Expected::Above) => "above, as claimed",
            (Finding::AsClaimed, Expected::Below) => "below, as claimed",
            (Finding::Opposite, Expected::Above) => "BELOW, not as claimed",
            (Finding::Opposite, Expected::Below) => "ABOVE, not as claimed",
            (Finding::NotShown, _) => "not distinguishable",
        };
        let p = |p| format::p_value(p).trim_start_matches("= ").to_owned();
        let mut cells = vec![
            test.first.clone(),
            test.second.clone(),
            finding.to_owned(),
            points(test.difference.value),
            format!("{low} to {high}"),
            p(test.difference.p),
            p(test.p_holm),
        ];
        let way = |value: &Option<f64>| value.map_or_else(|| format::NONE.into(), points);
        cells.extend(test.by_way.iter().map(way));
        table.row(cells);
    }
    table
}

/// Each row under each seed: right answers over the whole exam, in per cent.
pub(super) fn seeds(record: &Record, protocol: &str) -> TextTable {
    let seeds = record.rows.first().map(|row| &*row.seeds).unwrap_or_default();
    let mut heads: Vec<String> = seeds.iter().map(|seed| format!("seed {}", seed.seed)).collect();
    heads.push("mean".into());
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let mut table = TextTable::new(&["size", "row"], &heads);
    let Some(exam) = record.exams.first() else { return table };
    for row in &record.rows {
        let share = record.accuracy(row, exam, protocol, Stratum::Whole, Counted::Right);
        let mut cells = label(row).to_vec();
        if let Some(share) = &share {
            let one = |count: &usize| format!("{:.1}", 100.0 * *count as f64 / share.asked as f64);
            cells.extend(share.counts.iter().map(one));
        }
        cells.push(with_interval(share));
        table.row(cells);
    }
    table
}

/// What LoRA and 8-bit save against full fine-tuning on the same rows, and what they lose.
pub(super) fn trade_off(record: &Record, protocol: &str) -> TextTable {
    let mut table = TextTable::new(
        &["size", "row"],
        &[
            "accuracy",
            "against full",
            "as question",
            "as flashcard",
            "only read",
            "trained",
            "of full",
            "updates",
            "memory foreseen",
            "of full",
            "largest memory",
            "training time",
            "of full",
        ],
    );
    let Some(exam) = record.exams.first() else { return table };
    for row in record.rows.iter().filter(|row| row.method != Method::Base) {
        let Some(full) = full_of(record, row) else { continue };
        let Some([own, theirs]) = both(row, full) else { continue };
        let share = |stratum| record.accuracy(row, exam, protocol, stratum, Counted::Right);
        let difference = record.difference([row, full], protocol, Stratum::Whole);
        let difference = difference.filter(|_| row.id != full.id);
        let of = |own: f64, theirs: f64| format!("{:.1} %", 100.0 * own / theirs.max(1e-9));
        let mut cells = label(row).to_vec();
        cells.push(percent(share(Stratum::Whole)));
        cells.push(difference.map_or_else(|| format::NONE.into(), |d| points(d.value)));
        cells.extend(Stratum::WAYS.map(|way| percent(share(way))));
        cells.push(own.trained.to_string());
        cells.push(of(own.trained as f64, theirs.trained as f64));
        cells.push(own.updates.to_string());
        cells.push(mib(own.mem_estimate));
        cells.push(of(own.mem_estimate as f64, theirs.mem_estimate as f64));
        cells.push(own.mem_peak.map_or_else(|| format::NONE.into(), mib));
        cells.push(seconds(own.wall_s));
        cells.push(of(own.wall_s, theirs.wall_s));
        table.row(cells);
    }
    table
}

/// The first seed's trainings of two rows.
fn both<'a>(row: &'a RowRecord, full: &'a RowRecord) -> Option<[&'a super::TrainingRecord; 2]> {
    let training = |row: &'a RowRecord| row.seeds.first()?.training.as_ref();
    Some([training(row)?, training(full)?])
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

pub(super) fn seconds(wall_s: f64) -> String {
    format!("{wall_s:.1} s")
}

/// The set apart: right answers and replies in form, in per cent.
pub(super) fn vignettes(record: &Record, exam: &ExamRecord, protocol: &str) -> TextTable {
    let mut table = TextTable::new(&["size", "row"], &["items", "right", "in form"]);
    for row in &record.rows {
        let share = |counted| record.accuracy(row, exam, protocol, Stratum::Whole, counted);
        let right = share(Counted::Right);
        let asked = right.as_ref().map_or(0, |share| share.asked).to_string();
        let numbers = [asked, with_interval(right), percent(share(Counted::Read))];
        table.row(label(row).into_iter().chain(numbers));
    }
    table
}

/// What the study set out to show, and whether it does.
pub(super) fn targets(record: &Record, protocol: &str) -> TextTable {
    let mut table = TextTable::new(&["target", "row", "", "because"], &[]);
    let met = |is_met: bool| if is_met { "met" } else { "NOT MET" };
    for row in medical_full(record) {
        let base =
            record.rows.iter().find(|other| other.size == row.size && other.method == Method::Base);
        let difference =
            base.and_then(|base| record.difference([row, base], protocol, Stratum::Whole));
        if let Some(difference) = difference {
            let is_met = difference.value > 0.0 && difference.p < 0.01;
            let p = format::p_value(difference.p);
            let because = format!("{} points, p {p}", points(difference.value));
            let target = "medical full fine-tuning above base, p < 0.01".to_owned();
            table.row([target, row.id.clone(), met(is_met).to_owned(), because]);
        }
    }
    let Some(exam) = record.exams.first() else { return table };
    for row in record.rows.iter().filter(|row| row.method != Method::Base) {
        let share = record.accuracy(row, exam, protocol, Stratum::Whole, Counted::Read);
        let Some(share) = share else { continue };
        let because = format!("{:.1} %", 100.0 * share.value);
        let target = "replies in form above 95 %".to_owned();
        table.row([target, row.id.clone(), met(share.value > 0.95).to_owned(), because]);
    }
    table
}

/// Time and memory of every stage.
pub(super) fn stage_table(record: &Record) -> TextTable {
    let mut table = TextTable::new(&["row", "seed", "stage"], &["time", "largest memory"]);
    for Stage { row, seed, name, wall_s, mem_peak } in stages(record) {
        let memory = mem_peak.map_or_else(|| format::NONE.into(), mib);
        table.row([row.to_owned(), seed.to_string(), name, seconds(wall_s), memory]);
    }
    table
}

/// What a stage cost.
pub(super) struct Stage<'a> {
    pub(super) row: &'a str,
    pub(super) seed: u64,
    pub(super) name: String,
    pub(super) wall_s: f64,
    pub(super) mem_peak: Option<u64>,
}

/// Every stage, in the order of the rows.
pub(super) fn stages(record: &Record) -> Vec<Stage<'_>> {
    let mut stages = Vec::new();
    for row in &record.rows {
        for seed in &row.seeds {
            let mut push = |name, wall_s, mem_peak| {
                stages.push(Stage { row: &row.id, seed: seed.seed, name, wall_s, mem_peak });
            };
            if let Some(training) = &seed.training {
                push("training".to_owned(), training.wall_s, training.mem_peak);
            }
            for run in &seed.runs {
                push(format!("{}, {}", run.exam, run.protocol), run.wall_s, run.mem_peak);
            }
        }
    }
    stages
}

/// Time of all stages together, in seconds, and the largest memory of any, in bytes.
pub(super) fn cost(record: &Record) -> (f64, Option<u64>) {
    let stages = stages(record);
    let largest = stages.iter().filter_map(|stage| stage.mem_peak).max();
    (stages.iter().map(|stage| stage.wall_s).sum(), largest)
}
