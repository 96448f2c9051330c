//! MMLU's CSV: question, four options and the key's letter in six columns, without a header.
//!
//! A first record that reads `question,A,B,C,D,answer` is a header and skipped. Fields may hold
//! line breaks; a file whose every line ends in CRLF reads as if it ended in LF. A record has no
//! name, so its id is its position from 0 in four digits (`mmlu/0012`).
//!
//! The csv crate splits; it takes an unclosed quote or text behind a closing quote as it comes, so
//! both are looked for first and refused.
//!
//! Source: Hendrycks et al. 2021 (arXiv 2009.03300), files `test/*_test.csv`.

use std::path::Path;

use super::{
    Choice, CsvProblem, ExamError, FieldProblem, Letter, Place, Question, QuestionId,
    entry::{Entry, Loaded},
    json,
    source::Source,
};

const HEADER: [&str; 6] = ["question", "A", "B", "C", "D", "answer"];

/// Reads the file.
pub(super) fn load(source: &Source) -> Result<Loaded, ExamError> {
    let path = &source.path;
    let is_crlf = !source.text.replace("\r\n", "").contains('\n');
    let text = if is_crlf { source.text.replace("\r\n", "\n") } else { source.text.clone() };
    let lines = record_lines(path, &text)?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut loaded = Loaded::default();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|error| ExamError::Csv {
            path: path.clone(),
            line: lines.get(index).copied().unwrap_or(0),
            problem: CsvProblem::Reader(error.to_string()),
        })?;
        let line = lines.get(index).copied().unwrap_or(0);
        if loaded.entries.is_empty() && record.iter().eq(HEADER) {
            continue;
        }
        loaded.entries.push(read(path, line, &record, loaded.entries.len())?);
    }
    Ok(loaded)
}

fn read(
    path: &Path,
    line: usize,
    record: &csv::StringRecord,
    index: usize,
) -> Result<Entry, ExamError> {
    let fields: Vec<&str> = record.iter().collect();
    let [text, options @ .., answer] = fields.as_slice() else {
        return Err(fields_problem(path, line, fields.len()));
    };
    if fields.len() != HEADER.len() {
        return Err(fields_problem(path, line, fields.len()));
    }
    let place = |field| Place::new(path, line, field);
    let answer = json::letter(answer).ok_or_else(|| ExamError::Field {
        place: place("answer"),
        problem: FieldProblem::Expected {
            expected: "a letter from A to Z",
            got: format!("`{}`", json::shortened(answer)),
        },
    })?;
    let choice = |(index, text): (usize, &&str)| {
        Some(Choice { letter: Letter::from_index(index)?, text: (*text).to_owned() })
    };
    Ok(Entry {
        question: Question {
            id: QuestionId(format!("mmlu/{index:04}")),
            step: None,
            text: (*text).to_owned(),
            options: options.iter().enumerate().filter_map(choice).collect(),
            answer,
            has_image: false,
            source: "mmlu".into(),
        },
        id_place: place("question"),
        text_place: place("question"),
        options_place: place("A to D"),
        answer_place: place("answer"),
    })
}

fn fields_problem(path: &Path, line: usize, got: usize) -> ExamError {
    let problem = CsvProblem::Fields { expected: HEADER.len(), got };
    ExamError::Csv { path: path.to_owned(), line, problem }
}

/// Where the reader stands within a field.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// Behind a quote in a quoted field: the field's end, or the first half of a doubled quote.
    Quote,
}

/// Returns the line each record begins on, and refuses quotes that RFC 4180 does not allow.
///
/// The csv crate counts the blank lines before a record to it, so its own lines point too high.
fn record_lines(path: &Path, text: &str) -> Result<Vec<usize>, ExamError> {
    let mut lines = Vec::new();
    let mut is_between = true;
    let (mut state, mut line, mut opened, mut field) = (State::Start, 1, 1, 1);
    let problem = |line, problem| ExamError::Csv { path: path.to_owned(), line, problem };
    for c in text.chars() {
        let is_break = matches!(c, '\n' | '\r');
        if is_between && !is_break {
            lines.push(line);
        }
        state = match (state, c) {
            (State::Quoted, '"') => State::Quote,
            (State::Quoted, _) | (State::Quote, '"') => State::Quoted,
            (_, ',') => {
                field += 1;
                State::Start
            }
            _ if is_break => {
                field = 1;
                State::Start
            }
            (State::Start, '"') => {
                opened = line;
                State::Quoted
            }
            (State::Quote, _) => return Err(problem(opened, CsvProblem::AfterQuote { field })),
            _ => State::Plain,
        };
        is_between = is_break && state == State::Start;
        line += usize::from(c == '\n');
    }
    if state == State::Quoted {
        return Err(problem(opened, CsvProblem::Unclosed { field }));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str) -> Result<Loaded, ExamError> {
        load(&Source::from_bytes(Path::new("x.csv"), text.as_bytes()).unwrap())
    }

    fn error(text: &str) -> String {
        load_text(text).unwrap_err().to_string()
    }

    #[test]
    fn line_breaks_in_a_field_count_for_the_next_records_line() {
        let loaded = load_text("\"Which\none?\",a,b,c,d,A\nWho?,a,b,c,d,B\n").unwrap();
        let lines: Vec<_> = loaded.entries.iter().map(|entry| entry.text_place.line).collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(loaded.entries[0].question.text, "Which\none?");
    }

    #[test]
    fn crlf_file_equals_its_lf_twin() {
        let text = "\"Which\none?\",a,b,c,d,A\nWho?,a,b,c,d,B\n";
        assert_eq!(load_text(&text.replace('\n', "\r\n")).unwrap(), load_text(text).unwrap());
    }

    #[test]
    fn header_is_skipped_and_takes_no_number() {
        let loaded = load_text("question,A,B,C,D,answer\nWho?,a,b,c,d,B\n").unwrap();
        assert_eq!(loaded.entries.len(), 1);
        assert_eq!(loaded.entries[0].question.id.0, "mmlu/0000");
    }

    #[test]
    fn broken_records_name_their_line() {
        assert_eq!(error("Who?,a,b,c,B\n"), "x.csv, line 1: expected 6 fields, got 5");
        assert_eq!(
            error("Who?,a,b,c,d,A\n\nWho?,a,b,c,d,E or F\n"),
            "x.csv, line 3, field `answer`: expected a letter from A to Z, got `E or F`"
        );
        assert_eq!(
            error("Who?,a,b,c,d,A\nWho?,\"a,b,c,d,B\nWho?,a,b,c,d,C\n"),
            "x.csv, line 2: field 2: the quote is never closed"
        );
        assert_eq!(
            error("Who?,\"a\"n,b,c,d,A\n"),
            "x.csv, line 1: field 2: text after the closing quote"
        );
    }

    #[test]
    fn quotes_inside_a_plain_field_are_text() {
        let loaded = load_text("5\" nails?,a,\"say \"\"b\"\"\",c,d,A\n").unwrap();
        assert_eq!(loaded.entries[0].question.text, "5\" nails?");
        assert_eq!(loaded.entries[0].question.options[1].text, "say \"b\"");
    }
}
