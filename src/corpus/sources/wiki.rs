//! WikiDoc: a MediaWiki export, or a page as HTML; text under headings.
//!
//! The living textbook gives one row a section, asked for by the page's title and the heading (the
//! paper had a model make a question of it). Patient information gives one row a section whose
//! heading is a question already.

use std::{borrow::Cow, fs, io::Read, path::Path};

use super::{
    MIN_SECTION_WORDS, Reject, Sink, SourceError,
    html::{self, TooDeep},
    nesting, wikitext,
    xml::{Part, Xml},
};

/// Which sections give rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// All.
    Textbook,
    /// Those whose heading is a question.
    Patient,
}

/// Headings of sections that are no text.
const APPARATUS: [&str; 15] = [
    "references",
    "see also",
    "external links",
    "related chapters",
    "further reading",
    "sources",
    "source",
    "bibliography",
    "gallery",
    "notes",
    "videos",
    "additional resources",
    "links",
    "synonyms and keywords",
    "contents",
];

const QUESTION_WORDS: [&str; 18] = [
    "what", "how", "who", "whom", "whose", "when", "where", "which", "why", "is", "are", "can",
    "do", "does", "should", "will", "could", "may",
];

/// Bytes in which the first element is looked for.
const START: u64 = 1 << 16;

/// Reads the sections of `path`: HTML if its first element is one of HTML, or it is named so; else
/// MediaWiki XML.
pub(super) fn read(path: &Path, rule: Rule, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut start = Vec::new();
    fs::File::open(path).map_err(io)?.take(START).read_to_end(&mut start).map_err(io)?;
    let first = first_element(&String::from_utf8_lossy(&start));
    let is_named_so = path.extension().is_some_and(|end| {
        ["html", "htm", "xhtml"].iter().any(|html| end.eq_ignore_ascii_case(html))
    });
    if is_named_so || first.as_deref().is_some_and(nesting::is_html) {
        let page = fs::read(path).map_err(io)?;
        let Ok(page) = std::str::from_utf8(&page) else {
            sink.reject(Reject::NotUtf8);
            return Ok(());
        };
        return page_of_html(path, &article(page), rule, sink);
    }
    let mut xml = Xml::open(path, &["title"])?;
    let mut page = Page::default();
    let mut inside = String::new();
    while let Some(part) = xml.next()? {
        match part {
            Part::Start(name, _) => {
                match name.as_str() {
                    "page" => page = Page::default(),
                    "redirect" => page.is_redirect = true,
                    // A page can have several revisions; the last one counts.
                    "text" => page.text.clear(),
                    _ => {}
                }
                inside = name;
            }
            Part::Text(text) => match inside.as_str() {
                "title" => page.title.push_str(&text),
                "ns" => page.space.push_str(&text),
                "text" => page.text.push_str(&text),
                _ => {}
            },
            Part::End(name) => {
                inside.clear();
                if name == "page" {
                    page.sections(rule, sink);
                }
            }
        }
    }
    Ok(())
}

#[derive(Default)]
struct Page {
    title: String,
    space: String,
    text: String,
    is_redirect: bool,
}

impl Page {
    fn sections(&self, rule: Rule, sink: &mut Sink<'_>) {
        if !matches!(self.space.trim(), "" | "0") {
            return sink.reject(Reject::OtherPage);
        }
        let start = self.text.trim_start().get(..9).unwrap_or_default();
        if self.is_redirect || start.eq_ignore_ascii_case("#redirect") {
            return sink.reject(Reject::Redirect);
        }
        for (heading, text) in wikitext::sections(&self.text) {
            match text {
                Ok(text) => section(self.title.trim(), &heading, &text, rule, sink),
                Err(TooDeep) => sink.reject(Reject::TooDeep),
            }
        }
    }
}

/// The name of the first element behind comments, declarations and document types; `html` for the
/// type that says so.
fn first_element(start: &str) -> Option<String> {
    let mut rest = start;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        if rest.starts_with("!--") {
            rest = &rest[rest.find("-->")? + 3..];
            continue;
        }
        if rest.get(..13).is_some_and(|kind| kind.eq_ignore_ascii_case("!doctype html")) {
            return Some("html".to_owned());
        }
        let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        if !name.is_empty() {
            return Some(name);
        }
    }
}

fn section(title: &str, heading: &str, text: &str, rule: Rule, sink: &mut Sink<'_>) {
    let plain = heading.trim().trim_end_matches(':').to_lowercase();
    if APPARATUS.contains(&plain.as_str()) {
        return sink.reject(Reject::Apparatus);
    }
    let is_question = heading.trim_end().ends_with('?')
        || plain.split(' ').next().is_some_and(|word| QUESTION_WORDS.contains(&word));
    if rule == Rule::Patient && !is_question {
        return sink.reject(Reject::NotAQuestion);
    }
    if text.split_whitespace().count() < MIN_SECTION_WORDS {
        return sink.reject(Reject::TooShort);
    }
    let question = match (rule, heading) {
        (Rule::Patient, _) => heading.to_owned(),
        (Rule::Textbook, "") => title.to_owned(),
        (Rule::Textbook, _) => format!("{title}: {heading}"),
    };
    sink.row(format!("{title}#{heading}"), &question, text);
}

/// What MediaWiki writes behind an article's text.
const BEHIND: [&str; 4] =
    ["class=\"printfooter\"", "id=\"catlinks\"", "id=\"mw-navigation\"", "id=\"footer\""];

/// Returns heading and text of a page as MediaWiki serves it, without menus; any other page whole.
fn article(page: &str) -> Cow<'_, str> {
    let Some(text) = page.find("id=\"mw-content-text\"") else { return page.into() };
    let begin = page[..text].rfind('<').unwrap_or(text);
    let end = BEHIND.iter().filter_map(|mark| page[text..].find(mark)).min();
    let end = end.and_then(|end| page[..text + end].rfind('<')).unwrap_or(page.len());
    let heading = page[..begin].rfind("<h1").and_then(|start| {
        let length = page[start..begin].find("</h1>")? + "</h1>".len();
        Some(&page[start..start + length])
    });
    format!("{}{}", heading.unwrap_or_default(), &page[begin..end]).into()
}

/// Sections of a page: text between the headings that [`html::text`] marks.
fn page_of_html(
    path: &Path,
    page: &str,
    rule: Rule,
    sink: &mut Sink<'_>,
) -> Result<(), SourceError> {
    let Ok(text) = html::text(page) else {
        sink.reject(Reject::TooDeep);
        return Ok(());
    };
    let mut title = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    let (mut heading, mut body) = (String::new(), String::new());
    let mut close = |title: &str, heading: &str, body: &mut String| {
        if !(heading.is_empty() && body.trim().is_empty()) {
            section(title, heading, body.trim(), rule, sink);
        }
        body.clear();
    };
    for line in text.lines() {
        let depth = line.len() - line.trim_start_matches('#').len();
        let marked = line[depth..].strip_prefix(' ').filter(|_| (1..=6).contains(&depth));
        let Some(words) = marked else {
            body.push_str(line);
            body.push('\n');
            continue;
        };
        let words =
            words.trim().trim_end_matches("[edit]").trim_end_matches("[edit | edit source]");
        close(&title, &heading, &mut body);
        if depth == 1 {
            title = words.trim().to_owned();
            heading.clear();
        } else {
            heading = words.trim().to_owned();
        }
    }
    close(&title, &heading, &mut body);
    Ok(())
}
