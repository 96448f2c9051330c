//! Sheets that people fill in: none is lost, and what is wrong is found where it stands.

use std::fs;

use medharness::corpus::audit::Judged;

use crate::support::medharness;

/// A second audit wrote over a week of verdicts.
#[test]
fn a_sheet_that_is_there_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.jsonl");
    fs::write(&rows, "{\"input\": \"Why?\", \"output\": \"So it is.\"}\n").unwrap();
    let sheet = folder.path().join("sheet.csv");
    let audit = || {
        let mut command = medharness();
        command.args(["corpus", "audit"]).arg(&rows).arg("--sheet").arg(&sheet);
        command.output().unwrap()
    };
    assert_eq!(audit().status.code(), Some(0));
    let drawn = fs::read_to_string(&sheet).unwrap();
    let filled = drawn.replace("So it is.,,", "So it is.,ok,");
    assert_ne!(drawn, filled);
    fs::write(&sheet, &filled).unwrap();
    let output = audit();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("exists already") && message.contains("--judged"), "{message}");
    assert_eq!(fs::read_to_string(&sheet).unwrap(), filled);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "no scratch file stays");
}

const HEAD: &str = "source,source_rows,file,row,id,seed,instruction,input,output,verdict,\
    second_verdict,settled_verdict,note\n";

/// Records were counted, though a text can have many lines.
#[test]
fn a_wrong_verdict_is_named_by_its_line_in_the_file() {
    let sheet = format!("{HEAD}a,2,x,1,,0,i,\"two\nlines\",o,ok,,,\na,2,x,2,,0,i,q,o,maybe,,,\n");
    let error = Judged::read(sheet.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, "line 4: `maybe` is neither `ok` nor `error`");
}

/// "Disagreement adjudicated" (clinical.md 1.6): there was no place to write it down.
#[test]
fn a_settled_disagreement_counts_as_it_was_settled() {
    let line = |row: usize, verdicts: &str| format!("a,4,x,{row},,7,i,q,o,{verdicts},\n");
    let sheet = [
        HEAD.to_owned(),
        line(1, "error,ok,ok"),
        line(2, "ok,error,error"),
        line(3, "error,ok,"),
        line(4, "ok,ok,"),
    ];
    let judged = Judged::read(sheet.concat().as_bytes()).unwrap();
    let source = &judged.sources[0];
    assert_eq!((source.judged, source.errors), (4, 2));
    assert_eq!((judged.settled, &judged.disagreements[..]), (2, &["a, x, 3".to_owned()][..]));
    assert_eq!(source.sample.iter().map(|place| place.row).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((judged.seed, judged.judged_twice), (Some(7), 4));
    // A sheet of before, without the column.
    let old = sheet.concat().replace(",settled_verdict", "").replace("error,ok,ok,", "ok,ok,");
    let old = old.replace("ok,error,error,", "ok,ok,").replace("error,ok,,", "ok,ok,");
    let old = old.replace("ok,ok,,", "ok,ok,");
    assert_eq!(Judged::read(old.as_bytes()).unwrap().sources[0].errors, 0);
}
