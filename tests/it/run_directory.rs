//! Run directories survive kills, full disks and second writers, and damage is found.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use medharness::{
    eval::Choice,
    stats::{Generator, Seed},
    store::{Run, StoreError, file, verify},
};
use tempfile::tempdir;

use crate::{
    runs::{eval_command, evaluate, exam, exam_file, open, run, same_bytes},
    support::medharness,
};

/// Kills of the test below.
const KILLS: usize = 50;
/// Questions of its exam.
const QUESTIONS: usize = 300;

/// Starts `medharness eval` with a model that takes a moment for each question.
fn start(exam: &Path, out: &Path, batch: usize) -> Child {
    Command::new(env!("CARGO_BIN_EXE_medharness"))
        .args(["eval", "--protocol", "medalpaca-fixed", "--model", "stub:noisy?delay_ms=1"])
        .args(["--seed", "7", "--batch", &batch.to_string(), "--exam"])
        .arg(exam)
        .arg("--out")
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// Waits until the first question is recorded.
fn wait_for_an_answer(child: &mut Child, out: &Path) {
    while fs::metadata(out.join(file::ATTEMPTS)).map_or(0, |metadata| metadata.len()) == 0 {
        assert!(child.try_wait().expect("the child is ours").is_none(), "it ended at once");
        thread::sleep(Duration::from_millis(2));
    }
}

/// 50 kills at random moments, spread over as many runs as they need; after each the run is taken
/// up again, and every run that ends has the bytes of the one that was never interrupted.
#[test]
fn kill_9_at_any_moment_changes_nothing() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), QUESTIONS);
    let whole = dir.path().join("whole");
    evaluate(&exam(QUESTIONS), "medalpaca-fixed", "noisy", 7, Choice::default(), 1, &whole);
    let whole = same_bytes(&whole);
    let mut moments = Generator::new(Seed(20_230_414));
    let (mut kills, mut finished, mut cut) = (0, 0, 0);
    while kills < KILLS || finished < 3 {
        let out = dir.path().join(format!("run-{finished}"));
        let batch = [1, 5, 16][finished % 3];
        loop {
            let mut child = start(&path, &out, batch);
            if kills < KILLS {
                thread::sleep(Duration::from_micros(moments.below(250_000)));
                if child.try_wait().expect("the child is ours").is_none() {
                    child.kill().expect("SIGKILL");
                    child.wait().expect("the child is ours");
                    kills += 1;
                    cut += usize::from(Run::open(&out).is_ok_and(|run| !run.torn.is_empty()));
                    continue;
                }
            }
            assert!(child.wait().expect("the child is ours").success());
            break;
        }
        assert_eq!(same_bytes(&out), whole, "after {kills} kills");
        let found = verify(&out).unwrap();
        assert!(found.holds(), "{:?}", found.differences);
        finished += 1;
    }
    eprintln!("{kills} kills in {finished} runs, {cut} left a torn line");
}

/// The same without luck: a run cut at every byte of its attempts and continued.
#[test]
fn a_run_cut_at_any_byte_continues_to_the_same_bytes() {
    let dir = tempdir().unwrap();
    let exam = exam(8);
    let whole = run(dir.path(), "noisy", 3, 8);
    let attempts = fs::read(whole.join(file::ATTEMPTS)).unwrap();
    let step = 13;
    for end in (0..attempts.len()).step_by(step) {
        let out = dir.path().join("cut");
        copy(&whole, &out);
        for name in [file::SUMMARY, file::CHECKSUMS] {
            fs::remove_file(out.join(name)).unwrap();
        }
        fs::write(out.join(file::ATTEMPTS), &attempts[..end]).unwrap();
        let before = Run::open(&out).unwrap();
        let inside_a_line = end > 0 && attempts[end - 1] != b'\n';
        assert_eq!(before.torn.is_empty(), !inside_a_line, "cut at {end}");
        evaluate(&exam, "medalpaca-fixed", "noisy", 3, Choice::default(), 2, &out);
        assert_eq!(same_bytes(&out), same_bytes(&whole), "cut at {end}");
        assert!(verify(&out).unwrap().holds());
        fs::remove_dir_all(&out).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("writable");
    }
}

#[test]
fn a_torn_line_is_said_and_the_run_continues() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), 12);
    let out = dir.path().join("run");
    eval_command(&path, "stub:gold", &out).assert().success();
    let whole = same_bytes(&out);
    for name in [file::SUMMARY, file::CHECKSUMS] {
        fs::remove_file(out.join(name)).unwrap();
    }
    let attempts = out.join(file::ATTEMPTS);
    let length = fs::metadata(&attempts).unwrap().len();
    OpenOptions::new().write(true).open(&attempts).unwrap().set_len(length - 20).unwrap();
    let output = eval_command(&path, "stub:gold", &out).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("line 12: torn after"), "{stderr}");
    assert!(stderr.contains("continuing: 11 of 12 questions were answered before"), "{stderr}");
    assert_eq!(same_bytes(&out), whole);
}

