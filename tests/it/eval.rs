//! The evaluator: the same bytes whatever the batch, the shards and the interruptions.

use std::{collections::BTreeSet, fs, ops::ControlFlow};

use medharness::{
    eval::{Choice, Ended, EvalError, Evaluation},
    exam::QuestionId,
    models::{
        Behaviour, Capabilities, Completion, LogLikelihood, Model, ModelError, ModelIdentity,
        Prompt, Request, Sampling, Stub,
    },
    protocol::{Outcome, Protocol, Reason},
    stats::Seed,
    store::{Shard, StoreError, merge_runs, verify},
};
use tempfile::tempdir;

use crate::runs::{eval_command, evaluate, exam, exam_file, open, run, same_bytes};

const PROTOCOLS: [&str; 4] = ["paper-2023-04", "medalpaca-fixed", "strict-v1", "mmlu-letter"];

#[test]
fn bytes_do_not_depend_on_the_batch() {
    let dir = tempdir().unwrap();
    let exam = exam(60);
    for protocol in PROTOCOLS {
        let mut runs = Vec::new();
        for batch in [1, 2, 7, 32, 1000] {
            let out = dir.path().join(format!("{protocol}-{batch}"));
            evaluate(&exam, protocol, "noisy", 3, Choice::default(), batch, &out);
            runs.push(same_bytes(&out));
        }
        assert!(runs.iter().all(|run| *run == runs[0]), "{protocol}");
    }
}

#[test]
fn another_seed_gives_other_answers() {
    let dir = tempdir().unwrap();
    let runs = [1, 2].map(|seed| same_bytes(&run(dir.path(), "noisy", seed, 60)));
    assert_ne!(runs[0], runs[1]);
}

#[test]
fn a_ledger_adds_up_and_attempts_are_counted() {
    let dir = tempdir().unwrap();
    let exam = exam(300);
    let out = dir.path().join("run");
    let summary = evaluate(&exam, "paper-2023-04", "noisy", 1, Choice::default(), 16, &out);
    let names: Vec<_> = summary.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["all", "1", "2", "3"]);
    for part in &summary.parts {
        part.ledger.check().unwrap();
        assert_eq!(part.attempts_histogram.iter().sum::<usize>(), part.ledger.asked);
        assert_eq!(part.accuracy_at_attempt.len(), part.attempts_histogram.len());
        let last = part.accuracy_at_attempt.last().unwrap();
        assert_eq!(last.successes, part.ledger.correct);
        let bought = last.successes - part.accuracy_at_attempt[0].successes;
        assert_eq!(bought, part.retries.gained - part.retries.lost);
    }
    let all = &summary.parts[0];
    // 300 / 17 questions with an image, and the first of each step.
    assert_eq!((all.ledger.total, all.ledger.excluded, all.ledger.not_run), (300, 17, 3));
    assert_eq!(all.attempts_histogram.len(), 5, "30 % unreadable, so some take all five attempts");
    assert!(all.retries.gained > 40, "most of the unreadable become right");
    let sums: usize = summary.parts[1..].iter().map(|part| part.ledger.asked).sum();
    assert_eq!(sums, all.ledger.asked);
}

#[test]
fn each_attempt_names_its_prompt_and_its_seed() {
    let dir = tempdir().unwrap();
    let run = open(&run(dir.path(), "noisy", 5, 40));
    let protocol = Protocol::builtin("medalpaca-fixed").unwrap();
    for (question, attempts) in run.answered() {
        for (index, attempt) in attempts.iter().enumerate() {
            assert_eq!(attempt.attempt as usize, index + 1);
            assert_eq!(attempt.is_final, index + 1 == attempts.len());
            assert_eq!(attempt.seed, Seed(5).derive(&question.id.0, attempt.attempt).0);
            let prompt = medharness::store::sha256_hex(protocol.render(question).as_bytes());
            assert_eq!(attempt.prompt_sha256, prompt);
        }
    }
    assert_eq!(run.timings.len(), run.attempts.len());
}

