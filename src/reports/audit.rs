//! An [`Audit`] as a screen of text, as Markdown, as JSON. JSON holds every figure; the other two
//! hold what a reader needs and say how it was got.

use std::fmt::Write;

use super::{TextTable, escape, format::count as many};
use crate::{
    claims::{
        Audit, CellAudit, ClaimVerdict, ColumnAudit, Comparison, CountKind, Direction, FactKind,
        Fit, Inference,
    },
    stats::{Power, detectable_unpaired},
};

/// Returns the audit as JSON, ending in a line feed.
///
/// The fields are those of [`Audit`]; `schema` changes when one of them does.
pub fn json(audit: &Audit) -> String {
    serde_json::to_string_pretty(audit).expect("plain structures become JSON") + "\n"
}

/// Returns the audit as text for a terminal, readable without colour.
pub fn text(audit: &Audit) -> String {
    page(audit, Form::Text)
}

/// Returns the audit as Markdown.
pub fn markdown(audit: &Audit) -> String {
    page(audit, Form::Markdown)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Markdown,
}

fn page(audit: &Audit, form: Form) -> String {
    let printed = audit.rows.iter().filter(|row| row.cells.iter().any(Option::is_some)).count();
    let mut page = Page { text: String::new(), form };
    page.title(&format!(
        "Audit of {}: {}, {}",
        audit.table.name,
        many(printed, "row"),
        many(audit.columns.len(), "column")
    ));
    denominators(&mut page, audit);
    counts(&mut page, audit);
    misfits(&mut page, audit);
    if let Some(inference) = &audit.inference {
        because(&mut page, inference);
    }
    claims(&mut page, audit);
    page.text
}

/// Which number of questions each column was computed over.
fn denominators(page: &mut Page, audit: &Audit) {
    let settings = &audit.settings;
    page.heading("Which number of questions N explains the printed digits");
    page.line(&format!(
        "k/N fits if it rounds to the digits. {} from {} to {}; p: chance of so many fits.",
        many(settings.candidates, "candidate"),
        settings.from,
        settings.to
    ));
    if page.form == Form::Markdown {
        page.line(&format!("Rounding: {}.", settings.rounding));
    }
    let mut rows = Vec::new();
    for column in &audit.columns {
        if let Some(given) = &column.given {
            rows.push(fit_row(&format!("{}, as given", column.name), column, given, ""));
        }
        match &column.found {
            Some(fit) => {
                let next = column.runner_up.as_ref();
                let next = next.map_or(String::new(), |fit| format!("{}: {}", fit.n, fit.rows));
                rows.push(fit_row(&column.name, column, fit, &next));
            }
            None => rows.push(vec![column.name.clone(), "none".into(), "0".into()]),
        }
        for stated in &column.stated {
            rows.push(fit_row(&format!("{}, as stated", column.name), column, &stated.fit, ""));
        }
    }
    let corrected = format!("p x {}", settings.candidates);
    let heads = ["column", "N", "rows that fit", "chance a row", "p", &corrected, "next best"];
    page.table(&heads, rows, 1);
    let with_places = page.form == Form::Markdown;
    for column in &audit.columns {
        for stated in column.stated.iter().filter(|_| with_places) {
            page.line(&format!("{}, stated {}: {}", column.name, stated.fit.n, stated.place));
        }
        if let Some(fit) = column.found.as_ref().filter(|_| column.given.is_none())
            && !column.found_beyond_chance
        {
            page.line(&format!(
                "{}: a search explains as many rows by chance; N = {} is a guess.",
                column.name, fit.n
            ));
        }
    }
}

fn fit_row(name: &str, column: &ColumnAudit, fit: &Fit, next: &str) -> Vec<String> {
    vec![
        name.to_owned(),
        fit.n.to_string(),
        format!("{} of {}", fit.rows, column.printed),
        format!("{:.3}", fit.chance_per_row),
        small(fit.p),
        small(fit.p_corrected),
        next.to_owned(),
    ]
}

