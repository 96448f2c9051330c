//! Protocol files: identities, prompts, continuations, choices, and what is refused.

use medharness::{
    exam::{Exam, Letter},
    protocol::{
        Bos, Decoding, FinishReason, Protocol, ProtocolError, Reading, Reason, RuleId, Score,
    },
};

use crate::support::question;

/// A number carries its protocol's hash, so a shipped file never changes: a change is a new id.
const PINNED: [(&str, &str); 7] = [
    ("paper-2023-04", "3bc68c6c2d62dc458bb5e83cd523207bc6f8e951c1f710b8de791ae8ca52fd1d"),
    ("medalpaca-fixed", "f2389198c6ae02866220f358c3e186403c67bfaac25f2ebdd15bbfc37d25bf72"),
    ("notebook-2023-04-02", "a265177231d11d68679d9aae9817ab5a109c3906658676b3772399b630895bc7"),
    ("strict-v1", "070845bc0ffd3d39867ef00f83e2ef5d6d270359e110cd14dcb5bd4b0b967889"),
    ("mmlu-letter", "01d53c7fd8fddeb3847c81d902a1f6ced12a1e71af69b30d3b0a675355fbdac6"),
    ("medqa-text", "a9ba18c379fda6200aa5ece5cff16a0358c22d7ab550dca05426aadc556ae6ff"),
    ("medqa-text-norm", "f6b65964bf17d53b4f6d38eb66c5446b5a28cbbcd39986c702c772c06300d028"),
];

#[test]
fn shipped_protocols_never_change() {
    assert_eq!(Protocol::builtin_ids().count(), PINNED.len());
    for (id, sha256) in PINNED {
        let protocol = Protocol::builtin(id).expect("shipped");
        assert_eq!(protocol.id, id);
        assert_eq!(protocol.sha256(), sha256, "{id} was edited: give it a new id instead");
    }
}

#[test]
fn the_hash_is_that_of_the_file() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/protocols/strict-v1.toml");
    let loaded = Protocol::load(path).expect("a shipped file");
    assert_eq!(loaded, Protocol::builtin("strict-v1").expect("shipped"));
    assert_eq!(loaded.toml(), std::fs::read_to_string(path).expect("a shipped file"));
    assert_eq!(loaded.toml().as_bytes(), std::fs::read(path).expect("a shipped file"));
}

#[test]
fn the_paper_prompts_as_its_script_did() {
    let question = question(&["Aspirin", "Penicillin {letter}"]);
    let expected = "Below is an instruction that describes a task, paired with an input that provides \
        further context. Write a response that appropriately completes the request.\
        \n\n### Instruction:\nAnswer this multiple choice question.\
        \n\n### Input:\nWhich drug?\nA: Aspirin\nB: Penicillin {letter}\
        \n\n### Response:\nThe Answer to the question is:";
    for id in ["paper-2023-04", "medalpaca-fixed", "strict-v1"] {
        assert_eq!(Protocol::builtin(id).expect("shipped").render(&question), expected, "{id}");
    }
}

#[test]
fn log_likelihood_prompts_follow_their_layouts() {
    let question = question(&["Aspirin", "Penicillin"]);
    let mmlu = Protocol::builtin("mmlu-letter").expect("shipped");
    assert_eq!(
        mmlu.render(&question),
        "The following are multiple choice questions (with answers) about professional medicine.\
         \n\nWhich drug?\nA. Aspirin\nB. Penicillin\nAnswer:"
    );
    assert_eq!(mmlu.continuations(&question), [" A", " B"]);
    let medqa = Protocol::builtin("medqa-text").expect("shipped");
    assert_eq!(
        medqa.render(&question),
        "Question: Which drug?\nA. Aspirin\nB. Penicillin\nAnswer:"
    );
    assert_eq!(medqa.continuations(&question), [" Aspirin", " Penicillin"]);
    assert_eq!(medqa.sampling(1), None);
}

