//! Rows made ahead by processes of their own, several at once.
//!
//! A tiny model keeps one processor busy and leaves the next one idle; two models keep two. A worker
//! is this program once more, for one row and one seed. It makes below the same folder what the study
//! would make, with the same bits, and says what it does, one JSON object a line. The study then
//! finds the row finished and checks it as one of an earlier call. What a worker failed to make is
//! not there, so the study makes it itself and meets the error.
//!
//! A worker stops, and can be continued, when its standard input ends: also where the study was
//! killed.

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::watch::{Doing, Watch};

/// How workers are started.
#[derive(Debug, Clone)]
pub struct Workers {
    /// How many work at once.
    pub at_once: usize,
    /// The program.
    pub program: PathBuf,
    /// Its arguments, before the row and the seed.
    pub arguments: Vec<OsString>,
    /// Threads of each.
    pub threads: usize,
}

/// One row with one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::study) struct Job<'a> {
    /// The row's id.
    pub(in crate::study) row: &'a str,
    /// The seed.
    pub(in crate::study) seed: u64,
}

/// A line of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
enum Line {
    Training { done: u64, total: u64 },
    Asking { exam: String, protocol: String, done: u64, total: u64 },
    At { done: u64 },
    Note { text: String },
}

/// Tells the study what a worker does, on any writer; stops when told to.
pub struct Telling<W, S> {
    out: W,
    stop: S,
}

impl<W: Write, S: Fn() -> bool> Telling<W, S> {
    /// Writes to `out`, and stops where `stop` says so.
    pub const fn new(out: W, stop: S) -> Self {
        Self { out, stop }
    }

    fn tell(&mut self, line: &Line) {
        let json = serde_json::to_string(line).expect("texts and numbers are JSON");
        // Nobody listens any more: then the input has ended, too, and `stop` says so.
        let _ = writeln!(self.out, "{json}").and_then(|()| self.out.flush());
    }
}

impl<W: Write, S: Fn() -> bool> Watch for Telling<W, S> {
    fn begin(&mut self, _row: &str, doing: Doing<'_>, done: u64, total: u64) {
        self.tell(&match doing {
            Doing::Training => Line::Training { done, total },
            Doing::Asking { exam, protocol } => {
                Line::Asking { exam: exam.to_owned(), protocol: protocol.to_owned(), done, total }
            }
        });
    }

    fn at(&mut self, _row: &str, done: u64) {
        self.tell(&Line::At { done });
    }

    fn note(&mut self, text: &str) {
        self.tell(&Line::Note { text: text.to_owned() });
    }

    fn stop(&mut self) -> bool {
        (self.stop)()
    }
}

/// What comes from the worker of a job, by the job's place.
enum Heard {
    Line(Line),
    Ended,
}

