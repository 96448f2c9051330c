//! A table of text that can be printed in a terminal or as Markdown.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};

/// Columns of words, then columns of numbers, then rows.
#[derive(Debug, Clone)]
pub struct TextTable {
    heads: Vec<String>,
    words: usize,
    rows: Vec<Vec<String>>,
}

/// A heading, a line, the rows.
const TERMINAL: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

impl TextTable {
    /// Returns a table without rows; words are set flush left, numbers flush right.
    pub fn new(words: &[&str], numbers: &[&str]) -> Self {
        let heads = words.iter().chain(numbers).map(|&head| head.to_owned()).collect();
        Self { heads, words: words.len(), rows: Vec::new() }
    }

    /// Adds a row; missing cells at its end are empty.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the headings.
    pub fn heads(&self) -> &[String] {
        &self.heads
    }

    /// Returns how many columns, from the left, are words.
    pub fn words(&self) -> usize {
        self.words
    }

    /// Returns the cells, row by row; a row may lack cells at its end.
    pub fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Returns the table for a terminal, ending in a line feed.
    pub fn text(&self) -> String {
        self.draw(TERMINAL, |cell| cell.to_owned())
    }

    /// Returns the table in Markdown, ending in a line feed. Cells cannot end their column, and
    /// hold no HTML.
    pub fn markdown(&self) -> String {
        self.draw(presets::ASCII_MARKDOWN, escape)
    }

    fn draw(&self, style: TableStyle, cell: impl Fn(&str) -> String) -> String {
        let mut table = Table::new();
        table.force_no_tty();
        table.load_style(style);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.heads.iter().map(|head| cell(head)));
        for row in &self.rows {
            table.add_row(row.iter().map(|text| cell(text)));
        }
        for column in self.words..self.heads.len() {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt() + "\n"
    }
}

/// Returns text that Markdown shows as it stands, on one line.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' => escaped.push_str("\\|"),
            '<' => escaped.push_str("&lt;"),
            '\n' | '\r' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_break_its_table() {
        let mut table = TextTable::new(&["name"], &["n"]);
        table.row(["a | <b>\nc", "1"]);
        assert_eq!(table.markdown().lines().count(), 3);
        assert!(table.markdown().contains("a \\| &lt;b> c"));
    }

    #[test]
    fn numbers_are_set_flush_right() {
        let mut table = TextTable::new(&["name"], &["n"]);
        table.row(["a", "1"]);
        table.row(["b", "100"]);
        assert!(table.text().lines().any(|line| line.ends_with("  1")), "{}", table.text());
    }
}