#[test]
fn alpaca_without_input_is_a_matter_of_empty_parts() {
    let mut template = Protocol::builtin("strict-v1").expect("shipped").prompt;
    template.primer = "Below is an instruction that describes a task. Write a response that \
        appropriately completes the request."
        .into();
    template.instruction = String::new();
    template.input_header = String::new();
    template.answer_prefix = String::new();
    assert_eq!(
        template.render(&question(&["Aspirin"])),
        "Below is an instruction that describes a task. Write a response that appropriately \
         completes the request.\n\n### Instruction:\nWhich drug?\nA: Aspirin\n\n### Response:\n"
    );
}

#[test]
fn decoding_is_that_of_the_source() {
    let paper = Protocol::builtin("paper-2023-04").expect("shipped");
    let sampling = paper.sampling(7).expect("it generates");
    assert_eq!((sampling.greedy, sampling.top_k, sampling.max_new_tokens), (false, 50, 128));
    assert_eq!((sampling.temperature, sampling.top_p, sampling.seed), (0.4, 0.9, 7));
    assert_eq!(sampling.bos, Bos::Model);
    assert!(matches!(
        Protocol::builtin("notebook-2023-04-02").expect("shipped").decoding,
        Decoding::Greedy { max_new_tokens: 128, .. }
    ));
}

#[test]
fn the_last_reply_marker_counts_as_in_the_script() {
    let paper = Protocol::builtin("paper-2023-04").expect("shipped");
    let question = question(&["Aspirin", "Penicillin"]);
    let reply = " A: Aspirin\n\n### Response:\nThe Answer to the question is: B: Penicillin";
    let reading = paper.read(&question, reply, FinishReason::EndOfText);
    assert_eq!(reading.picked, Some('B'));
}

#[test]
fn only_a_refused_reply_is_asked_again() {
    let paper = Protocol::builtin("paper-2023-04").expect("shipped");
    let question = question(&["Aspirin", "Penicillin"]);
    let read = |reply| paper.read(&question, reply, FinishReason::EndOfText).reading;
    assert!(paper.asks_again(read("B"), 1));
    assert!(paper.asks_again(read(""), 4));
    assert!(!paper.asks_again(read("B"), 5), "five attempts at most");
    assert!(!paper.asks_again(read("B: Penicillin"), 1));
    let accepted = read("I think it is B");
    assert_eq!(accepted, Reading::Unparsed { reason: Reason::LetterNotOffered });
    assert!(!paper.asks_again(accepted, 1), "the script accepts any capital");
}

#[test]
fn the_highest_score_is_chosen_as_normalised() {
    let question = question(&["Ä", "Penicillin"]);
    let score = |letter, log_prob, tokens| Score { letter: self::letter(letter), log_prob, tokens };
    let scores = [score('A', -2.0, 1), score('B', -9.0, 3)];
    let choose = |id: &str, scores: &[Score]| {
        Protocol::builtin(id).expect("shipped").choose(&question, scores).letter()
    };
    assert_eq!(choose("medqa-text", &scores), Some(letter('A')));
    assert_eq!(choose("medqa-text-norm", &scores), Some(letter('B')), "-2/1 against -9/10");
    assert_eq!(
        choose("mmlu-letter", &[score('A', -1.0, 1), score('B', -1.0, 1)]),
        Some(letter('A'))
    );
    assert_eq!(choose("mmlu-letter", &scores[..1]), None, "an option without a score");
    assert_eq!(choose("mmlu-letter", &[score('A', f64::NAN, 1), score('B', -1.0, 1)]), None);
    assert_eq!(choose("strict-v1", &scores), None, "no scores under a generating protocol");
}

#[test]
fn normalisations_divide_by_the_text_without_its_lead() {
    use medharness::protocol::Normalisation::{PerByte, PerCharacter, PerToken, Sum};
    let apply =
        |normalisation: medharness::protocol::Normalisation| normalisation.apply(-12.0, 4, "Äb");
    let applied = [Sum, PerToken, PerCharacter, PerByte].map(apply).map(|value| value.to_string());
    assert_eq!(applied, ["-12", "-3", "-6", "-4"]);
}

