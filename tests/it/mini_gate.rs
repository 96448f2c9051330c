//! The gate over a whole study: every run held against its baseline, in both directions.

use std::{fs, path::PathBuf};

use medharness::study::mini::Record;

use crate::{mini_study::record, support::medharness};

/// A record of two rows, written to a file.
fn written(folder: &std::path::Path, name: &str, base: &str, full: &str) -> PathBuf {
    let rows: [(&str, &str, &str, &str, &[&str]); 2] = [
        ("small-base", "small", "base", "base", &[base]),
        ("small-full", "small", "medalpaca", "full", &[full]),
    ];
    let path = folder.join(name);
    record(&rows).write(&path).expect("written");
    path
}

/// Exit code, stdout, JUnit and Markdown.
fn gate(folder: &std::path::Path, arguments: &[&std::ffi::OsStr]) -> (i32, String, String, String) {
    let (junit, markdown) = (folder.join("gate.xml"), folder.join("gate.md"));
    let mut command = medharness();
    command.arg("gate").args(arguments);
    command.arg("--junit").arg(&junit).arg("--markdown").arg(&markdown);
    let output = command.output().expect("starts");
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().expect("no signal"), stdout, read(&junit), read(&markdown))
}

#[test]
fn a_study_passes_against_itself_and_fails_where_one_run_moved() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (base, full) = ("1".repeat(60), "A".repeat(50) + &"b".repeat(10));
    let baseline = written(place, "baseline.json", &base, &full);
    let judge = |run: &PathBuf, more: &[&str]| {
        let mut arguments = vec!["--baseline".as_ref(), baseline.as_os_str(), "--run".as_ref()];
        arguments.push(run.as_os_str());
        arguments.extend(more.iter().map(|text| std::ffi::OsStr::new(*text)));
        gate(place, &arguments)
    };
    let (code, stdout, junit, markdown) = judge(&baseline, &["--exact"]);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.starts_with("Gate: pass\n") && markdown.starts_with("# Gate: pass\n"));
    assert!(junit.contains("failures=\"0\""), "{junit}");

    // 20 of 50 lost in one row; the other is as it was.
    let worse = "b".repeat(20) + &full[20..];
    let run = written(place, "worse.json", &base, &worse);
    let (code, stdout, junit, markdown) = judge(&run, &[]);
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.starts_with("Gate: REGRESSION") && stdout.contains("1 of 2 runs repeat"));
    for text in [&junit, &markdown] {
        assert!(text.contains("small-full, seed 0, exam, strict-v1"), "{text}");
        assert!(text.contains("q3"), "flips are listed by question: {text}");
        assert!(!text.contains("small-base, seed 0, exam, strict-v1: q"), "{text}");
    }

    // A gain fails too: the study must repeat. And so does a rule that reads more, right or not.
    let run = written(place, "better.json", &base, &"A".repeat(60));
    assert_eq!(judge(&run, &["--margin", "0.05"]).0, 1);
    let run = written(place, "read.json", &("b".repeat(20) + &base[20..]), &full);
    let (code, stdout, junit, _) = judge(&run, &[]);
    assert_eq!(code, 1, "{stdout}");
    assert!(stdout.contains("an option is read out of 20 of 60 replies, of 0 before"), "{stdout}");
    assert!(junit.contains("name=\"read\""), "{junit}");
}

