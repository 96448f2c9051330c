//! Anki: "Notes in Plain Text", fields between tabs, quoted where they hold tabs or line breaks.
//!
//! Newer exports begin with lines such as `#separator:tab` and `#tags column:3`; older ones do not.
//! The first field that is neither tag nor bookkeeping is the front, the second the back. A cloze
//! note (`{{c1::answer::hint}}`) asks with its gaps open and answers with them filled.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    sync::LazyLock,
};

use regex::{Captures, Regex};

use super::{
    Reject, Sink, SourceError, html,
    quotes::{Quotes, with_end},
};

static IMAGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)<img\b|\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?)\b").expect("a fixed pattern")
});
static MEDIA: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[sound:[^\]]*\]|\[anki:[^\]]*\]").expect("a fixed pattern"));
static GAP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)\{\{c\d+::(.*?)(?:::(.*?))?\}\}").expect("a fixed pattern"));

/// Reads the cards that have no image.
pub(super) fn read(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(io)?);
    let (separator, set_aside) = head(&mut file).map_err(io)?;
    let mut cards = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(with_end(file));
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
            .filter(|(column, _)| !set_aside.contains(column))
            .map(|(_, field)| field)
            .collect();
        let (front, back) = (fields.first().copied(), fields.get(1).copied().unwrap_or_default());
        let Some(front) = front else {
            sink.reject(Reject::NoQuestion);
            continue;
        };
        if fields.iter().any(|field| IMAGE.is_match(field)) {
            sink.reject(Reject::Image);
        } else if GAP.is_match(front) {
            let open = GAP.replace_all(front, |gap: &Captures<'_>| {
                gap.get(2).map_or_else(|| "[...]".to_owned(), |hint| format!("[{}]", hint.as_str()))
            });
            sink.row(number.to_string(), &plain(&open), &plain(&GAP.replace_all(front, "$1")));
        } else {
            sink.row(number.to_string(), &plain(front), &plain(back));
        }
    }
}

fn plain(field: &str) -> String {
    html::text(&MEDIA.replace_all(field, ""))
}

/// Reads the lines that begin with `#`, and returns the separator and the columns (from 1) that
/// hold no text of the card.
fn head(file: &mut impl BufRead) -> std::io::Result<(u8, Vec<usize>)> {
    let (mut separator, mut set_aside) = (b'\t', Vec::new());
    if file.fill_buf()?.starts_with(b"\xEF\xBB\xBF") {
        file.consume(3);
    }
    let mut line = Vec::new();
    while file.fill_buf()?.first() == Some(&b'#') {
        line.clear();
        file.read_until(b'\n', &mut line)?;
        let text = String::from_utf8_lossy(&line).trim().to_lowercase();
        let Some((name, value)) = text[1..].split_once(':') else { continue };
        match name {
            "separator" => {
                separator = match value {
                    "comma" => b',',
                    "semicolon" => b';',
                    "pipe" => b'|',
                    "space" => b' ',
                    "colon" => b':',
                    other if other.len() == 1 => other.as_bytes()[0],
                    _ => b'\t',
                };
            }
            "tags column" | "deck column" | "notetype column" | "guid column" => {
                set_aside.extend(value.trim().parse::<usize>());
            }
            _ => {}
        }
    }
    Ok((separator, set_aside))
}
