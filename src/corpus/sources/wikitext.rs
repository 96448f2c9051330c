//! MediaWiki's markup to text: templates, tables, references and files out, links to their words.

use std::sync::LazyLock;

use regex::Regex;

use super::html::{self, TooDeep};

static COMMENT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)<!--.*?-->|__[A-Z]+__").expect("a fixed pattern"));
/// Tags of elements that are no text, tags of MediaWiki's own around text, and headings.
static APART: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?im)<(/?)(ref|gallery|math|nowiki|timeline)\b([^<>]*)>|</?(?:references|poem|section|(?:no|only)?include(?:only)?|imagemap|inputbox|syntaxhighlight)\b[^<>]*>|^=+[^=\n].*$",
    )
    .expect("a fixed pattern")
});
static EXTERNAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[(?:https?:)?//[^\s\]]+(?:\s+([^\]]*))?\]").expect("a fixed pattern")
});

/// A heading, and the text under it.
pub(super) type Section = (String, Result<String, TooDeep>);

/// Returns the sections of a page, each with its heading; the text above the first heading has none.
pub(super) fn sections(page: &str) -> Vec<Section> {
    let page = without_apart(&COMMENT.replace_all(page, ""));
    let page = without_nested(&without_nested(&page, "{{", "}}"), "{|", "|}");
    let mut sections = vec![(String::new(), String::new())];
    for line in page.lines() {
        if let Some(words) = heading(line) {
            let plain = text(words).unwrap_or_else(|TooDeep| words.to_owned());
            sections.push((plain.replace('\n', " "), String::new()));
        } else if let Some((_, body)) = sections.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    let texts = sections.into_iter().map(|(heading, body)| (heading, text(&body)));
    let is_nothing = |body: &Result<String, TooDeep>| body.as_deref().is_ok_and(str::is_empty);
    texts.filter(|(heading, body)| !(heading.is_empty() && is_nothing(body))).collect()
}

/// The words of `== heading ==`.
fn heading(line: &str) -> Option<&str> {
    let line = line.trim_end();
    let depth = line.len() - line.trim_start_matches('=').len();
    let closing = line.len() - line.trim_end_matches('=').len();
    let depth = depth.min(closing).min(6);
    (depth >= 1 && line.len() > 2 * depth).then(|| line[depth..line.len() - depth].trim())
}

/// Removes references, galleries and formulas with what is in them. One that does not end before the
/// next heading, or before the next of its kind, is broken: its tag stays, and so does the text.
fn without_apart(page: &str) -> String {
    let mut open: Vec<(String, usize)> = Vec::new();
    let mut cuts: Vec<(usize, usize)> = Vec::new();
    for tag in APART.captures_iter(page) {
        let place = tag.get_match();
        let Some(name) = tag.get(2) else {
            match place.as_str().starts_with('=') {
                true => open.clear(),
                false => cuts.push((place.start(), place.end())),
            }
            continue;
        };
        let name = name.as_str().to_ascii_lowercase();
        let own = open.iter().rposition(|(open, _)| *open == name);
        match (&tag[1], tag[3].ends_with('/')) {
            ("", true) => cuts.push((place.start(), place.end())),
            ("", false) => {
                open.truncate(own.unwrap_or(open.len()));
                open.push((name, place.start()));
            }
            _ => {
                if let Some(own) = own {
                    cuts.push((open[own].1, place.end()));
                    open.truncate(own);
                }
            }
        }
    }
    cuts.sort_unstable();
    let (mut kept, mut from) = (String::with_capacity(page.len()), 0);
    for (start, end) in cuts {
        kept.push_str(page.get(from..start).unwrap_or_default());
        from = from.max(end);
    }
    kept.push_str(&page[from..]);
    kept
}

fn text(markup: &str) -> Result<String, TooDeep> {
    let links = internal_links(markup);
    let links = EXTERNAL.replace_all(&links, "$1");
    let lines = links.lines().map(|line| {
        let list = line.trim_start_matches(['*', '#', ':', ';']);
        match line.len() - list.len() {
            0 => line.to_owned(),
            _ if line.starts_with(['*', '#']) => format!("* {}", list.trim_start()),
            _ => list.trim_start().to_owned(),
        }
    });
    let lines: Vec<String> = lines.collect();
    let plain = lines.join("\n").replace("'''''", "").replace("'''", "").replace("''", "");
    // What HTML there is left is inline; line breaks of the markup are kept by hand.
    let paragraphs = plain.lines().map(|line| Ok(html::mixed(line)?.replace('\n', " ")));
    Ok(html::tidy(&paragraphs.collect::<Result<Vec<_>, _>>()?.join("\n")))
}

/// Replaces `[[target|words]]` by its words, and drops files and categories.
fn internal_links(markup: &str) -> String {
    let mut text = String::with_capacity(markup.len());
    let mut rest = markup;
    while let Some(start) = rest.find("[[") {
        text.push_str(&rest[..start]);
        let Some(length) = closing(&rest[start..]) else {
            text.push_str(&rest[start..]);
            return text;
        };
        let inner = &rest[start + 2..start + length - 2];
        let space = inner.split(':').next().unwrap_or_default().trim().to_lowercase();
        let is_file =
            inner.contains(':') && matches!(&*space, "file" | "image" | "category" | "media");
        if !is_file {
            text.push_str(inner.rsplit('|').next().unwrap_or(inner));
        }
        rest = &rest[start + length..];
    }
    text.push_str(rest);
    text
}

/// Length of the `[[…]]` that `text` begins with, nested ones included.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = text.as_bytes();
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"[[" => (depth, at) = (depth + 1, at + 2),
            b"]]" => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Removes everything between `open` and `close`, nested ones included; what is never closed stays.
/// Linear in the text's length, whatever is in it.
fn without_nested(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut starts: Vec<usize> = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix(open) {
            starts.push(kept.len());
            kept.push_str(open);
            rest = behind;
        } else if let (Some(behind), Some(start)) = (rest.strip_prefix(close), starts.last()) {
            kept.truncate(*start);
            starts.pop();
            rest = behind;
        } else {
            kept.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text_under_headings() {
        let page = "{{Infobox|name={{nested}}}}'''Gout''' is [[arthritis|a joint disease]].<ref>A, \
            [[B]]</ref>\n[[File:x.png|thumb|A [[joint]]]]\n== Causes ==\n* [[Uric acid]], 5 &lt; 6\n\
            {| class=x\n| cell\n|}\n=== What helps? ===\nSee [http://x.y this].\n";
        assert_eq!(
            sections(page),
            [
                ("".into(), Ok("Gout is a joint disease.".into())),
                ("Causes".into(), Ok("* Uric acid, 5 < 6".into())),
                ("What helps?".into(), Ok("See this.".into())),
            ]
        );
    }

    #[test]
    fn tags_around_text_leave_it() {
        let page = "<noinclude><poem>a</poem></noinclude> b<section begin=x /><references/>";
        assert_eq!(sections(page), [("".into(), Ok("a b".into()))]);
    }

    #[test]
    fn broken_markup_stays_text() {
        assert_eq!(sections("a [[b"), [("".into(), Ok("a [[b".into()))]);
        assert_eq!(sections("a {{b"), [("".into(), Ok("a {{b".into()))]);
        assert_eq!(sections("a }} b ]] c"), [("".into(), Ok("a }} b ]] c".into()))]);
        assert_eq!(sections("=="), [("".into(), Ok("==".into()))]);
        assert_eq!(sections("=é="), [("é".into(), Ok("".into()))]);
        let open = format!("{}{}", "{{".repeat(100_000), "[[".repeat(100_000));
        assert_eq!(sections(&open), [("".into(), Ok(open.clone()))]);
    }
}
