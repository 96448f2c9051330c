//! Pages of a wiki, as markup and as HTML: what stands in them is found, whatever is broken.

use medharness::corpus::sources::{Reject, SourceKind};

use crate::corpus_sources::{pairs, read_text, rejected};

const LONG: &str = "It comes of crystals of uric acid in a joint, mostly of the big toe, at night.";

fn wiki(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<mediawiki><page><title>Gout</title><ns>0</ns><revision><text>{text}</text></revision>\
         </page></mediawiki>"
    )
}

/// Everything up to the next `</ref>`, headings included, was taken for the reference.
#[test]
fn an_unclosed_reference_swallows_no_section() {
    let page = wiki(&format!(
        "{LONG}<ref>Smith 2001\n== Causes ==\n{LONG}<ref name=a>Jones</ref> So.\n== Care ==\n\
         {LONG}<ref name=\"a\" /> <gallery>\nx.png|A<ref>B</ref>\n</gallery><math>a<b</math>End.\n"
    ));
    let (_, rows) = read_text(SourceKind::WikidocTextbook, "w.xml", &page).unwrap();
    assert_eq!(
        pairs(&rows),
        [
            ("Gout", &*format!("{LONG}<ref>Smith 2001")),
            ("Gout: Causes", &*format!("{LONG} So.")),
            ("Gout: Care", &*format!("{LONG} End.")),
        ]
    );
}

/// `aged <x` began an element, and the rest of the line was its attributes.
#[test]
fn a_sign_before_a_letter_is_no_element() {
    let page = wiki(&format!("{LONG} If PaO2 <threshold or x<b and c>d, K<sub>m</sub> 5 &lt; 6."));
    let (_, rows) = read_text(SourceKind::WikidocTextbook, "w.xml", &page).unwrap();
    let expected = format!("{LONG} If PaO2 <threshold or x<b and c>d, Km 5 < 6.");
    assert_eq!(pairs(&rows), [("Gout", &*expected)]);
}

/// Each `<path/>` counted as one more level, and scripts and comments were searched for tags.
#[test]
fn drawings_scripts_and_comments_are_no_depth() {
    let drawing = format!("<svg>{}</svg>", "<path d=\"M0\"/>".repeat(400));
    let script = format!("<script>{}</script>", "if (a<b) c;".repeat(400));
    let style = format!("<style>{}</style>", "/* <b> */".repeat(400));
    let comment = format!("<!-- {} -->", "<div>".repeat(400));
    let page = format!(
        "<html><body>{drawing}{script}{style}{comment}<h2>What is gout?</h2><p>{LONG}</p></html>"
    );
    let (_, rows) = read_text(SourceKind::WikidocPatient, "w.html", page).unwrap();
    assert_eq!(pairs(&rows), [("What is gout?", LONG)]);
}

/// Such a page, post or card had an empty text, and counted as one without an answer.
#[test]
fn what_is_nested_too_deep_has_a_reason_of_its_own() {
    let deep = "<blockquote>".repeat(1000);
    let page = format!("<html><h2>What is gout?</h2>{deep}{LONG}</html>");
    let (counts, _) = read_text(SourceKind::WikidocPatient, "w.html", page).unwrap();
    assert_eq!(rejected(&counts), [(Reject::TooDeep, 1)]);
    let cards = format!("Q\t{deep}A\n");
    let (counts, _) = read_text(SourceKind::Flashcards, "d.txt", cards).unwrap();
    assert_eq!(rejected(&counts), [(Reject::TooDeep, 1)]);
    // Ends of other elements make it no shallower, and `/` closes no element of HTML.
    for trick in ["<blockquote></svg>", "<blockquote/>", "<svg><blockquote/></svg>"] {
        let cards = format!("#html:true\nQ\t{}A\n", trick.repeat(1000));
        let (counts, _) = read_text(SourceKind::Flashcards, "d.txt", cards).unwrap();
        assert_eq!(rejected(&counts), [(Reject::TooDeep, 1)], "{trick}");
    }
    let deep = deep.replace('<', "&lt;");
    let posts = format!(
        "<posts><row Id=\"1\" PostTypeId=\"1\" Score=\"1\" Title=\"T\" Body=\"{deep}\"/>\
         <row Id=\"2\" PostTypeId=\"2\" ParentId=\"1\" Score=\"9\" Body=\"A\"/>\
         <row Id=\"3\" PostTypeId=\"1\" Score=\"1\" Title=\"T\" Body=\"Q\"/>\
         <row Id=\"4\" PostTypeId=\"2\" ParentId=\"3\" Score=\"9\" Body=\"{deep}\"/></posts>"
    );
    let (counts, _) = read_text(SourceKind::StackExchange, "Posts.xml", posts).unwrap();
    assert_eq!(rejected(&counts), [(Reject::TooDeep, 2)]);
}

/// Only `<html` or a document type among the first 512 bytes counted as HTML.
#[test]
fn a_piece_of_html_is_read_as_html() {
    let body = format!("<h1>Gout</h1><h2>What is it?</h2><p>{LONG}<br>So.</p>");
    let late = format!("<!-- {} -->\n<!DOCTYPE html>{body}", "saved ".repeat(200));
    let other = format!("<?xml version=\"1.0\"?><div class=\"mw\">{body}</div>");
    for page in [body.clone(), late, other, format!("\u{feff}\n <div>{body}</div>")] {
        let (_, rows) = read_text(SourceKind::WikidocPatient, "page", &page).unwrap();
        assert_eq!(pairs(&rows), [("What is it?", &*format!("{LONG}\nSo."))], "{page}");
    }
    let named = format!("Gout. {body}");
    let (_, rows) = read_text(SourceKind::WikidocPatient, "page.htm", named).unwrap();
    assert_eq!(rows.len(), 1);
}

/// Headings of menus gave rows: "Gout: Tools".
#[test]
fn menus_around_an_article_are_none_of_it() {
    let menu = format!("<h3>Tools</h3><ul><li>{LONG}</li></ul>");
    let page = format!(
        "<!DOCTYPE html><html><body><div id=\"mw-navigation\">{menu}</div><h1 id=\"firstHeading\">Gout\
         </h1><div id=\"siteSub\">From the wiki</div><div id=\"mw-content-text\" lang=\"en\"><p>{LONG}</p>\
         <h2>Causes<span>[edit]</span></h2><p>{LONG}</p></div><div class=\"printfooter\">{menu}</div>\
         <div id=\"footer\">{menu}</div></body></html>"
    );
    let (_, rows) = read_text(SourceKind::WikidocTextbook, "page.html", &page).unwrap();
    assert_eq!(pairs(&rows), [("Gout", LONG), ("Gout: Causes", LONG)]);
    // Without MediaWiki's names a page is taken whole.
    let plain = page.replace("mw-content-text", "content");
    let (_, rows) = read_text(SourceKind::WikidocTextbook, "page.html", &plain).unwrap();
    assert!(rows.len() > 2, "{rows:?}");
}

#[test]
fn a_page_in_another_encoding_is_rejected_and_counted() {
    let mut page = b"<html><h1>M\xe9ni\xe8re</h1><p>".to_vec();
    page.extend(format!("{LONG}</p></html>").into_bytes());
    let (counts, rows) = read_text(SourceKind::WikidocTextbook, "page.html", page).unwrap();
    assert_eq!((rows.len(), rejected(&counts)), (0, vec![(Reject::NotUtf8, 1)]));
}
