//! A command's result as a screen of text or as Markdown, from one description.

use std::fmt::Display;

use comfy_table::{Cell, CellAlignment, Table, presets};

/// Text or Markdown under construction.
pub(super) struct Page {
    text: String,
    markdown: bool,
}

impl Page {
    /// Starts an empty page.
    pub(super) fn new(markdown: bool) -> Self {
        Self { text: String::new(), markdown }
    }

    /// Returns what was written.
    pub(super) fn finish(self) -> String {
        self.text
    }

    /// Adds a heading of `level` 1 to 3.
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        if self.markdown {
            self.text += &"#".repeat(level);
            self.text.push(' ');
        }
        self.text += &self.plain(text);
        self.text.push('\n');
        if self.markdown {
            self.text.push('\n');
        }
    }

    /// Adds a paragraph of one line.
    pub(super) fn line(&mut self, text: impl Display) {
        self.text += &self.plain(text);
        self.text += if self.markdown { "\n\n" } else { "\n" };
    }

    /// Adds a list.
    pub(super) fn list(&mut self, items: impl IntoIterator<Item = impl Display>) {
        for item in items {
            self.text += &format!("- {}\n", self.plain(item));
        }
    }

    /// Adds names with their values.
    pub(super) fn facts<'a>(&mut self, facts: impl IntoIterator<Item = (&'a str, String)>) {
        for (name, value) in facts {
            let value = self.plain(value);
            self.text += &match self.markdown {
                true => format!("- {name}: {value}\n"),
                false => format!("{name:<10}{value}\n"),
            };
        }
    }

    /// One line without markup of its own: names and ids come from files.
    fn plain(&self, text: impl Display) -> String {
        let mut plain = String::new();
        for c in text.to_string().chars() {
            if self.markdown && "\\`*_<>|#[]".contains(c) {
                plain.push('\\');
            }
            plain.push(if c.is_control() { ' ' } else { c });
        }
        plain
    }

    /// Adds a table; every column but the first is aligned to the right.
    pub(super) fn table(&mut self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let mut table = Table::new();
        table.load_style(if self.markdown { presets::ASCII_MARKDOWN } else { presets::NOTHING });
        let align = |index: usize| {
            if index == 0 { CellAlignment::Left } else { CellAlignment::Right }
        };
        let cells = |texts: Vec<String>| {
            let cell = |(index, text)| Cell::new(text).set_alignment(align(index));
            texts.into_iter().enumerate().map(cell).collect::<Vec<_>>()
        };
        table.set_header(cells(header.iter().map(|&name| name.to_owned()).collect()));
        for row in rows {
            table.add_row(cells(row.into_iter().map(|text| self.plain(text)).collect()));
        }
        for line in table.lines() {
            self.text += line.trim_end();
            self.text.push('\n');
        }
    }
}

/// Prints a share as a percentage with one digit, or `-`.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1}", 100.0 * share))
}

/// Prints a range of shares as percentages.
pub(super) fn range([low, high]: [f64; 2]) -> String {
    format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high)
}

/// Prints a p value, the small ones with two significant digits.
pub(super) fn p_value(p: f64) -> String {
    if p == 0.0 || p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}
