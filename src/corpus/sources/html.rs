//! HTML to text, by a library that builds the tree as a browser does.

use html2text::{config, render::TextDecorator};

/// Wider than any paragraph: lines are broken where the page breaks them.
const WIDTH: usize = 100_000;
/// Deeper than any post, and shallow enough that laying it out takes no time.
const MAX_DEPTH: usize = 256;
/// Elements without an end, or ended by their like.
const FLAT: [&str; 20] = [
    "br", "img", "hr", "wbr", "input", "meta", "link", "col", "area", "base", "embed", "source",
    "p", "li", "td", "th", "tr", "dt", "dd", "option",
];
/// What the library draws over the whole width for a rule, and between the cells of a table.
const DRAWN: [char; 6] = ['─', '│', '┬', '┴', '┼', '━'];

/// Returns the text of a piece of HTML: paragraphs apart, list items marked, links and emphasis as
/// plain words, headings behind as many `#` as they are deep. Text that is no HTML stays; elements
/// nested deeper than [`MAX_DEPTH`] have no text.
pub(super) fn text(html: &str) -> String {
    if !html.contains(['<', '&']) {
        return tidy(html);
    }
    if depth(html) > MAX_DEPTH {
        return String::new();
    }
    let plain = config::with_decorator(Words)
        .no_link_wrapping()
        .no_table_borders()
        .allow_width_overflow()
        .empty_img_mode(config::ImageRenderMode::IgnoreEmpty);
    match plain.string_from_read(html.as_bytes(), WIDTH) {
        Ok(text) => tidy(&text),
        // Only a width that is too narrow fails, or nesting without end.
        Err(_) => String::new(),
    }
}

/// Returns how deep elements may be nested, those aside that end where the next one begins.
fn depth(html: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for tag in html.split('<').skip(1) {
        let is_end = tag.starts_with('/');
        let name = tag.trim_start_matches('/').split(|c: char| !c.is_ascii_alphanumeric()).next();
        let name = name.unwrap_or_default().to_ascii_lowercase();
        if name.is_empty() || FLAT.contains(&name.as_str()) {
            continue;
        }
        open = if is_end { open.saturating_sub(1) } else { open + 1 };
        deepest = deepest.max(open);
    }
    deepest
}

/// Words as they stand, without marks for links and emphasis.
struct Words;

/// Nothing before, nothing behind.
const PLAIN: (String, ()) = (String::new(), ());

impl TextDecorator for Words {
    type Annotation = ();

    fn decorate_link_start(&mut self, _url: &str) -> (String, ()) {
        PLAIN
    }
    fn decorate_link_end(&mut self) -> String {
        String::new()
    }
    fn decorate_em_start(&self) -> (String, ()) {
        PLAIN
    }
    fn decorate_em_end(&self) -> String {
        String::new()
    }
    fn decorate_strong_start(&self) -> (String, ()) {
        PLAIN
    }
    fn decorate_strong_end(&self) -> String {
        String::new()
    }
    fn decorate_strikeout_start(&self) -> (String, ()) {
        PLAIN
    }
    fn decorate_strikeout_end(&self) -> String {
        String::new()
    }
    fn decorate_code_start(&self) -> (String, ()) {
        PLAIN
    }
    fn decorate_code_end(&self) -> String {
        String::new()
    }
    fn decorate_preformat_first(&self) {}
    fn decorate_preformat_cont(&self) {}
    fn decorate_image(&mut self, _src: &str, title: &str) -> (String, ()) {
        (title.to_owned(), ())
    }
    fn header_prefix(&self, level: usize) -> String {
        "#".repeat(level) + " "
    }
    fn quote_prefix(&self) -> String {
        "> ".to_owned()
    }
    fn unordered_item_prefix(&self) -> String {
        "* ".to_owned()
    }
    fn ordered_item_prefix(&self, number: i64) -> String {
        format!("{number}. ")
    }
    fn make_subblock_decorator(&self) -> Self {
        Self
    }
    fn decorate_superscript_start(&self) -> (String, ()) {
        ("^".to_owned(), ())
    }
    fn decorate_superscript_end(&self) -> String {
        String::new()
    }
}

/// Returns the text without blanks at the ends of lines, drawn lines, and runs of empty lines.
pub(super) fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines() {
        let line = line.trim_end();
        if !line.is_empty() && line.chars().all(|c| DRAWN.contains(&c)) {
            continue;
        }
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !tidy.is_empty() {
            tidy.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        tidy.push_str(line);
    }
    tidy.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_text() {
        let html = "<p>Store it <strong>cool</strong> &amp; dry, see <a href=\"http://x.y\">this \
            page</a>.</p>\n\n<hr><p>5 &lt; 6</p><ul><li>one</li><li>two</li></ul>";
        assert_eq!(text(html), "Store it cool & dry, see this page.\n\n5 < 6\n* one\n* two");
        assert_eq!(text("no markup, 5 µg"), "no markup, 5 µg");
        assert_eq!(text("a < b and c > d"), "a < b and c > d");
        assert_eq!(text("10<sup>9</sup>/l, <img src=x alt=heart>"), "10⁹/l, heart");
        assert_eq!(text("<p>unclosed <b>tags"), "unclosed tags");
        assert_eq!(text(&("<p>".repeat(1000) + "x")), "x");
        assert_eq!(text(&("<blockquote>".repeat(100_000) + "x")), "");
        assert_eq!(text("<img src=x onerror=alert(1)><script>alert(1)</script>"), "");
    }
}
