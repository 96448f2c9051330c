//! How deep the elements of a page are nested, found without building its tree.

/// Deeper than any post, and shallow enough that laying it out takes no time.
pub(super) const MOST: usize = 256;

/// Elements without an end, or ended by their like.
const FLAT: &str = "\
    br img hr wbr input meta link col area base embed source track param p li td th tr dt dd \
    option frame";

/// The other elements of HTML, obsolete ones too.
const DEEP: &str = "\
    a abbr acronym address article aside audio b bdi bdo big blockquote body button canvas \
    caption center cite code colgroup data datalist del details dfn dialog dir div dl em \
    fieldset figcaption figure font footer form frameset h1 h2 h3 h4 h5 h6 head header hgroup \
    html i iframe ins kbd label legend main map mark menu meter nav nobr noframes noscript \
    object ol optgroup output picture pre progress q rp rt ruby s samp script search section \
    select small span strike strong style sub summary sup svg table tbody template textarea \
    tfoot thead time title tt u ul var video";

/// Elements whose content is text, whatever stands in it.
const RAW: &str = "script style textarea title iframe";

/// Elements inside which `/` ends an element.
const FOREIGN: &str = "svg math";

/// Elements inside those in which HTML may stand again.
const ISLANDS: &str = "foreignobject desc title annotation";

/// Elements that end a drawing or a formula in which they stand.
/// Source: WHATWG HTML, 13.2.6.5, "The rules for parsing tokens in foreign content".
const ENDS_FOREIGN: &str = "\
    b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img \
    li listing menu meta nobr ol p pre ruby s small span strong strike sub sup table tt u ul \
    var font";

fn is_in(names: &str, name: &str) -> bool {
    names.split(' ').any(|one| one == name)
}

/// Returns whether `name` is an element of HTML.
pub(super) fn is_html(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    is_in(FLAT, &name) || is_in(DEEP, &name)
}

/// Returns how deep elements may be nested, those aside that end where the next one begins; just
/// above [`MOST`] for anything deeper.
pub(super) fn depth(html: &str) -> usize {
    let mut open: Vec<String> = Vec::new();
    let (mut deepest, mut rest) = (0, html);
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if rest.starts_with("<!--") {
            rest = behind_comment(rest);
            continue;
        }
        let is_end = rest.starts_with("</");
        rest = &rest[1 + usize::from(is_end)..];
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            continue;
        }
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..length].to_ascii_lowercase();
        let tag = &rest[..rest.find('>').unwrap_or(rest.len())];
        rest = &rest[tag.len()..];
        let mut foreign = open.iter().rposition(|open| is_in(FOREIGN, open));
        if let Some(root) = foreign.filter(|_| !is_end && is_in(ENDS_FOREIGN, &name))
            && !open[root..].iter().any(|open| is_in(ISLANDS, open))
        {
            open.truncate(root);
            foreign = None;
        }
        let is_foreign = foreign.is_some();
        if is_in(FLAT, &name) {
            continue;
        }
        if is_end {
            if let Some(place) = open.iter().rposition(|open| *open == name) {
                open.truncate(place);
            }
            continue;
        }
        if is_foreign && tag.ends_with('/') && !is_in(ENDS_FOREIGN, &name) {
            continue;
        }
        if is_in(RAW, &name) && !is_foreign {
            rest = behind_raw(rest, &name);
            continue;
        }
        open.push(name);
        deepest = deepest.max(open.len());
        if deepest > MOST {
            return deepest;
        }
    }
    deepest
}

/// What stands behind a comment that `text` begins with, nothing behind one that does not end.
fn behind_comment(text: &str) -> &str {
    let bytes = text.as_bytes();
    let ends = |at: usize| bytes[at..].starts_with(b"-->") || bytes[at..].starts_with(b"--!>");
    let end = (2..bytes.len()).find(|at| ends(*at));
    end.and_then(|end| text[end..].split_once('>')).map_or("", |(_, behind)| behind)
}

/// What stands behind the content of a raw element called `name`: its end tag, or nothing.
fn behind_raw<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        rest = &rest[at + 2..];
        if rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name)) {
            return rest;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_open_is_deep() {
        let cases = [
            ("", 0),
            ("a < b <3", 0),
            ("<p><b>x</b><i>y</i>", 1),
            ("<div><p><span>", 2),
            ("<DIV></div><div>", 1),
            ("<svg><path/><g><path/></g></svg>", 2),
            ("<path/><path/>", 2),
            ("<div/><div/>", 2),
            ("<script>if (a<b) {}</script><b>", 1),
            ("<!-- <b><b> --><i>", 1),
            ("<b></svg></b>", 1),
            ("<title>a<b></title>", 0),
            ("<!--><b><!-- <i> --!><u><!--", 2),
            ("<svg><b/></svg><svg><b/></svg>", 2),
            ("<svg><a><path/></a><path/></svg>", 2),
        ];
        for (html, expected) in cases {
            assert_eq!(depth(html), expected, "{html}");
        }
    }
}