#[test]
fn canned_replies_score_as_they_must() {
    let dir = tempdir().unwrap();
    let exam = exam(60);
    let asked = exam.asked().count();
    let score = |protocol: &str, behaviour: &str| {
        let out = dir.path().join(format!("{protocol}-{behaviour}"));
        evaluate(&exam, protocol, behaviour, 0, Choice::default(), 4, &out).parts.swap_remove(0)
    };
    assert_eq!(score("strict-v1", "gold").ledger.correct, asked);
    assert_eq!(score("mmlu-letter", "gold").ledger.correct, asked);
    assert_eq!(score("medqa-text", "gold").ledger.correct, asked);
    let letter = score("strict-v1", "letter-A");
    assert_eq!((letter.ledger.correct, letter.ledger.unparsed), (0, asked));
    let constant = score("strict-v1", "always-A");
    let right = exam.asked().filter(|question| question.answer.as_char() == 'A').count();
    assert_eq!(constant.ledger.correct, right);
    let longest = score("strict-v1", "longest");
    let share = longest.ledger.correct as f64 / asked as f64;
    assert_eq!(longest.baselines.unwrap().longest_option, share);
    assert_eq!(score("strict-v1", "empty").ledger.unparsed_by_reason["empty"], asked);
    assert_eq!(score("strict-v1", "loop").ledger.unparsed_by_reason["degenerate"], asked);
}

#[test]
fn a_failing_model_is_errored_and_never_wrong() {
    let dir = tempdir().unwrap();
    let exam = exam(40);
    for protocol in ["medalpaca-fixed", "mmlu-letter"] {
        let out = dir.path().join(protocol);
        let summary = evaluate(&exam, protocol, "error", 0, Choice::default(), 4, &out);
        let ledger = &summary.parts[0].ledger;
        assert_eq!((ledger.errored, ledger.wrong), (ledger.asked, 0));
        let accuracies = &summary.parts[0].accuracies;
        assert_eq!(accuracies.parsed_only, None);
        assert_eq!(accuracies.bounds, Some([0.0, 1.0]));
        assert!(open(&out).attempts.iter().all(|attempt| attempt.error.is_some()));
        assert!(verify(&out).unwrap().holds());
    }
}

#[test]
fn a_loop_under_the_retry_rule_is_asked_again_and_then_degenerate() {
    let dir = tempdir().unwrap();
    let out = dir.path().join("run");
    evaluate(&exam(6), "medalpaca-fixed", "loop", 0, Choice::default(), 1, &out);
    for (_, attempts) in open(&out).answered() {
        assert_eq!(attempts.len(), 5);
        let degenerate = Outcome::Unparsed { reason: Reason::Degenerate };
        assert!(attempts.iter().all(|attempt| attempt.outcome == degenerate));
    }
}

#[test]
fn shards_merge_to_the_bytes_of_one_run() {
    let dir = tempdir().unwrap();
    let exam = exam(61);
    for protocol in PROTOCOLS {
        let whole = dir.path().join(format!("{protocol}-whole"));
        evaluate(&exam, protocol, "noisy", 9, Choice::default(), 4, &whole);
        for of in [1, 2, 3, 7] {
            let mut shards = Vec::new();
            for index in 1..=of {
                let out = dir.path().join(format!("{protocol}-{index}-{of}"));
                let choice = Choice { shard: Shard::new(index, of), ..Choice::default() };
                evaluate(&exam, protocol, "noisy", 9, choice, 3, &out);
                assert!(verify(&out).unwrap().holds());
                shards.push(out);
            }
            shards.reverse();
            let merged = dir.path().join(format!("{protocol}-merged-{of}"));
            merge_runs(&merged, &shards, Vec::new()).unwrap();
            assert_eq!(same_bytes(&merged), same_bytes(&whole), "{protocol} in {of} shards");
            let found = verify(&merged).unwrap();
            assert!(found.holds(), "{:?}", found.differences);
            assert_eq!(open(&merged).manifest.run_id, open(&whole).manifest.run_id);
        }
    }
}

