//! Makes exams, runs and their files for the tests of runs. The questions are written by a rule.

use std::{
    fs,
    path::{Path, PathBuf},
};

use medharness::{
    eval::{Choice, Evaluation},
    exam::{Choice as Option_, Exam, Letter, Question, QuestionId, Step, jsonl},
    models::{Behaviour, Stub},
    protocol::Protocol,
    stats::Seed,
    store::{Run, Summary},
};

use crate::support::medharness;

/// An exam of `n` questions over three steps with 4 to 6 options; every 17th shows an image.
pub(crate) fn exam(n: usize) -> Exam {
    let question = |number: usize| {
        let step = [Step::One, Step::Two, Step::Three][number * 3 / n.max(1)];
        let options = 4 + number % 3;
        let option = |index: usize| Option_ {
            letter: Letter::from_index(index).expect("six options"),
            text: format!(
                "Finding {} of case {number}{}",
                index + 1,
                "+".repeat(number * index % 5)
            ),
        };
        Question {
            id: QuestionId(format!("case-{number:03}")),
            step: Some(step),
            text: format!("Which finding is written down in case {number}?"),
            options: (0..options).map(option).collect(),
            answer: Letter::from_index(number * 7 % options).expect("offered"),
            has_image: number % 17 == 16,
            source: "made for tests".into(),
        }
    };
    Exam::new("cases", (0..n).map(question).collect())
}

/// Writes [`exam`] to a file.
pub(crate) fn exam_file(folder: &Path, n: usize) -> PathBuf {
    let path = folder.join("cases.jsonl");
    fs::write(&path, jsonl::write(&exam(n).questions)).expect("a scratch folder is writable");
    path
}

/// Evaluates a stub in this process.
pub(crate) fn evaluate(
    exam: &Exam,
    protocol: &str,
    behaviour: &str,
    seed: u64,
    choice: Choice,
    batch: usize,
    out: &Path,
) -> Summary {
    let protocol = Protocol::builtin(protocol).expect("shipped");
    let behaviour: Behaviour = behaviour.parse().expect("a stub");
    let evaluation = Evaluation {
        seed: Seed(seed),
        choice,
        batch: Some(batch),
        ..Evaluation::new(exam, &protocol)
    };
    let mut stub = Stub::new(behaviour, exam);
    evaluation.run_to_end(&mut stub, out).expect("a stub answers")
}

/// A complete run of `behaviour` over `n` questions.
pub(crate) fn run(folder: &Path, behaviour: &str, seed: u64, n: usize) -> PathBuf {
    let out = folder.join(format!("{behaviour}-{seed}"));
    evaluate(&exam(n), "medalpaca-fixed", behaviour, seed, Choice::default(), 1, &out);
    out
}

/// `medharness eval` on the exam file, to be completed by the caller.
pub(crate) fn eval_command(exam: &Path, model: &str, out: &Path) -> assert_cmd::Command {
    let mut command = medharness();
    command.args(["eval", "--protocol", "medalpaca-fixed", "--model", model, "--exam"]);
    command.arg(exam).arg("--out").arg(out);
    command
}

/// The files that two runs of the same thing share, byte for byte.
pub(crate) fn same_bytes(run: &Path) -> Vec<Vec<u8>> {
    ["attempts.jsonl", "summary.json", "exam.jsonl", "protocol.toml"]
        .iter()
        .map(|name| fs::read(run.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect()
}

/// Opens a complete run.
pub(crate) fn open(path: &Path) -> Run {
    Run::open_complete(path).expect("a complete run")
}
