//! Rows of training files, as others write them: names that are numbers, empty fields, packings.

use std::{fs, path::Path};

use medharness::corpus::{Row, each_row, read_rows, sources::SourceKind};

use crate::corpus_sources::{pairs, read};

fn rows(name: &str, text: &str) -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("written");
    let mut streamed = Vec::new();
    each_row(&path, |_, row| streamed.push(row.expect("a row"))).expect("read");
    assert_eq!(read_rows(&path).expect("read"), streamed);
    streamed
}

/// `"id": 17` made a row unreadable, and with it the file for a trainer.
#[test]
fn names_of_rows_and_sources_may_be_numbers() {
    let one = "{\"id\": 17, \"source\": 3, \"output\": \"a\"}";
    let two = "{\"id\": 1.5, \"source\": null, \"output\": \"a\"}";
    for (name, text) in
        [("x.json", format!("[{one},\n{two}]")), ("x.jsonl", format!("{one}\n{two}"))]
    {
        let rows = rows(name, &text);
        assert_eq!((rows[0].id.as_deref(), rows[0].source.as_deref()), (Some("17"), Some("3")));
        assert_eq!((rows[1].id.as_deref(), rows[1].source.as_deref()), (Some("1.5"), None));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.jsonl");
    fs::write(&path, "{\"id\": [1], \"output\": \"a\"}").unwrap();
    let error = read_rows(&path).unwrap_err().to_string();
    assert!(error.contains("line 1: a name is text or a number, not `[1]`"), "{error}");
}

/// Of the three fields two could be null. The reference reads each of them as empty (its
/// `handler.py` joins `None` as ""), and refuses only a row in which all three are.
#[test]
fn a_null_output_is_an_empty_one() {
    let rows = rows("x.json", "[{\"input\": \"q\", \"output\": null}]");
    assert_eq!((&*rows[0].input, &*rows[0].output), ("q", ""));
}

/// Only snappy was built in, and text had to be marked as text.
#[test]
fn parquet_is_read_in_every_usual_packing_and_text_without_its_mark() {
    let (_, expected) = read(SourceKind::Rows, Path::new("golden/corpus/rows.parquet")).unwrap();
    for name in ["gzip", "zstd", "bytes"] {
        let path = format!("golden/corpus/rows-{name}.parquet");
        let (_, rows) = read(SourceKind::Rows, Path::new(&path)).unwrap();
        assert_eq!(pairs(&rows), pairs(&expected), "{name}");
    }
}
