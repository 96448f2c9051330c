//! Training rows are read whole or refused with file and line.

use std::fs;

use medharness::corpus::{RowError, read_rows};

fn read(text: &[u8]) -> Result<usize, RowError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("rows.json");
    fs::write(&path, text).expect("written");
    read_rows(&path).map(|rows| rows.len())
}

fn message(text: &[u8]) -> String {
    let error = read(text).expect_err("refused").to_string();
    error.split_once("rows.json").map_or(error.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn lists_and_lines_are_read() {
    assert_eq!(read(br#"[{"instruction": "a", "input": null, "output": "b"}]"#).unwrap(), 1);
    assert_eq!(read(b"{\"output\": \"b\"}\r\n\r\n{\"output\": \"c\"}\n").unwrap(), 2);
    assert_eq!(read(b"\xEF\xBB\xBF[{\"output\": \"b\"}]").unwrap(), 1);
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(message(b"[]"), "` holds no row");
    assert!(
        message(b"{\"output\": \"b\"}\n{\"input\": \"c\"}")
            .starts_with("`, line 2: missing field `output`")
    );
    assert!(message(b"[{\"output\":\n 3}]").starts_with("`, line 2: invalid type: integer `3`"));
    assert_eq!(message(b"[{\"output\": \"\xE4\"}]"), "`, byte 13: not UTF-8");
}

#[test]
fn real_files_are_read_whole() {
    assert_eq!(read_rows(&shared!("training/medical_meadow_small.json")).unwrap().len(), 5942);
    assert_eq!(read_rows(&shared!("training/chatdoctor5k.json")).unwrap().len(), 5452);
}
