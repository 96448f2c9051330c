//! Anki: "Notes in Plain Text", fields between tabs, quoted where they hold tabs or line breaks.
//!
//! Newer exports begin with lines such as `#separator:tab` and `#tags column:3`; older ones do not,
//! and a card may begin with `#` as well. The first field that is neither tag nor bookkeeping is the
//! front, the second the back. A cloze note (`{{c1::answer::hint}}`) asks with its gaps open and
//! answers with them filled. `#html:true` and `false` are obeyed; without either, whole tags of HTML
//! are markup and everything else is text.

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Read},
    path::Path,
    sync::LazyLock,
};

use regex::Regex;

use super::{
    Reject, Sink, SourceError,
    cloze::{Cloze, Unbalanced, cloze},
    html::{self, TooDeep},
    quotes::{Quotes, with_end},
};

static IMAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)<img\b|\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?)\b").expect("a fixed pattern")
});
static MEDIA: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[sound:[^\]]*\]|\[anki:[^\]]*\]").expect("a fixed pattern"));
/// Lines of the heading with a value. Source: Anki's manual, "File Headers"; the last two are newer.
const DIRECTIVES: [&str; 12] = [
    "separator",
    "html",
    "tags",
    "columns",
    "notetype",
    "deck",
    "notetype column",
    "deck column",
    "tags column",
    "guid column",
    "if matches",
    "match scope",
];

/// What the heading says.
struct Head {
    separator: u8,
    /// Columns (from 1) that hold no text of the card.
    set_aside: Vec<usize>,
    is_html: Option<bool>,
}

/// Reads the cards that have no image.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(io)?);
    let (head, first) = head(&mut file).map_err(io)?;
    let mut cards = csv::ReaderBuilder::new()
        .delimiter(head.separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(with_end(Cursor::new(first).chain(file)));
    let mut card = csv::ByteRecord::new();
    let (mut number, mut quotes) = (0, Quotes::default());
    loop {
        match cards.read_byte_record(&mut card) {
            Ok(false) => return Err(quotes.open(path)),
            Ok(true) if quotes.is_end(&card, path)? => return Ok(()),
            Ok(true) => {}
            Err(source) => return Err(SourceError::Csv { path: path.to_owned(), source }),
        }
        number += 1;
        let Ok(fields) = card.iter().map(std::str::from_utf8).collect::<Result<Vec<_>, _>>() else {
            sink.reject(Reject::Malformed);
            continue;
        };
        let fields: Vec<&str> = (1..)
            .zip(fields)
            .filter(|(column, _)| !head.set_aside.contains(column))
            .map(|(_, field)| field)
            .collect();
        let (front, back) = (fields.first().copied(), fields.get(1).copied().unwrap_or_default());
        let Some(front) = front else {
            sink.reject(Reject::NoQuestion);
            continue;
        };
        if fields.iter().any(|field| IMAGE.is_match(field)) {
            sink.reject(Reject::Image);
            continue;
        }
        let plain = |field: &str| head.plain(field);
        let (question, answer) = match cloze(front) {
            Err(Unbalanced) => {
                sink.reject(Reject::BrokenCloze);
                continue;
            }
            Ok(Some(Cloze { open, filled })) => (plain(&open), plain(&filled)),
            Ok(None) => (plain(front), plain(back)),
        };
        match question.and_then(|question| Ok((question, answer?))) {
            Ok((question, answer)) => sink.row(number.to_string(), &question, &answer),
            Err(TooDeep) => sink.reject(Reject::TooDeep),
        }
    }
}

impl Head {
    fn plain(&self, field: &str) -> Result<String, TooDeep> {
        let field = MEDIA.replace_all(field, "");
        match self.is_html {
            Some(true) => html::text(&field),
            Some(false) => Ok(html::tidy(&field)),
            None => html::mixed(&field),
        }
    }
}

/// Reads the lines of the heading; returns what they say, and the line read behind them.
fn head(file: &mut impl BufRead) -> std::io::Result<(Head, Vec<u8>)> {
    let mut head = Head { separator: b'\t', set_aside: Vec::new(), is_html: None };
    if file.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
        file.consume(3);
    }
    loop {
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_lowercase();
        let directive = text.strip_prefix('#').and_then(|text| text.split_once(':'));
        let Some((name, value)) = directive.filter(|(name, _)| DIRECTIVES.contains(&name.trim()))
        else {
            return Ok((head, line));
        };
        match name.trim() {
            "separator" => head.separator = separator(value),
            "html" => head.is_html = value.trim().parse().ok(),
            "tags column" | "deck column" | "notetype column" | "guid column" => {
                head.set_aside.extend(value.trim().parse::<usize>());
            }
            _ => {}
        }
    }
}

/// The byte between fields: a name, or the character itself.
fn separator(value: &str) -> u8 {
    match value.trim() {
        "comma" => b',',
        "semicolon" => b';',
        "pipe" => b'|',
        "space" => b' ',
        "colon" => b':',
        _ => match value.as_bytes() {
            [byte] => *byte,
            _ => b'\t',
        },
    }
}