#[test]
fn a_broken_line_in_the_middle_is_damage_and_stops_everything() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), 12);
    let out = dir.path().join("run");
    eval_command(&path, "stub:gold", &out).assert().success();
    fs::remove_file(out.join(file::CHECKSUMS)).unwrap();
    let attempts = out.join(file::ATTEMPTS);
    let text = fs::read_to_string(&attempts).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |lines: &[&str], expected: &str| {
        fs::write(&attempts, lines.join("\n") + "\n").unwrap();
        let before = fs::read(&attempts).unwrap();
        let output = eval_command(&path, "stub:gold", &out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("attempts.jsonl`, line") && stderr.contains(expected), "{stderr}");
        assert_eq!(fs::read(&attempts).unwrap(), before, "nothing is repaired");
    };
    let mut half = lines.clone();
    half[4] = &lines[4][..30];
    broken(&half, "line 5");
    let mut missing = lines.clone();
    missing.remove(3);
    broken(&missing, "line 4: question `case-004`, attempt 1 stands where question `case-003`");
    let mut twice = lines.clone();
    twice.insert(3, lines[2]);
    broken(&twice, "line 4: question `case-002`, attempt 1 stands where");
    let mut more = lines.clone();
    more.push(lines[0]);
    broken(&more, "line 13: question `case-000` is not asked any more");
}

#[test]
fn a_second_writer_is_refused_and_nothing_is_lost() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), QUESTIONS);
    let out = dir.path().join("run");
    let mut first = start(&path, &out, 1);
    wait_for_an_answer(&mut first, &out);
    let mut second = eval_command(&path, "stub:noisy", &out);
    let output = second.args(["--seed", "7"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(first.wait().unwrap().success());
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("is being written by another process"), "{stderr}");
    let whole = dir.path().join("whole");
    evaluate(&exam(QUESTIONS), "medalpaca-fixed", "noisy", 7, Choice::default(), 1, &whole);
    assert_eq!(same_bytes(&out), same_bytes(&whole));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_after_a_question_with_130_and_the_run_continues() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), QUESTIONS);
    let out = dir.path().join("run");
    let mut child = start(&path, &out, 1);
    wait_for_an_answer(&mut child, &out);
    let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let stopped = Run::open(&out).unwrap();
    assert!(stopped.torn.is_empty() && stopped.summary.is_none());
    let answered = stopped.answered().count();
    assert!(answered > 0 && answered < stopped.asked().count());
    let output = medharness().arg("verify").arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "an incomplete run does not verify");
    assert!(start(&path, &out, 1).wait().unwrap().success());
    assert!(verify(&out).unwrap().holds());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_the_run_continues() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), 100);
    let whole = dir.path().join("whole");
    eval_command(&path, "stub:empty", &whole).assert().success();
    let out = dir.path().join("run");
    // A limit on the size of a file fails a write in the middle, as a full disk does; sh counts in
    // blocks of 512 bytes. 80 KiB holds the exam and some of the five attempts a question.
    let limited = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 160; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_medharness"))
        .args(["eval", "--protocol", "medalpaca-fixed", "--model", "stub:empty", "--exam"])
        .arg(&path)
        .arg("--out")
        .arg(&out)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("cannot write") && stderr.contains("attempts.jsonl"), "{stderr}");
    let kept = Run::open(&out).unwrap().answered().count();
    assert!(kept > 10, "{kept} questions were kept");
    eval_command(&path, "stub:empty", &out).assert().success();
    assert_eq!(same_bytes(&out), same_bytes(&whole));
}

#[test]
fn an_output_that_cannot_be_written_is_bad_input() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), 4);
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, "not a folder").unwrap();
    for out in [in_the_way.clone(), in_the_way.join("below"), PathBuf::from("/proc/no/such")] {
        let output = eval_command(&path, "stub:gold", &out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(&out.display().to_string()), "{stderr}");
    }
    assert_eq!(fs::read(&in_the_way).unwrap(), b"not a folder");
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "years of work").unwrap();
    let output = eval_command(&path, "stub:gold", &foreign).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("holds no run (found `thesis.tex`)"), "{stderr}");
}

#[test]
fn a_newer_format_is_refused_by_every_reader() {
    let dir = tempdir().unwrap();
    let out = run(dir.path(), "gold", 0, 8);
    let path = out.join(file::MANIFEST);
    let newer = fs::read_to_string(&path)
        .unwrap()
        .replace("\"format_version\": 1", "\"format_version\": 2, \"unheard_of\": []");
    fs::write(&path, newer).unwrap();
    assert!(matches!(Run::open(&out), Err(StoreError::NewerFormat { got: 2, known: 1, .. })));
    for arguments in [vec!["diverge"], vec!["compare"], vec!["gate", "--baseline", "X", "--run"]] {
        let mut command = medharness();
        for argument in &arguments {
            if *argument == "X" {
                command.arg(&out)
            } else {
                command.arg(argument)
            };
        }
        command.arg(&out);
        if arguments.len() == 1 {
            command.arg(&out);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains("has format version 2, this program reads up to 1"), "{stderr}");
    }
}

