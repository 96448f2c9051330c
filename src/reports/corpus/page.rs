//! The audit as text and as Markdown.

use super::{SPREAD, bin_name, found, near, places, recall_of, spread, tokens, word};
use crate::{
    corpus::audit::{Audit, Check, Distribution, Judged, SourceAudit},
    reports::{
        TextTable, escape,
        format::{count, interval, percent},
    },
};

/// Signs of the longest bar.
const BAR: usize = 20;

/// Places named in the list below the table.
const MOST_UNREADABLE: usize = 20;

/// Returns the audit, the verdicts of people, or both, for a terminal.
pub fn text(audit: Option<&Audit>, judged: Option<&Judged>) -> String {
    Writer { page: String::new(), is_markdown: false }.write(audit, judged)
}

/// Returns the audit, the verdicts of people, or both, as Markdown.
pub fn markdown(audit: Option<&Audit>, judged: Option<&Judged>) -> String {
    Writer { page: String::new(), is_markdown: true }.write(audit, judged)
}

/// What of a source's rows was measured.
fn kinds(source: &SourceAudit) -> impl Iterator<Item = (&'static str, &Distribution)> {
    let kinds = [
        ("question, words", source.question_words.as_ref()),
        ("answer, words", source.answer_words.as_ref()),
        ("sequence, tokens", source.tokens.as_ref()),
        ("learnt, tokens", source.learnt_tokens.as_ref()),
    ];
    kinds.into_iter().filter_map(|(kind, lengths)| Some((kind, lengths?)))
}

/// A bin's rows as a bar, [`BAR`] signs for the fullest bin, and as their number.
fn bar(histogram: &[usize], bin: usize) -> String {
    let rows = histogram.get(bin).copied().unwrap_or(0);
    let most = histogram.iter().copied().max().unwrap_or(0).max(1);
    format!("{} {rows}", "█".repeat((rows * BAR).div_ceil(most))).trim_start().to_owned()
}

struct Writer {
    page: String,
    is_markdown: bool,
}

impl Writer {
    fn write(mut self, audit: Option<&Audit>, judged: Option<&Judged>) -> String {
        if let Some(audit) = audit {
            self.audit(audit);
        }
        if let Some(judged) = judged {
            self.judged(judged);
        }
        self.page
    }

    fn heading(&mut self, level: usize, words: &str) {
        if !self.page.is_empty() {
            self.page.push('\n');
        }
        match self.is_markdown {
            true => self.page += &format!("{} {}\n\n", "#".repeat(level), escape(words)),
            false => self.page += &format!("{words}\n"),
        }
    }

    fn line(&mut self, words: &str) {
        match self.is_markdown {
            true => self.page += &format!("- {}\n", escape(words)),
            false => self.page += &format!("{}\n", words.replace(char::is_control, " ")),
        }
    }

    fn table(&mut self, table: &TextTable) {
        self.page += &if self.is_markdown { table.markdown() } else { table.text() };
    }

    fn audit(&mut self, audit: &Audit) {
        let sources = count(audit.sources.len(), "source");
        self.heading(1, &format!("Audit of {} training rows from {sources}", audit.rows));
        self.line(&format!("{} exact duplicates", audit.exact_duplicates));
        self.line(&format!(
            "{} unreadable rows, left out of everything else",
            audit.unreadable_rows
        ));
        self.line(&near(audit));
        self.line(&tokens(audit));
        for (place, reason) in audit.unreadable.iter().take(MOST_UNREADABLE) {
            self.line(&format!("unreadable: {place}: {reason}"));
        }
        self.heading(2, "Rows that each check found");
        let names: Vec<&str> = audit.sources.iter().map(|source| &*source.source).collect();
        let mut table = TextTable::new(&["check", "meaning"], &names);
        let rows = audit.sources.iter().map(|source| source.rows.to_string());
        table.row(["rows".to_owned(), String::new()].into_iter().chain(rows));
        for check in Check::ALL {
            let cells = audit.sources.iter().map(|source| found(source, check));
            table.row([word(&check), check.meaning().to_owned()].into_iter().chain(cells));
        }
        self.table(&table);
        self.examples(audit);
        self.between(audit);
        self.lengths(audit);
        self.languages(audit);
        self.identifiers(audit);
    }

    fn examples(&mut self, audit: &Audit) {
        self.heading(2, "Where, the first of each");
        for source in &audit.sources {
            for (check, tally) in source.checks.iter().filter(|(_, tally)| tally.rows > 0) {
                self.line(&format!("{}, {}: {}", source.source, word(check), places(tally)));
            }
        }
    }

