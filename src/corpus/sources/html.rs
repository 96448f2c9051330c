//! HTML to text, by a library that builds the tree as a browser does.

use std::sync::LazyLock;

use html2text::{config, render::TextDecorator};
use regex::Regex;

use super::nesting;

/// Wider than any paragraph: lines are broken where the page breaks them.
const WIDTH: usize = 100_000;
/// What the library draws over the whole width for a rule, and between the cells of a table.
const DRAWN: [char; 6] = ['─', '│', '┬', '┴', '┼', '━'];

/// A whole tag: a name (those of a word processor have a colon), and attributes with values.
static TAG: LazyLock<Regex> = LazyLock::new(|| {
    let value = r#"(?:"[^"]*"|'[^']*'|[^\s"'<>=]+)"#;
    let attribute = format!(r"\s+(?:[a-zA-Z:-]+\s*=\s*{value}|nowrap|noshade|compact|controls)");
    let name = r"[a-zA-Z][a-zA-Z0-9]*(?::[a-zA-Z0-9]+)?";
    Regex::new(&format!(r"^</?({name})(?:{attribute})*\s*/?>")).expect("a fixed pattern")
});

/// Elements are nested deeper than any post or page does, and than can be laid out in no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooDeep;

/// Returns the text of a piece of HTML: paragraphs apart, list items marked, links and emphasis as
/// plain words, headings behind as many `#` as they are deep.
///
/// # Errors
///
/// [`TooDeep`] if elements are nested deeper than [`nesting::MOST`].
pub(super) fn text(html: &str) -> Result<String, TooDeep> {
    if !html.contains(['<', '&']) {
        return Ok(tidy(html));
    }
    if nesting::depth(html) > nesting::MOST {
        return Err(TooDeep);
    }
    let plain = config::with_decorator(Words)
        .no_link_wrapping()
        .no_table_borders()
        .allow_width_overflow()
        .empty_img_mode(config::ImageRenderMode::IgnoreEmpty);
    // Only a width that is too narrow fails, or nesting without end.
    let text = plain.string_from_read(html.as_bytes(), WIDTH).map_err(|_| TooDeep)?;
    Ok(tidy(&text))
}

/// Returns the text of what may hold HTML and need not: whole tags of HTML and comments are markup,
/// any other `<` stands for itself.
///
/// # Errors
///
/// As [`text`].
pub(super) fn mixed(markup: &str) -> Result<String, TooDeep> {
    let mut html = String::with_capacity(markup.len());
    let (mut rest, mut comments_end) = (markup, true);
    while let Some(at) = rest.find('<') {
        html.push_str(&rest[..at]);
        rest = &rest[at..];
        let is_markup = |name: &str| nesting::is_html(name) || name.contains(':');
        let length = match TAG.captures(rest).filter(|tag| is_markup(&tag[1])) {
            Some(tag) => tag[0].len(),
            None if comments_end && rest.starts_with("<!--") => {
                let end = rest.find("-->");
                // Without an end behind this one there is none behind any other.
                comments_end = end.is_some();
                end.map_or(0, |end| end + 3)
            }
            None => 0,
        };
        if length == 0 {
            html.push_str("&lt;");
            rest = &rest[1..];
        } else {
            html.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    html.push_str(rest);
    text(&html)
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
        assert_eq!(
            text(html).unwrap(),
            "Store it cool & dry, see this page.\n\n5 < 6\n* one\n* two"
        );
        assert_eq!(text("no markup, 5 µg").unwrap(), "no markup, 5 µg");
        assert_eq!(text("a < b and c > d").unwrap(), "a < b and c > d");
        assert_eq!(text("10<sup>9</sup>/l, <img src=x alt=heart>").unwrap(), "10⁹/l, heart");
        assert_eq!(text("<p>unclosed <b>tags").unwrap(), "unclosed tags");
        assert_eq!(text(&("<p>".repeat(1000) + "x")).unwrap(), "x");
        assert_eq!(text(&("<blockquote>".repeat(100_000) + "x")), Err(TooDeep));
        assert_eq!(text("<img src=x onerror=alert(1)><script>alert(1)</script>").unwrap(), "");
    }
    #[test]
    fn of_what_may_be_html_only_whole_tags_are() {
        let cases = [
            ("a <b and c> d", "a <b and c> d"),
            ("<b>a</b> <i class=x id='y z'>b</i><br/>c", "a b\nc"),
            ("<o:p>a</o:p><td nowrap>b", "ab"),
            ("p<alpha> &lt; 5 <!-- x --> <!-- y", "p<alpha> < 5 <!-- y"),
        ];
        for (markup, expected) in cases {
            assert_eq!(mixed(markup).unwrap(), expected, "{markup}");
        }
        assert!(mixed(&"<!-- ".repeat(200_000)).is_ok());
        assert!(text(&"<!-- -->".repeat(100_000)).is_ok());
    }
}
