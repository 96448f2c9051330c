//! Runs for the tests of reports: a small exam written for this project, replies of every kind,
//! hostile ones too, and numbers worked out here, apart from the program.

#![expect(clippy::unwrap_used, reason = "a test fails where it does not hold")]

use std::collections::BTreeMap;

use medharness::{
    exam::{Choice, Letter, Question, QuestionId, Step},
    protocol::{FinishReason, Outcome, Reading, Reason},
    reports::RunRecords,
    stats::{Confidence, Share},
    store::*,
};

/// A reply that would run a script, load a picture and end its element, were it not escaped.
pub(crate) const HOSTILE: &str = "B: </script><script>document.title='owned'</script>\
    <img src=x onerror=\"document.title='owned'\"> {{ 43210 * 2 }} \u{2028}'\"&amp;<!--";

/// The questions: 36 in three steps, the last of each with an image.
pub(crate) fn questions() -> Vec<Question> {
    let stems = [
        (
            "Which vitamin does the skin make in sunlight?",
            ["Vitamin D", "Vitamin C", "Vitamin K", "Vitamin B12"],
        ),
        (
            "A cough with rust-coloured sputum most often comes from which organism?",
            ["Streptococcus pneumoniae", "Candida albicans", "Escherichia coli", "Giardia lamblia"],
        ),
        (
            "Which hormone lowers the blood sugar?",
            ["Insulin", "Glucagon", "Cortisol", "Adrenaline"],
        ),
        (
            "Which drug reverses an overdose of opioids?",
            ["Naloxone", "Flumazenil", "Atropine", "Protamine"],
        ),
    ];
    let steps = [Step::One, Step::Two, Step::Three];
    (0..36)
        .map(|index| {
            let (stem, texts) = stems[index % 4];
            let right = (index * 7 + 3) % 4;
            let options = (0..4).map(|place| Choice {
                letter: Letter::from_index(place).unwrap(),
                text: texts[(place + 4 - right) % 4].to_owned(),
            });
            Question {
                id: QuestionId(format!("step{}/{}", index / 12 + 1, index % 12 + 1)),
                step: Some(steps[index / 12]),
                text: format!("{stem} (Form {}.)", index / 4 + 1),
                options: options.collect(),
                answer: Letter::from_index(right).unwrap(),
                has_image: index % 12 == 11,
                source: "fixture".into(),
            }
        })
        .collect()
}

/// A run named `label` whose replies are drawn by `salt`; images are excluded, and question
/// `step1/1` is not run.
pub(crate) fn run(label: &str, salt: usize) -> RunRecords {
    let questions = questions();
    let mut attempts = Vec::new();
    let (mut excluded, mut not_run) = (BTreeMap::new(), BTreeMap::new());
    for (index, question) in questions.iter().enumerate() {
        if question.has_image {
            excluded.insert(question.id.clone(), "needs its image".to_owned());
        } else if index == 0 {
            not_run.insert(question.id.clone(), "first question of its step".to_owned());
        } else {
            attempts.extend(replies(question, index, salt));
        }
    }
    let timings = attempts
        .iter()
        .enumerate()
        .map(|(index, attempt)| Timing {
            question_id: attempt.question_id.clone(),
            attempt: attempt.attempt,
            wall_s: 0.125 * (index % 5 + 1) as f64,
        })
        .collect();
    let protocol = ProtocolIdentity { id: "strict-v1".into(), sha256: "5a".repeat(32) };
    let mut run = RunRecords {
        label: label.to_owned(),
        manifest: manifest(label, &protocol, Selection { excluded, not_run, shard: None }),
        questions,
        protocol_toml: "id = \"strict-v1\"\n".into(),
        deviations: vec!["none in a fixture".into()],
        attempts,
        timings,
        summary: Summary {
            format_version: FORMAT_VERSION,
            run_id: "0123456789abcdef".into(),
            attempts_sha256: "a7".repeat(32),
            protocol,
            parts: Vec::new(),
        },
    };
    run.summary.parts = ["all", "1", "2", "3"].iter().map(|name| part(&run, name)).collect();
    run
}