/// Makes `jobs`, [`Workers::at_once`] at a time; says whether `watch` stopped them.
///
/// A worker that cannot be started or fails is left to the caller, who makes what is not there.
pub(in crate::study) fn make_ahead(
    workers: &Workers,
    jobs: &[Job<'_>],
    watch: &mut dyn Watch,
) -> bool {
    let (sender, heard) = channel();
    let mut waiting = 0..jobs.len();
    let mut running: Vec<(usize, Child)> = Vec::new();
    let mut stopped = false;
    loop {
        while !stopped && running.len() < workers.at_once {
            let Some(place) = waiting.next() else { break };
            match start(workers, jobs[place], place, &sender) {
                Ok(child) => running.push((place, child)),
                Err(error) => {
                    watch.note(&format!("{}: no process of its own: {error}", jobs[place].row));
                }
            }
        }
        if running.is_empty() {
            return stopped;
        }
        if let Some(ended) = listen(&heard, jobs, watch) {
            running.retain_mut(|(place, child)| {
                if *place == ended {
                    // Whether it succeeded shows in what it made.
                    let _ = child.wait();
                }
                *place != ended
            });
        }
        if !stopped && watch.stop() {
            stopped = true;
            running.iter_mut().for_each(|(_, child)| drop(child.stdin.take()));
        }
    }
}

/// Passes on what one worker says; returns the place of one that ended.
fn listen(
    heard: &Receiver<(usize, Heard)>,
    jobs: &[Job<'_>],
    watch: &mut dyn Watch,
) -> Option<usize> {
    let (place, heard) = match heard.recv_timeout(Duration::from_millis(100)) {
        Ok(heard) => heard,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
    };
    let row = jobs[place].row;
    match heard {
        Heard::Ended => return Some(place),
        Heard::Line(Line::Training { done, total }) => {
            watch.begin(row, Doing::Training, done, total);
        }
        Heard::Line(Line::Asking { exam, protocol, done, total }) => {
            watch.begin(row, Doing::Asking { exam: &exam, protocol: &protocol }, done, total);
        }
        Heard::Line(Line::At { done }) => watch.at(row, done),
        Heard::Line(Line::Note { text }) => watch.note(&text),
    }
    None
}

fn start(
    workers: &Workers,
    job: Job<'_>,
    place: usize,
    sender: &Sender<(usize, Heard)>,
) -> std::io::Result<Child> {
    let mut command = Command::new(&workers.program);
    command
        .args(&workers.arguments)
        .args(["--only", job.row, "--seed", &job.seed.to_string()])
        .env("RAYON_NUM_THREADS", workers.threads.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // Ctrl-C is the study's: it ends its workers' input.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("a pipe, as asked for")).lines();
    let sender = sender.clone();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if let Ok(line) = serde_json::from_str(&line) {
                let _ = sender.send((place, Heard::Line(line)));
            }
        }
        let _ = sender.send((place, Heard::Ended));
    });
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Seen {
        lines: Vec<String>,
        stop: bool,
    }

    impl Watch for Seen {
        fn begin(&mut self, row: &str, doing: Doing<'_>, done: u64, total: u64) {
            self.lines.push(format!("{row} {doing} {done}/{total}"));
        }

        fn at(&mut self, row: &str, done: u64) {
            self.lines.push(format!("{row} {done}"));
        }

        fn note(&mut self, text: &str) {
            self.lines.push(text.to_owned());
        }

        fn stop(&mut self) -> bool {
            self.stop
        }
    }

    #[test]
    fn what_a_worker_tells_is_what_the_study_hears() {
        let mut out = Vec::new();
        let mut telling = Telling::new(&mut out, || false);
        telling.begin("a", Doing::Training, 1, 5);
        telling.at("a", 2);
        telling.begin("a", Doing::Asking { exam: "exam", protocol: "strict-v1" }, 0, 9);
        telling.note("said");
        let (sender, heard) = channel();
        for line in String::from_utf8(out).unwrap().lines() {
            sender.send((0, Heard::Line(serde_json::from_str(line).unwrap()))).unwrap();
        }
        sender.send((0, Heard::Ended)).unwrap();
        let mut seen = Seen::default();
        let jobs = [Job { row: "a", seed: 0 }];
        let ended: Vec<_> = (0..5).map(|_| listen(&heard, &jobs, &mut seen)).collect();
        assert_eq!(ended, [None, None, None, None, Some(0)]);
        assert_eq!(seen.lines, ["a training 1/5", "a 2", "a exam, strict-v1 0/9", "said"]);
    }

    #[cfg(unix)]
    #[test]
    fn workers_end_with_their_input_and_none_is_left() {
        // A shell in the program's place; `cat` ends when its input does.
        let at = |script: &str| Workers {
            at_once: 2,
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into(), "sh".into()],
            threads: 1,
        };
        let jobs = ["a", "b", "c"].map(|row| Job { row, seed: 0 });
        let told = r#"echo "{\"is\":\"note\",\"text\":\"$2 $4 $RAYON_NUM_THREADS\"}""#;
        let mut seen = Seen::default();
        assert!(!make_ahead(&at(told), &jobs, &mut seen));
        seen.lines.sort();
        assert_eq!(seen.lines, ["a 0 1", "b 0 1", "c 0 1"]);

        let mut seen = Seen { stop: true, ..Seen::default() };
        assert!(make_ahead(&at(&format!("cat; {told}")), &jobs, &mut seen));
        seen.lines.sort();
        assert_eq!(seen.lines, ["a 0 1", "b 0 1"], "two were running, the third never began");

        let nowhere = Workers { program: "/nowhere".into(), ..at("") };
        let mut seen = Seen::default();
        assert!(!make_ahead(&nowhere, &jobs[..1], &mut seen));
        assert!(seen.lines[0].starts_with("a: no process of its own"), "{:?}", seen.lines);
    }
}