/// Counts, intervals and tests.
fn counts(page: &mut Page, audit: &Audit) {
    page.heading("Right answers of questions, with 95 % Wilson intervals");
    let heads: Vec<&str> =
        ["model"].into_iter().chain(audit.columns.iter().map(|column| &*column.name)).collect();
    let mut rows: Vec<Vec<String>> = audit
        .rows
        .iter()
        .filter(|row| row.cells.iter().any(Option::is_some))
        .map(|row| {
            let cells = row.cells.iter().map(|cell| cell.as_ref().map_or("-".into(), shown));
            [row.model.clone()].into_iter().chain(cells).collect()
        })
        .collect();
    let baseline = |column: &ColumnAudit| {
        column.baseline.as_ref().map_or("-".into(), |baseline| {
            let [low, high] = baseline.wilson;
            format!("{}/{} {low:.2}-{high:.2}", baseline.successes, baseline.trials)
        })
    };
    if audit.columns.iter().any(|column| column.baseline.is_some()) {
        let cells = audit.columns.iter().map(baseline);
        rows.push(["(one letter)".to_owned()].into_iter().chain(cells).collect());
    }
    page.table(&heads, rows, heads.len());
    let family = |pick: fn(&CellAudit) -> Option<&Comparison>| {
        let cells = audit.rows.iter().flat_map(|row| row.cells.iter().flatten());
        cells.filter(|cell| pick(cell).is_some()).count()
    };
    let letter = family(|cell| cell.against_baseline.as_ref());
    let base = family(|cell| cell.against_base.as_ref());
    let labels: Vec<String> = audit
        .columns
        .iter()
        .filter_map(|column| Some(format!("{} {}", column.name, column.baseline.as_ref()?.label)))
        .collect();
    if !labels.is_empty() {
        page.line(&format!("One letter, right most often: {}.", labels.join(", ")));
    }
    page.line("~ no count fits: the nearest is shown. ? one of several counts that fit.");
    let mut kinds = Vec::new();
    if letter > 0 {
        kinds.push(format!("+L -L above, below the one letter ({})", many(letter, "test")));
    }
    if base > 0 {
        kinds.push(format!("+B -B above, below its base model ({})", many(base, "test")));
    }
    if !kinds.is_empty() {
        page.line(&format!(
            "{}; no mark: not distinguishable. {}, p < {}.",
            kinds.join("; "),
            capital(audit.settings.test),
            audit.settings.alpha
        ));
    }
    let differences: Vec<f64> = audit
        .columns
        .iter()
        .filter_map(|column| {
            let n = column.given.as_ref().or(column.found.as_ref())?.n;
            detectable_unpaired(n, n, 0.5, Power::USUAL).ok().flatten()
        })
        .collect();
    if let (Some(least), Some(most)) = (
        differences.iter().copied().min_by(f64::total_cmp),
        differences.iter().copied().max_by(f64::total_cmp),
    ) {
        let [least, most] = [least, most].map(|share| format!("{:.0}", 100.0 * share));
        let points = if least == most { least } else { format!("{least} to {most}") };
        page.line(&format!(
            "Near one half, two such accuracies must lie {points} points apart to be told apart \
             (80 % power, unpaired)."
        ));
    }
}

fn shown(cell: &CellAudit) -> String {
    let (Some(count), Some([low, high])) = (cell.count, cell.wilson) else {
        return cell.printed.clone();
    };
    let mark = match count.kind {
        CountKind::Implied => "",
        CountKind::OneOfSeveral => "?",
        CountKind::Nearest => "~",
    };
    let mut text = format!("{mark}{}/{} {low:.2}-{high:.2}", count.successes, count.trials);
    for (comparison, letter) in [(&cell.against_baseline, 'L'), (&cell.against_base, 'B')] {
        match comparison.as_ref().map(|comparison| comparison.direction) {
            Some(Direction::Above) => text.extend([' ', '+', letter]),
            Some(Direction::Below) => text.extend([' ', '-', letter]),
            Some(Direction::NotDistinguishable) | None => {}
        }
    }
    text
}

/// Entries that their column's N cannot print, and what could.
fn misfits(page: &mut Page, audit: &Audit) {
    let mut rows = Vec::new();
    for row in &audit.rows {
        for (cell, column) in row.cells.iter().zip(&audit.columns) {
            let Some(cell) = cell else { continue };
            if cell.count.is_none_or(|count| count.kind == CountKind::Nearest) {
                let entry = [&row.model, &column.name, &cell.printed];
                let mut entry: Vec<String> = entry.into_iter().cloned().collect();
                entry.push(alternatives(cell));
                rows.push(entry);
            }
        }
    }
    page.heading("Entries that N cannot print, and counts that could, nearest N first");
    if rows.is_empty() {
        page.line("None: every entry fits.");
        return;
    }
    page.table(&["model", "column", "printed", "would fit"], rows, 4);
    let readings = audit.inference.as_ref().map_or(&[][..], |inference| &inference.readings);
    let mut notes: Vec<(&str, Vec<String>)> = Vec::new();
    for reading in readings {
        let counts = reading.counts.join(" or ");
        let entry = format!("{} {} as {counts}", reading.model, reading.column);
        match notes.iter_mut().find(|(note, _)| *note == reading.note) {
            Some((_, entries)) => entries.push(entry),
            None => notes.push((&reading.note, vec![entry])),
        }
    }
    for (note, entries) in notes {
        page.item(&format!("{}: {note}", entries.join(", ")));
    }
}

/// At most this many alternatives are shown; JSON has them all.
const SHOWN: usize = 5;