#[test]
fn runs_that_were_not_made_fail_unless_that_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (base, full) = ("1".repeat(30), "A".repeat(30));
    let baseline = written(place, "baseline.json", &base, &full);
    let mut part = Record::open(&baseline).unwrap();
    part.rows.truncate(1);
    let run = place.join("part.json");
    part.write(&run).unwrap();
    let arguments =
        ["--baseline".as_ref(), baseline.as_os_str(), "--run".as_ref(), run.as_os_str()];
    let (code, stdout, junit, _) = gate(place, &arguments);
    assert_eq!(code, 1);
    assert!(stdout.contains("Not made") && stdout.contains("small-full, seed 0"), "{stdout}");
    assert!(junit.contains("<failure message=\"not made\"/>"));
    let partial = [&arguments[..], &["--partial".as_ref()]].concat();
    let (code, _, junit, _) = gate(place, &partial);
    assert_eq!(code, 0);
    assert!(junit.contains("<skipped message=\"not made\"/>"));
    assert!(junit.contains(" skipped=\"1\""), "{junit}");
    // The other way round: what the baseline has not is said.
    let more = ["--baseline".as_ref(), run.as_os_str(), "--run".as_ref(), baseline.as_os_str()];
    let (code, stdout, junit, _) = gate(place, &more);
    assert_eq!(code, 0, "{stdout}");
    assert!(stdout.contains("Not in the baseline\n- small-full, seed 0"), "{stdout}");
    assert!(junit.contains("small-full, seed 0, exam, strict-v1: not in the baseline"), "{junit}");
}

/// Two runs with three tests each: alpha is shared among six. 10 lost and 1 gained have p = 0.012.
#[test]
fn a_study_shares_alpha_among_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (base, full) = ("1".repeat(60), "A".repeat(50) + &"b".repeat(10));
    let baseline = written(place, "baseline.json", &base, &full);
    let run = written(place, "run.json", &base, &("b".repeat(10) + &full[10..59] + "A"));
    let judge = |alpha: &'static str| {
        let arguments = ["--alpha", alpha, "--baseline"].map(std::ffi::OsStr::new);
        let paths = [baseline.as_os_str(), "--run".as_ref(), run.as_os_str()];
        gate(place, &[&arguments[..], &paths[..]].concat())
    };
    let (code, stdout, ..) = judge("0.05");
    assert_eq!(code, 0, "{stdout}");
    let (code, stdout, ..) = judge("0.2");
    assert_eq!(code, 1, "{stdout}");
}

/// Names come from files: none becomes a heading of a comment.
#[test]
fn a_name_in_a_record_is_no_markup() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let (base, full) = ("1".repeat(60), "A".repeat(60));
    let forged = |name: &str, full: &str| {
        let path = written(place, name, &base, full);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("small-full", "x\\n# Gate: pass")).unwrap();
        path
    };
    let (baseline, run) = (forged("a.json", &full), forged("b.json", &"b".repeat(60)));
    let arguments =
        ["--baseline".as_ref(), baseline.as_os_str(), "--run".as_ref(), run.as_os_str()];
    let (code, _, _, markdown) = gate(place, &arguments);
    assert_eq!(code, 1);
    assert!(!markdown.contains("\n# Gate: pass"), "{markdown}");
}

#[test]
fn studies_of_other_exams_and_versions_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    let baseline = written(place, "baseline.json", &"1".repeat(30), &"A".repeat(30));
    let text = fs::read_to_string(&baseline).unwrap();
    let changed = |name: &str, from: &str, to: &str| {
        let path = place.join(name);
        assert!(text.contains(from));
        fs::write(&path, text.replace(from, to)).unwrap();
        path
    };
    for (name, from, to, said) in [
        ("exam.json", "e".repeat(64), "d".repeat(64), "exam `exam`"),
        ("protocol.json", "f".repeat(64), "d".repeat(64), "protocol strict-v1"),
        (
            "version.json",
            format!("\"tool_version\": \"{}\"", env!("CARGO_PKG_VERSION")),
            "\"tool_version\": \"0.0.9\"".to_owned(),
            "medharness",
        ),
        ("cut.json", "A".repeat(30), "A".repeat(29), "29 outcomes for 30 items"),
        ("odd.json", "A".repeat(30), "A".repeat(29) + "?", "`?` is no outcome"),
    ] {
        let run = changed(name, &from, &to);
        let arguments =
            ["--baseline".as_ref(), baseline.as_os_str(), "--run".as_ref(), run.as_os_str()];
        let (code, stdout, junit, _) = gate(place, &arguments);
        assert_eq!((code, &*stdout), (2, ""), "{name}");
        assert!(junit.contains("<error") && junit.contains(said), "{name}: {junit}");
    }
}
