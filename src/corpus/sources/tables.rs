//! Sources that are tables: CORD-19, MMLU, labelled sentences; and MedQA's JSON lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use csv::StringRecord;
use serde::Deserialize;

use super::{
    Reject, Sink, SourceError,
    quotes::{Quotes, with_end},
};

/// Labels of a data set with the words that are learnt.
pub(super) type Labels = [(&'static str, &'static str)];

/// Source: B. Yu, Y. Li, J. Wang, EMNLP 2019; COLING 2020 (labels 0 to 3).
pub(super) const CAUSAL: [(&str, &str); 4] = [
    ("0", "This is no relation."),
    ("1", "This is causation."),
    ("2", "This is conditional causation."),
    ("3", "This is correlation."),
];

/// Source: Y. Li, J. Wang, B. Yu, EMNLP 2021 (labels 0 to 2).
pub(super) const ADVICE: [(&str, &str); 3] =
    [("0", "This is no advice."), ("1", "This is weak advice."), ("2", "This is strong advice.")];

/// Reads abstract to title.
pub(super) fn cord19(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let mut table = Table::open(path, true)?;
    let title = table.column(&["title"])?;
    let text = table.column(&["abstract"])?;
    let id = table.optional("cord_uid");
    table.each(|number, record| match record {
        None => sink.reject(Reject::Malformed),
        Some(record) => {
            let get = |column: usize| record.get(column).unwrap_or_default();
            let id = id.map(get).filter(|id| !id.is_empty());
            let id = id.map_or_else(|| number.to_string(), str::to_owned);
            sink.row(id, get(text), get(title));
        }
    })
}

/// Reads sentences with their labels' words.
pub(super) fn labelled(
    path: &Path,
    labels: &Labels,
    sink: &mut Sink<'_>,
) -> Result<(), SourceError> {
    let mut table = Table::open(path, true)?;
    let sentence = table.column(&["sentence", "text"])?;
    let label = table.column(&["label"])?;
    table.each(|number, record| {
        let Some(record) = record else { return sink.reject(Reject::Malformed) };
        let get = |column: usize| record.get(column).unwrap_or_default().trim();
        match labels.iter().find(|(name, _)| *name == get(label)) {
            Some((_, words)) => sink.row(number.to_string(), get(sentence), words),
            None => sink.reject(Reject::UnknownLabel),
        }
    })
}

/// Reads `question,A,B,C,D,letter`.
pub(super) fn mmlu(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    let mut table = Table::open(path, false)?;
    table.each(|number, record| {
        let fields: Vec<&str> = record.map(|record| record.iter().collect()).unwrap_or_default();
        let [question, options @ .., answer] = &fields[..] else {
            return sink.reject(Reject::Malformed);
        };
        let options: BTreeMap<char, &str> = ('A'..='Z').zip(options.iter().copied()).collect();
        multiple_choice(number.to_string(), question, &options, answer, sink);
    })
}

#[derive(Deserialize)]
struct Medqa {
    question: String,
    options: BTreeMap<char, String>,
    answer_idx: String,
}

/// Reads `{question, options: {A: …}, answer_idx}`, one a line.
pub(super) fn medqa(path: &Path, sink: &mut Sink<'_>) -> Result<(), SourceError> {
    each_line(path, |number, line| match serde_json::from_slice::<Medqa>(line) {
        Err(_) => sink.reject(Reject::Malformed),
        Ok(Medqa { question, options, answer_idx }) => {
            let options = options.iter().map(|(letter, text)| (*letter, text.as_str())).collect();
            multiple_choice(number.to_string(), &question, &options, &answer_idx, sink);
        }
    })
}

/// A question with its options below it; the answer is letter and text.
fn multiple_choice(
    id: String,
    question: &str,
    options: &BTreeMap<char, &str>,
    answer: &str,
    sink: &mut Sink<'_>,
) {
    let letter = answer.trim().chars().next().filter(|_| answer.trim().chars().count() == 1);
    let Some(text) = letter.and_then(|letter| options.get(&letter)) else {
        return sink.reject(Reject::NoAnswer);
    };
    if question.trim().is_empty() {
        return sink.reject(Reject::NoQuestion);
    }
    let listed = options.iter().map(|(letter, text)| format!("{letter}: {}", text.trim()));
    let listed: Vec<String> = listed.collect();
    let input = format!("{}\n{}", question.trim(), listed.join("\n"));
    sink.row(id, &input, &format!("{}: {}", answer.trim(), text.trim()));
}

/// Calls `found` with each line that is not blank and its number, from 1.
pub(super) fn each_line(
    path: &Path,
    mut found: impl FnMut(usize, &[u8]),
) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut file = BufReader::with_capacity(1 << 18, File::open(path).map_err(io)?);
    let (mut line, mut number) = (Vec::new(), 0);
    while file.read_until(b'\n', &mut line).map_err(io)? > 0 {
        number += 1;
        let text = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&line).trim_ascii();
        if !text.is_empty() {
            found(number, text);
        }
        line.clear();
    }
    Ok(())
}

/// A CSV file.
struct Table<'a> {
    path: &'a Path,
    csv: csv::Reader<std::io::Chain<File, &'static [u8]>>,
    head: StringRecord,
}

impl<'a> Table<'a> {
    fn open(path: &'a Path, has_head: bool) -> Result<Self, SourceError> {
        let wrong = |source| SourceError::Csv { path: path.to_owned(), source };
        let open = File::open(path);
        let file = open.map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
        let mut csv = csv::ReaderBuilder::new()
            .has_headers(has_head)
            .flexible(true)
            .buffer_capacity(1 << 18)
            .from_reader(with_end(file));
        let head =
            if has_head { csv.headers().map_err(wrong)?.clone() } else { Default::default() };
        Ok(Self { path, csv, head })
    }

    fn optional(&self, name: &str) -> Option<usize> {
        let own = |head: &str| head.trim_start_matches('\u{feff}').trim().to_lowercase();
        self.head.iter().position(|head| own(head) == name)
    }

    fn column(&self, names: &[&'static str]) -> Result<usize, SourceError> {
        let missing = SourceError::Column { path: self.path.to_owned(), column: names[0] };
        names.iter().find_map(|name| self.optional(name)).ok_or(missing)
    }

    /// Calls `found` with each record, `None` for one that is not UTF-8, and its number, from 1.
    fn each(
        &mut self,
        mut found: impl FnMut(usize, Option<&StringRecord>),
    ) -> Result<(), SourceError> {
        let (mut record, mut number, mut quotes) = (StringRecord::new(), 0, Quotes::default());
        loop {
            number += 1;
            match self.csv.read_record(&mut record) {
                Ok(true) if quotes.is_end(record.as_byte_record(), self.path)? => return Ok(()),
                Ok(true) => found(number, Some(&record)),
                Ok(false) => return Err(quotes.open(self.path)),
                Err(error) if matches!(error.kind(), csv::ErrorKind::Utf8 { .. }) => {
                    found(number, None);
                }
                Err(source) => return Err(SourceError::Csv { path: self.path.to_owned(), source }),
            }
        }
    }
}