/// Counts that print the cell's digits, the number of questions nearest to the column's first.
fn alternatives(cell: &CellAudit) -> String {
    let near = cell.count.map_or(0, |count| count.trials);
    let mut counts: Vec<(usize, usize)> = cell
        .fits
        .iter()
        .flat_map(|other| other.successes.iter().map(move |k| (*k, other.trials)))
        .collect();
    counts.sort_by_key(|(_, n)| n.abs_diff(near));
    let shown: Vec<String> = counts.iter().take(SHOWN).map(|(k, n)| format!("{k}/{n}")).collect();
    match counts.len() {
        0 => "none in range".into(),
        all if all > SHOWN => format!("{} and {} more", shown.join(" "), all - SHOWN),
        _ => shown.join(" "),
    }
}

/// The inference with its evidence.
fn because(page: &mut Page, inference: &Inference) {
    let found: Vec<String> = inference
        .columns
        .iter()
        .map(|column| {
            let left = column.questions - column.excluded - column.never_asked;
            format!("{} - {} - {} = {left}", column.questions, column.excluded, column.never_asked)
        })
        .collect();
    page.heading("Why: an inference, with its evidence");
    page.line(&format!("{}:", capital(&inference.cause.summary)));
    page.code(&inference.cause.code);
    page.line(&format!("in {}.", inference.cause.place));
    page.line(&format!("Questions - with images - never asked: {}.", found.join("; ")));
    for fact in &inference.facts {
        let kind = match fact.kind {
            FactKind::Read => "read",
            FactKind::Computed => "computed",
            FactKind::Inference => "inference",
        };
        match page.form {
            Form::Text => page.item(&format!("{kind}: {}", fact.text)),
            Form::Markdown => page.item(&format!("{kind}: {} ({})", fact.text, fact.place)),
        }
    }
}

fn claims(page: &mut Page, audit: &Audit) {
    if audit.claims.is_empty() {
        return;
    }
    page.heading("Claims in words, and what the table says of them");
    for judged in &audit.claims {
        let verdict = match judged.verdict {
            ClaimVerdict::Supported => "supported",
            ClaimVerdict::Contradicted => "contradicted",
            ClaimVerdict::NotTestable => "not testable from it",
        };
        let text = format!("{verdict}: {}: {}", judged.claim.text, judged.because);
        match page.form {
            Form::Text => page.item(&text),
            Form::Markdown => page.item(&format!("{text} ({})", judged.claim.source.place)),
        }
    }
}

/// The output as it grows.
struct Page {
    text: String,
    form: Form,
}

/// Longest line of text that is not a table.
const WIDTH: usize = 100;

impl Page {
    fn title(&mut self, title: &str) {
        let mark = if self.form == Form::Markdown { "# " } else { "" };
        let _ = writeln!(self.text, "{mark}{title}");
    }

    fn heading(&mut self, heading: &str) {
        let mark = if self.form == Form::Markdown { "## " } else { "" };
        let _ = writeln!(self.text, "\n{mark}{heading}");
        if self.form == Form::Markdown {
            self.text.push('\n');
        }
    }

    fn line(&mut self, line: &str) {
        match self.form {
            Form::Text => self.wrapped(line, "", ""),
            // Two blanks end a line in Markdown.
            Form::Markdown => {
                let _ = writeln!(self.text, "{}  ", escape(line));
            }
        }
    }

    fn item(&mut self, line: &str) {
        match self.form {
            Form::Text => self.wrapped(line, "- ", "  "),
            Form::Markdown => {
                let _ = writeln!(self.text, "- {}  ", escape(line));
            }
        }
    }

    fn code(&mut self, code: &str) {
        let _ = match self.form {
            Form::Text => writeln!(self.text, "    {code}"),
            Form::Markdown => writeln!(self.text, "`{code}`  "),
        };
    }

    fn wrapped(&mut self, line: &str, first: &str, next: &str) {
        let mut current = first.to_owned();
        let mut empty = true;
        for word in line.split_whitespace() {
            if !empty && current.chars().count() + 1 + word.chars().count() > WIDTH {
                let _ = writeln!(self.text, "{current}");
                next.clone_into(&mut current);
                empty = true;
            }
            if !empty {
                current.push(' ');
            }
            current.push_str(word);
            empty = false;
        }
        let _ = writeln!(self.text, "{current}");
    }

    /// Draws a table; the first `words` columns flush left, the others flush right.
    fn table(&mut self, heads: &[&str], rows: Vec<Vec<String>>, words: usize) {
        let (words, numbers) = heads.split_at(words.min(heads.len()));
        let mut table = TextTable::new(words, numbers);
        rows.into_iter().for_each(|row| table.row(row));
        match self.form {
            Form::Text => self.text.push_str(&table.text()),
            Form::Markdown => {
                let blank = if self.text.ends_with("\n\n") { "" } else { "\n" };
                let _ = writeln!(self.text, "{blank}{}", table.markdown());
            }
        }
    }
}

/// The text with its first letter as a capital.
fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A p value in few characters, also far below what tables of runs show.
fn small(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.0e}") }
}