    fn between(&mut self, audit: &Audit) {
        if audit.between_sources.is_empty() {
            return;
        }
        self.heading(2, "Duplicates between sources");
        let mut table = TextTable::new(&["source", "of an earlier row in"], &["rows"]);
        for (own, other, rows) in &audit.between_sources {
            table.row([own.clone(), other.clone(), rows.to_string()]);
        }
        self.table(&table);
    }

    fn lengths(&mut self, audit: &Audit) {
        self.heading(2, "Lengths");
        let mut table = TextTable::new(&["source", "of"], &SPREAD);
        for source in &audit.sources {
            for (kind, lengths) in kinds(source) {
                let head = [source.source.clone(), kind.to_owned()];
                table.row(head.into_iter().chain(spread(Some(lengths))));
            }
        }
        self.table(&table);
        if self.is_markdown {
            audit.sources.iter().for_each(|source| self.bars(source));
        }
    }

    /// Draws the lengths of a source: a bar a bin, beside the number of its rows.
    fn bars(&mut self, source: &SourceAudit) {
        let kinds: Vec<_> = kinds(source).collect();
        let names: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        let bins = kinds.iter().map(|(_, lengths)| lengths.histogram.len()).max().unwrap_or(0);
        self.heading(3, &format!("Rows by length: {}", source.source));
        let mut table = TextTable::new(&[&["length"], &*names].concat(), &[]);
        for bin in 0..bins {
            let cells = kinds.iter().map(|(_, lengths)| bar(&lengths.histogram, bin));
            table.row(std::iter::once(bin_name(bin)).chain(cells));
        }
        self.table(&table);
    }

    fn languages(&mut self, audit: &Audit) {
        self.heading(2, "Languages (rows)");
        for source in &audit.sources {
            let mut languages: Vec<_> = source.languages.iter().collect();
            languages.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
            let list: Vec<String> =
                languages.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
            self.line(&format!("{}: {}", source.source, list.join(", ")));
        }
    }

    fn identifiers(&mut self, audit: &Audit) {
        self.heading(2, "Patterns of personal health information (rows), HIPAA Safe Harbor");
        let names: Vec<&str> = audit.sources.iter().map(|source| &*source.source).collect();
        let mut table = TextTable::new(&["class", "recall on synthetic texts"], &names);
        for recall in &audit.identifier_recall {
            let Some(class) = recall.class else { continue };
            let cells = audit.sources.iter().map(|source| {
                source.identifiers.get(&class).map_or(0, |tally| tally.rows).to_string()
            });
            let head = [word(&class), recall_of(&audit.identifier_recall, class)];
            table.row(head.into_iter().chain(cells));
        }
        self.table(&table);
        if let Some(none) = audit.identifier_recall.iter().find(|recall| recall.class.is_none()) {
            let (found, texts) = (none.found, none.texts);
            self.line(&format!("found in {found} of {texts} synthetic texts that hold none"));
        }
        self.line("patterns find forms, not people: bare names and most places have none");
    }

    fn judged(&mut self, judged: &Judged) {
        self.heading(1, "Verdicts of people");
        let mut table = TextTable::new(
            &["source"],
            &["rows", "drawn", "judged", "errors", "error rate", "95 % Wilson"],
        );
        for source in &judged.sources {
            let counts = [source.rows, source.drawn, source.judged, source.errors];
            let rate = source.rate.map_or_else(|| "–".to_owned(), percent);
            let wilson = source.wilson.map_or_else(|| "–".to_owned(), interval);
            let cells = counts.iter().map(usize::to_string).chain([rate, wilson]);
            table.row(std::iter::once(source.source.clone()).chain(cells));
        }
        self.table(&table);
        match (judged.weighted_rate, judged.weighted_interval) {
            (Some(rate), Some(bounds)) => {
                self.line(&format!("all rows, weighted: {} [{}]", percent(rate), interval(bounds)))
            }
            _ => self.line("no weighted total: a source has no verdict"),
        }
        if let Some(seed) = judged.seed {
            self.line(&format!("drawn with seed {seed}"));
        }
        if judged.judged_twice > 0 {
            let kappa = judged.kappa.map_or_else(|| "not defined".into(), |k| format!("{k:.3}"));
            let twice = count(judged.judged_twice, "row");
            self.line(&format!("two raters on {twice}: Cohen's kappa {kappa}"));
        }
        if judged.settled > 0 {
            self.line(&format!("{} settled", count(judged.settled, "row")));
        }
        for place in &judged.disagreements {
            self.line(&format!("to be settled: {place}"));
        }
    }
}