#[test]
fn only_all_shards_of_one_run_merge() {
    let dir = tempdir().unwrap();
    let exam = exam(30);
    let shard = |name: &str, seed, index, of| {
        let out = dir.path().join(name);
        let choice = Choice { shard: Shard::new(index, of), ..Choice::default() };
        evaluate(&exam, "strict-v1", "gold", seed, choice, 1, &out);
        out
    };
    let (a, b, c) = (shard("a", 0, 1, 3), shard("b", 0, 2, 3), shard("c", 0, 3, 3));
    let (other_seed, other_count) = (shard("d", 1, 3, 3), shard("e", 0, 2, 2));
    let whole = run(dir.path(), "gold", 0, 30);
    let merge = |name: &str, runs: &[&std::path::PathBuf]| {
        let error = merge_runs(&dir.path().join(name), runs, Vec::new()).unwrap_err();
        assert!(matches!(error, StoreError::NotMergeable { .. }), "{error}");
        assert!(!dir.path().join(name).exists(), "nothing is written");
        error.to_string()
    };
    assert!(merge("1", &[&a, &c]).ends_with("shard 2/3 is missing"));
    assert!(merge("2", &[&a, &b, &b]).ends_with("are both shard 2/3"));
    assert!(merge("3", &[&a, &b, &other_seed]).contains("seed is 0, wanted 1"));
    assert!(merge("4", &[&a, &other_count]).contains("shard 2/2"));
    assert!(merge("5", &[&whole]).contains("is a whole run"));
    assert!(merge("6", &[]).contains("there are none"));
}

#[test]
fn what_is_not_asked_has_its_reason() {
    let exam = exam(60);
    let protocol = Protocol::builtin("paper-2023-04").unwrap();
    let choice = Choice { limit: Some(10), shard: Shard::new(2, 3), ..Choice::default() };
    let selection = choice.select(&exam, &protocol).unwrap();
    let count =
        |reason: &str| selection.not_run.values().filter(|found| found.contains(reason)).count();
    assert_eq!(selection.excluded.len(), 3);
    assert_eq!(count("first question of its step"), 3);
    assert_eq!(count("beyond the limit of 10"), 60 - 3 - 3 - 10);
    // Positions 1, 4 and 7 of ten are in the second of three shards.
    assert_eq!(count("in another shard"), 7);
}

#[test]
fn a_question_chosen_in_vain_is_named() {
    let exam = exam(60);
    let protocol = Protocol::builtin("paper-2023-04").unwrap();
    let select = |ids: &[&str]| {
        let questions: BTreeSet<_> = ids.iter().map(|id| QuestionId((*id).into())).collect();
        Choice { questions: Some(questions), ..Choice::default() }.select(&exam, &protocol)
    };
    let unknown = select(&["case-001", "case-999"]).unwrap_err();
    assert_eq!(unknown.to_string(), "the exam `cases` has no question `case-999`");
    let image = select(&["case-016"]).unwrap_err();
    assert!(image.to_string().starts_with("question `case-016` cannot be asked: image"));
    assert!(matches!(select(&["case-000"]), Err(EvalError::NotAskable { .. })));
    assert_eq!(select(&["case-001"]).unwrap().not_run.len(), 60 - 3 - 1);
    let nothing = Choice { limit: Some(0), ..Choice::default() }.select(&exam, &protocol);
    assert!(matches!(nothing, Err(EvalError::NothingToAsk { .. })));
}

/// A stub that refuses to answer after so many prompts, as a crashing backend would.
struct Failing {
    stub: Stub,
    left: usize,
}

impl Model for Failing {
    fn identity(&self) -> &ModelIdentity {
        self.stub.identity()
    }

    fn capabilities(&self) -> Capabilities {
        self.stub.capabilities()
    }

    fn generate(
        &mut self,
        prompts: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        let Some(left) = self.left.checked_sub(prompts.len()) else {
            let model = self.identity().name.clone();
            return Err(ModelError::Backend { model, stage: "decode", source: "gone".into() });
        };
        self.left = left;
        self.stub.generate(prompts, sampling)
    }

    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        self.stub.log_likelihood(requests)
    }
}