/// Every file of a run, each with the byte flipped at many places: nothing passes.
#[test]
fn a_flipped_byte_anywhere_is_found() {
    let dir = tempdir().unwrap();
    let out = run(dir.path(), "noisy", 1, 12);
    assert!(verify(&out).unwrap().holds());
    let mut flips = Generator::new(Seed(1));
    for name in file::SUMMED.into_iter().chain([file::CHECKSUMS]) {
        let path = out.join(name);
        let whole = fs::read(&path).unwrap();
        for _ in 0..40 {
            let mut bytes = whole.clone();
            let at = flips.index(bytes.len());
            bytes[at] ^= 1 << flips.below(8);
            fs::write(&path, &bytes).unwrap();
            let found = verify(&out).unwrap();
            assert!(!found.holds(), "{name}, byte {at}");
        }
        fs::remove_file(&path).unwrap();
        if name != file::MANIFEST {
            assert!(!verify(&out).unwrap().holds(), "{name} is missing");
        }
        fs::write(&path, &whole).unwrap();
    }
    assert!(verify(&out).unwrap().holds(), "restored");
}

/// A forger who also mends the checksums is found by recomputation.
#[test]
fn a_forged_record_is_found_even_with_new_checksums() {
    let dir = tempdir().unwrap();
    let out = run(dir.path(), "noisy", 1, 30);
    let forged = |name: &str, from: &str, to: &str, expected: &str| {
        let path = out.join(name);
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.contains(from), "{name} has no {from}");
        fs::write(&path, whole.replacen(from, to, 1)).unwrap();
        let sums = fs::read(out.join(file::CHECKSUMS)).unwrap();
        let mut mended = Vec::new();
        for name in file::SUMMED {
            let digest = medharness::store::sha256_hex(&fs::read(out.join(name)).unwrap());
            writeln!(mended, "{digest}  {name}").unwrap();
        }
        fs::write(out.join(file::CHECKSUMS), mended).unwrap();
        let found = verify(&out).unwrap();
        let listed: Vec<String> = found.differences.iter().map(ToString::to_string).collect();
        assert!(listed.iter().any(|line| line.contains(expected)), "{from}: {listed:#?}");
        fs::write(&path, whole).unwrap();
        fs::write(out.join(file::CHECKSUMS), sums).unwrap();
    };
    let attempts = file::ATTEMPTS;
    forged(attempts, "\"kind\":\"wrong\"", "\"kind\":\"correct\"", "outcome.kind");
    forged(attempts, ": Finding ", "; Finding ", "reading");
    forged(attempts, "\"seed\":", "\"seed\":1", "seed");
    forged(attempts, "\"prompt_sha256\":\"", "\"prompt_sha256\":\"0", "prompt_sha256");
    forged(attempts, "\"attempt\":1", "\"attempt\":1,\"note\":0", "sha256 of its fields");
    forged(file::SUMMARY, "\"correct\": ", "\"correct\": 1", "parts.0.ledger.correct");
    forged(file::SUMMARY, "\"value\": 0.", "\"value\": 1.", "value");
    forged(file::MANIFEST, "\"seed\": 1", "\"seed\": 2", "run_id");
    forged(file::MANIFEST, "\"total\": 30", "\"total\": 31", "exam.total");
    forged(file::EXAM, "Which finding", "What finding", "exam.sha256");
    forged(file::EXAM, "\"answer\":\"A\"", "\"answer\":\"B\"", "exam.sha256");
    forged(file::PROTOCOL, "multiple choice", "multiple-choice", "protocol.sha256");
    forged(file::TIMINGS, "case-003", "case-002", "belongs to no attempt");
    assert!(verify(&out).unwrap().holds(), "restored");
}

#[test]
fn a_changed_run_is_not_extended() {
    let dir = tempdir().unwrap();
    let path = exam_file(dir.path(), 12);
    let out = dir.path().join("run");
    eval_command(&path, "stub:gold", &out).assert().success();
    for name in [file::PROTOCOL, file::EXAM, file::SUMMARY, file::TIMINGS, file::CHECKSUMS] {
        let whole = fs::read(out.join(name)).unwrap();
        let mut changed = whole.clone();
        changed.push(b'\n');
        fs::write(out.join(name), changed).unwrap();
        let output = eval_command(&path, "stub:gold", &out).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {stderr}");
        assert!(stderr.contains("was changed after it was written"), "{name}: {stderr}");
        assert!(stderr.contains(name), "{name}: {stderr}");
        fs::write(out.join(name), whole).unwrap();
    }
    eval_command(&path, "stub:gold", &out).assert().success();
}

#[test]
fn verify_says_what_it_did_and_ends_with_its_code() {
    let dir = tempdir().unwrap();
    let out = run(dir.path(), "gold", 0, 8);
    let output = medharness().arg("verify").arg(&out).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("8 read again") && stdout.contains("differing 0"), "{stdout}");
    let nothing = medharness().arg("verify").arg(dir.path()).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    let id = &open(&out).manifest.run_id;
    assert!(id.len() == 16 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
}