fn replies(question: &Question, index: usize, salt: usize) -> Vec<AttemptRecord> {
    let right = question.answer;
    let other = Letter::from_index((right.index() + 1) % 4).unwrap();
    let text = |letter| question.option(letter).unwrap();
    let kind = (index * (salt + 3) + salt) % 10;
    let (reply, outcome, error) = match kind {
        0..=3 => (format!("{right}: {}", text(right)), Outcome::Correct, None),
        4..=6 => (format!("{other}: {}", text(other)), Outcome::Wrong, None),
        7 => (String::new(), Outcome::Unparsed { reason: Reason::Empty }, None),
        8 if index.is_multiple_of(3) => {
            (String::new(), Outcome::Errored, Some("NaN in the logits"))
        }
        _ => (HOSTILE.to_owned(), Outcome::Unparsed { reason: Reason::TextOfNoOption }, None),
    };
    let letter = match outcome {
        Outcome::Correct => Some(right),
        Outcome::Wrong => Some(other),
        _ => None,
    };
    let reading = match letter {
        Some(letter) => Reading::Letter { letter },
        None => Reading::Unparsed { reason: Reason::NoForm },
    };
    let attempt = |number: u32, is_final: bool, text: String, outcome, reading| AttemptRecord {
        question_id: question.id.clone(),
        attempt: number,
        seed: 42 + u64::from(number),
        prompt_sha256: format!("{index:064x}"),
        prompt_tokens: 180 + index,
        prompt_first_ids: vec![1, 13866],
        prompt_last_ids: vec![2291, 29901],
        text,
        finish_reason: FinishReason::EndOfText,
        completion_tokens: 9,
        scores: Vec::new(),
        reading,
        letter: None,
        is_final,
        outcome,
        error: None,
    };
    let mut attempts = Vec::new();
    if kind == 3 {
        let refused = Reading::Unparsed { reason: Reason::RetriesSpent };
        let first = "I think that".to_owned();
        let outcome = Outcome::Unparsed { reason: Reason::RetriesSpent };
        attempts.push(attempt(1, false, first, outcome, refused));
    }
    let number = u32::try_from(attempts.len()).unwrap() + 1;
    let mut last = attempt(number, true, reply, outcome, reading);
    last.letter = letter;
    last.error = error.map(str::to_owned);
    attempts.push(last);
    attempts
}

fn manifest(label: &str, protocol: &ProtocolIdentity, selection: Selection) -> Manifest {
    Manifest {
        format_version: FORMAT_VERSION,
        run_id: "0123456789abcdef".into(),
        model: ModelIdentity {
            name: format!("model of {label}"),
            backend: "replay".into(),
            sha256: Some("b0".repeat(32)),
            adapter_sha256: None,
            tokenizer_sha256: None,
            dtype: None,
            files: Vec::new(),
            adapter_files: Vec::new(),
        },
        exam: ExamIdentity {
            name: "fixture".into(),
            sha256: "e1".repeat(32),
            total: 36,
            files: Vec::new(),
        },
        protocol: protocol.clone(),
        seed: 42,
        selection,
        kernel_set: "none".into(),
        tool: ToolIdentity {
            version: "0.1.0".into(),
            git_revision: "c0ffee".into(),
            rustc: "rustc 1.95.0".into(),
            target: "x86_64-unknown-linux-gnu".into(),
        },
        machine: Machine {
            cpu: "a processor".into(),
            threads: 2,
            mem_bytes: 1 << 34,
            os: "Linux 6".into(),
        },
        model_path: None,
        adapter_path: None,
        started_at: "2026-01-01T00:00:00Z".into(),
        resumed_at: Vec::new(),
        ended_at: Some("2026-01-01T00:01:00Z".into()),
        command_line: vec!["medharness".into(), "eval".into()],
    }
}

/// Works out one part of a summary by counting, without the program's own code for it.
fn part(run: &RunRecords, name: &str) -> Part {
    let within = |question: &&Question| {
        name == "all" || question.step.is_some_and(|step| step.to_string() == name)
    };
    let questions: Vec<&Question> = run.questions.iter().filter(within).collect();
    let mut ledger = Ledger { total: questions.len(), ..Ledger::default() };
    let mut letters = 0;
    for question in questions {
        let last = run.attempts.iter().find(|a| a.question_id == question.id && a.is_final);
        let Some(last) = last else {
            let left_out = run.manifest.selection.excluded.contains_key(&question.id);
            *(if left_out { &mut ledger.excluded } else { &mut ledger.not_run }) += 1;
            continue;
        };
        ledger.asked += 1;
        letters += usize::from(last.letter == Some(question.answer));
        match last.outcome {
            Outcome::Correct => ledger.correct += 1,
            Outcome::Wrong => ledger.wrong += 1,
            Outcome::Unparsed { reason } => {
                ledger.unparsed += 1;
                let name = serde_json::to_value(reason).unwrap().as_str().unwrap().to_owned();
                *ledger.unparsed_by_reason.entry(name).or_default() += 1;
            }
            _ => ledger.errored += 1,
        }
    }
    let unread = ledger.unparsed + ledger.errored;
    let share = |count: usize| count as f64 / ledger.asked as f64;
    Part {
        name: name.to_owned(),
        accuracies: Accuracies {
            headline: proportion(ledger.correct, ledger.asked),
            strict: proportion(ledger.correct, ledger.asked),
            parsed_only: proportion(ledger.correct, ledger.correct + ledger.wrong),
            bounds: Some([share(ledger.correct), share(ledger.correct + unread)]),
            letter: proportion(letters, ledger.asked),
        },
        baselines: Some(Baselines {
            uniform: 0.25,
            best_constant: (Letter::from_char('D').unwrap(), 0.28),
            longest_option: 0.31,
        }),
        ledger,
        accuracy_at_attempt: Vec::new(),
        attempts_histogram: vec![30, 3],
        retries: RetryEffect::default(),
    }
}

fn proportion(successes: usize, trials: usize) -> Option<Proportion> {
    let share = Share::new(successes, trials).ok()?;
    Some(Proportion {
        successes,
        trials,
        value: share.value(),
        wilson: share.wilson(Confidence::P95).into(),
        clopper_pearson: share.clopper_pearson(Confidence::P95).into(),
    })
}