#[test]
fn a_model_that_fails_leaves_whole_questions_and_the_run_continues() {
    let dir = tempdir().unwrap();
    let exam = exam(40);
    let whole = run(dir.path(), "noisy", 1, 40);
    let protocol = Protocol::builtin("medalpaca-fixed").unwrap();
    for left in [0, 1, 5, 17, 38] {
        let out = dir.path().join(format!("failing-{left}"));
        let evaluation =
            Evaluation { seed: Seed(1), batch: Some(3), ..Evaluation::new(&exam, &protocol) };
        let mut failing = Failing { stub: Stub::new(Behaviour::Noisy, &exam), left };
        let error =
            evaluation.run(&mut failing, &out, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert!(matches!(error, EvalError::Model(ModelError::Backend { .. })), "{error}");
        evaluate(&exam, "medalpaca-fixed", "noisy", 1, Choice::default(), 8, &out);
        assert_eq!(same_bytes(&out), same_bytes(&whole), "after {left} prompts");
    }
}

#[test]
fn a_stopped_run_continues_where_it_stopped() {
    let dir = tempdir().unwrap();
    let exam = exam(40);
    let whole = run(dir.path(), "noisy", 1, 40);
    let protocol = Protocol::builtin("medalpaca-fixed").unwrap();
    let out = dir.path().join("stopped");
    let evaluation =
        Evaluation { seed: Seed(1), batch: Some(2), ..Evaluation::new(&exam, &protocol) };
    let mut stub = Stub::new(Behaviour::Noisy, &exam);
    for (expected, session) in [(3, 3), (3, 0), (9, 6)] {
        let mut calls = 0;
        let ended = evaluation
            .run(&mut stub, &out, &mut |_| {
                calls += 1;
                if calls > session { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .unwrap();
        let asked = exam.asked().count();
        assert_eq!(ended, Ended::Stopped { answered: expected, asked });
    }
    assert!(matches!(
        medharness::store::Run::open_complete(&out),
        Err(StoreError::Incomplete { answered: 9, .. })
    ));
    evaluate(&exam, "medalpaca-fixed", "noisy", 1, Choice::default(), 1, &out);
    assert_eq!(same_bytes(&out), same_bytes(&whole));
    assert_eq!(open(&out).manifest.resumed_at.len(), 3);
}

#[test]
fn a_finished_run_is_left_as_it_is() {
    let dir = tempdir().unwrap();
    let exam = exam(20);
    let out = run(dir.path(), "noisy", 1, 20);
    let files = || {
        ["manifest.json", "timings.jsonl", "SHA256SUMS", "attempts.jsonl", "summary.json"]
            .map(|name| fs::read(out.join(name)).unwrap())
    };
    let before = files();
    evaluate(&exam, "medalpaca-fixed", "noisy", 1, Choice::default(), 5, &out);
    assert_eq!(files(), before);
}

#[test]
fn another_run_is_not_overwritten_and_the_difference_is_named() {
    let dir = tempdir().unwrap();
    let exam = exam_file(dir.path(), 20);
    let out = dir.path().join("run");
    eval_command(&exam, "stub:gold", &out).assert().success();
    let attempts = fs::read(out.join("attempts.jsonl")).unwrap();
    let refused = |arguments: &[&str], named: &str| {
        let mut command = eval_command(&exam, "stub:gold", &out);
        let output = command.args(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(named), "{stderr}");
        assert_eq!(fs::read(out.join("attempts.jsonl")).unwrap(), attempts);
    };
    refused(&["--seed", "1"], "seed is 0, wanted 1");
    refused(&["--limit", "5"], "selection.not_run differs (0 and 14 questions)");
    refused(&["--shard", "1/2"], "selection.shard");
    let output = eval_command(&exam, "stub:longest", &out).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("model.name is \"stub:gold\", wanted \"stub:longest\""), "{stderr}");
    let other = exam_file(dir.path(), 21);
    let output = eval_command(&other, "stub:gold", &out).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("exam_sha256"));
}

#[test]
fn recorded_answers_are_read_as_if_they_were_new() {
    let dir = tempdir().unwrap();
    let exam = exam_file(dir.path(), 4);
    let answers = dir.path().join("answers.jsonl");
    fs::write(
        &answers,
        "{\"id\":\"case-000\",\"text\":\"A: Finding 1 of case 0\"}\n\
         {\"id\":\"case-001\",\"text\":\"no idea\"}\n\
         {\"id\":\"case-001\",\"attempt\":2,\"text\":\"B: yes\",\"finish_reason\":\"end_of_text\"}\n\
         {\"id\":\"case-002\",\"text\":\"no idea\"}\n",
    )
    .unwrap();
    let out = dir.path().join("run");
    let model = format!("replay:{}", answers.display());
    eval_command(&exam, &model, &out).assert().success();
    let run = open(&out);
    let outcomes: Vec<_> = run.answered().map(|(_, a)| (a.len(), a[a.len() - 1].outcome)).collect();
    assert_eq!(
        outcomes,
        [(1, Outcome::Correct), (2, Outcome::Wrong), (2, Outcome::Errored), (1, Outcome::Errored)]
    );
    let error = run.attempts.last().unwrap().error.as_deref();
    let expected = "`answers` has no recorded answer to question `case-003`, attempt 1";
    assert_eq!(error, Some(expected));
    assert!(verify(&out).unwrap().holds());
    fs::write(&answers, "{}").unwrap();
    let differences = verify(&out).unwrap().differences;
    assert_eq!(differences.len(), 1, "the recorded answers were changed: {differences:?}");
}

#[test]
fn recorded_log_probabilities_are_scored() {
    let dir = tempdir().unwrap();
    let exam = exam_file(dir.path(), 2);
    let answers = dir.path().join("scores.jsonl");
    let line = |id: &str, best: &str| {
        let others = ["A", "B", "C", "D", "E"]
            .map(|letter| format!("\"{letter}\":{}", if letter == best { -0.5 } else { -3.0 }));
        format!("{{\"id\":\"{id}\",\"log_probs\":{{{}}}}}\n", others.join(","))
    };
    fs::write(&answers, line("case-000", "A") + &line("case-001", "B")).unwrap();
    let model = format!("replay:{}", answers.display());
    for protocol in ["mmlu-letter", "medqa-text"] {
        let out = dir.path().join(protocol);
        let mut command = crate::support::medharness();
        command.args(["eval", "--protocol", protocol, "--model", &model, "--exam"]);
        command.arg(&exam).arg("--out").arg(&out).assert().success();
        let outcomes: Vec<_> = open(&out).attempts.iter().map(|attempt| attempt.outcome).collect();
        assert_eq!(outcomes, [Outcome::Correct, Outcome::Wrong], "{protocol}");
        assert!(verify(&out).unwrap().holds());
    }
    let out = dir.path().join("generated");
    let output = eval_command(&exam, &model, &out).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot generate replies"));
}

#[test]
fn broken_recorded_answers_are_bad_input() {
    let dir = tempdir().unwrap();
    let exam = exam_file(dir.path(), 4);
    let answers = dir.path().join("answers.jsonl");
    for (text, message) in [
        ("", "no recorded answers"),
        ("{\"id\":\"case-000\",\"text\":\"A\"}\n{\"id\"", "line 2: EOF"),
        ("{\"id\":\"case-000\",\"txt\":\"A\"}", "line 1: unknown field `txt`"),
        ("{\"id\":\"case-009\",\"text\":\"A\"}", "has no question `case-009`"),
        (
            "{\"id\":\"case-000\",\"text\":\"A\"}\n{\"id\":\"case-000\",\"text\":\"B\"}",
            "line 2: question `case-000`, attempt 1 is recorded twice",
        ),
    ] {
        fs::write(&answers, text).unwrap();
        let model = format!("replay:{}", answers.display());
        let output = eval_command(&exam, &model, &dir.path().join("run")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(message), "{stderr}");
        assert!(!dir.path().join("run").exists(), "nothing was asked");
    }
}

#[test]
fn an_unknown_model_is_bad_input() {
    let dir = tempdir().unwrap();
    let exam = exam_file(dir.path(), 4);
    for model in ["stub:nothing", "stub:always-", "stub:gold?delay=3", "replay:/no/such/file"] {
        eval_command(&exam, model, &dir.path().join("run")).assert().code(2);
    }
}

/// `cargo test` builds the examples beside the program; a run of this binary alone does not.
#[test]
fn the_example_of_a_custom_model_runs() {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_medharness"));
    let example = program.with_file_name("examples").join("custom_model");
    if !example.exists() {
        crate::support::skipped("the built example custom_model");
        return;
    }
    let output = std::process::Command::new(example).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("successes: 1") && stdout.contains("trials: 1"), "{stdout}");
}