#[test]
fn the_off_by_one_leaves_out_the_first_question_of_each_step() {
    let mut exam = Exam::new("three", Vec::new());
    exam.excluded.insert(medharness::exam::QuestionId("1/1".into()), "image".into());
    use medharness::exam::Step::{One, Two};
    for (id, step) in [("0", None), ("1/1", Some(One)), ("1/2", Some(One)), ("2/1", Some(Two))] {
        let mut question = question(&["Aspirin"]);
        question.id.0 = id.into();
        question.step = step;
        exam.questions.push(question);
    }
    let left_out = |id: &str, exam: &Exam| {
        let skipped = Protocol::builtin(id).expect("shipped").not_asked(exam);
        skipped.keys().map(|id| id.0.clone()).collect::<Vec<_>>()
    };
    assert_eq!(left_out("paper-2023-04", &exam), ["1/1", "2/1"]);
    assert!(left_out("medalpaca-fixed", &exam).is_empty());
    exam.questions.iter_mut().for_each(|question| question.step = None);
    assert_eq!(left_out("paper-2023-04", &exam), ["0"], "one file");
}

#[test]
fn a_bad_protocol_names_file_line_and_field() {
    let good = Protocol::builtin("paper-2023-04").expect("shipped").toml().to_owned();
    let cases = [
        ("max = 5", "max = 0", "`attempts.max` is 0"),
        ("max = 5", "max = 5\ntries = 5", "unknown field `tries`"),
        ("max = 5\n", "", "missing field `max`"),
        ("temperature = 0.4", "temperature = nan", "`decoding.sampling.temperature`"),
        ("top_p = 0.9", "top_p = 1.5", "`decoding.sampling.top_p` is 1.5"),
        ("max_new_tokens = 128", "max_new_tokens = 0", "`decoding.max_new_tokens` is 0"),
        ("stop = []", "stop = [\"\"]", "`decoding.stop` holds an empty string"),
        ("rule = \"medalpaca\"", "rule = \"argmax\"", "`reading.rule`"),
        ("rule = \"medalpaca\"", "rule = \"guess\"", "unknown variant `guess`"),
        ("{letter}: {text}", "{letter}:", "`prompt.option_line`"),
        ("id = \"paper-2023-04\"", "id = \"a b\"", "`id` must be"),
        ("bos = \"model\"", "bos = \"always\"", "unknown variant `always`"),
        ("bos = \"model\"", "bos =", "bos =:"),
    ];
    for (from, to, expected) in cases {
        assert!(good.contains(from), "{from}");
        let text = good.replace(from, to);
        let error = Protocol::parse(&text, "my.toml").expect_err(to);
        let ProtocolError::Field { path, line, problem } = &error else { panic!("{error}") };
        assert_eq!(path, "my.toml");
        if expected != "bos =:" {
            assert!(problem.contains(expected), "{to}: {problem}");
        }
        let field = to.split([' ', '=', '{']).next().unwrap_or_default();
        let place = text.lines().position(|l| l.starts_with(&format!("{field} =")));
        if let Some(place) = place.filter(|_| !to.contains('\n')) {
            assert_eq!(*line, place + 1, "{error}");
        }
    }
}

#[test]
fn an_unknown_protocol_lists_those_there_are() {
    let error = Protocol::find("paper").expect_err("no such protocol").to_string();
    assert!(error.contains("paper-2023-04, medalpaca-fixed"), "{error}");
    let error = Protocol::load("no/such.toml").expect_err("no such file");
    assert!(matches!(error, ProtocolError::Read { .. }));
}

#[test]
fn rules_are_named_in_kebab_case() {
    assert_eq!(serde_json::to_string(&RuleId::StrictV1).expect("a name"), "\"strict-v1\"");
}

fn letter(letter: char) -> Letter {
    Letter::from_char(letter).expect("a capital")
}
