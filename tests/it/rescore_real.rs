//! `medharness rescore` reproduces published accuracies from real recorded answers.

use std::path::Path;

use medharness::{
    eval::rescore::{Request, Rescoring, RuleResult},
    models::Transcript,
    protocol::RuleId,
    stats::{PrintedShare, Unit},
};

fn rescored(path: &Path, request: Request) -> Rescoring {
    let transcript = Transcript::load(path, None).expect("real answers");
    Rescoring::new(&transcript, &request).expect("answers")
}

fn all() -> Request {
    Request { rules: RuleId::ALL.to_vec(), ..Request::default() }
}

fn result(rescoring: &Rescoring, rule: RuleId) -> &RuleResult {
    rescoring.rules.iter().find(|result| result.rule == rule).expect("asked for")
}

fn right(rescoring: &Rescoring, rule: RuleId) -> (usize, usize) {
    let counts = result(rescoring, rule).counts.expect("right answers are recorded");
    (counts.right, counts.asked)
}

#[test]
fn mirages_rule_gives_gpt4s_published_accuracy() {
    let path = shared!("transcripts/mirage_medqa_cot_gpt4.jsonl");
    let published = PrintedShare::parse("83.97", Unit::Percent).ok();
    let rescoring = rescored(&path, Request { published, ..all() });
    assert_eq!(right(&rescoring, RuleId::Mirage), (1069, 1273));
    let mirage = result(&rescoring, RuleId::Mirage);
    assert_eq!(mirage.defaults, 27, "answers that are A because nothing matched");
    assert_eq!(mirage.counts.expect("scored").right_by_default, 13);
    assert_eq!(mirage.without_defaults.as_ref().expect("scored").successes, 1056);
    let published = rescoring.published.expect("asked for");
    assert_eq!((published.counts, published.equal), (vec![1069], vec![RuleId::Mirage]));
    assert!(rescoring.replies.missing.is_empty());
}

#[test]
fn gpt35s_missing_answers_account_for_the_difference() {
    let path = shared!("transcripts/mirage_medqa_cot_gpt35.jsonl");
    let published = PrintedShare::parse("65.04", Unit::Percent).ok();
    let rescoring = rescored(&path, Request { published, ..all() });
    assert_eq!(right(&rescoring, RuleId::Mirage), (826, 1273));
    let missing: Vec<&str> = rescoring.replies.missing.keys().map(String::as_str).collect();
    assert_eq!(missing, ["0041", "0330", "0580", "0834", "1018", "1260"]);
    let mirage = result(&rescoring, RuleId::Mirage);
    assert_eq!((mirage.defaults, mirage.counts.expect("scored").right_by_default), (20, 4));
    let [low, high] = mirage.bounds.clone().expect("scored");
    assert_eq!((low.successes, high.successes), (826, 832));
    let published = rescoring.published.expect("asked for");
    assert_eq!((published.counts, published.equal), (vec![828], vec![]));
    assert_eq!(published.with_missing, [RuleId::Mirage]);
}

#[test]
fn mmlu_pros_first_pattern_reads_what_was_recorded() {
    for (name, health, health_unread, unread, marked_right) in
        [("llama2_7b", 187, 15, 174, 399), ("llama3_8b", 350, 31, 107, 746)]
    {
        let path = shared!("transcripts").join(format!("mmlu_pro_{name}.jsonl"));
        let rescoring = rescored(&path, Request { by: vec!["category".into()], ..all() });
        let mmlu_pro = result(&rescoring, RuleId::MmluPro);
        let marked = mmlu_pro.as_marked.expect("pred is recorded");
        assert_eq!((marked.same, marked.of), (1535, 1535), "{name}");
        let group = rescoring.groups.iter().find(|group| group.labels["category"] == "health");
        let group = group.expect("a category");
        let counts = group.rules[&RuleId::MmluPro].expect("scored");
        assert_eq!((counts.right, counts.asked), (health, 818), "{name}");
        assert_eq!(group.marks.expect("pred is recorded").right, health);
        assert_eq!(group.marks.expect("pred is recorded").none_read, Some(health_unread));
        let marks = rescoring.marks.expect("pred is recorded");
        assert_eq!((marks.none_read, marks.right), (Some(unread), marked_right), "{name}");
    }
}

#[test]
fn letters_of_16_models_give_each_recorded_correctness() {
    let path = shared!("exams/usmle_2023/answers_of_16_models.jsonl");
    let by = vec!["model".into(), "step".into()];
    let rescoring = rescored(&path, Request { by, ..all() });
    for rule in
        [RuleId::Startswith, RuleId::Opencompass, RuleId::LmEvalGenerative, RuleId::HelmJoint]
    {
        let marked = result(&rescoring, rule).as_marked.expect("correct is recorded");
        assert_eq!((marked.same, marked.of), (6032, 6032), "{rule}");
        assert_eq!(right(&rescoring, rule), (4790, 6032), "{rule}");
    }
    assert_eq!(rescoring.groups.len(), 16 * 3);
    for group in &rescoring.groups {
        let counts = group.rules[&RuleId::HelmJoint].expect("scored");
        assert_eq!(counts.right, group.marks.expect("recorded").right, "{:?}", group.labels);
        let asked = match &*group.labels["step"] {
            "1" => 119,
            "2" => 121,
            _ => 137,
        };
        assert_eq!(counts.asked, asked);
    }
    assert_eq!(rescoring.replies.missing.len(), 84, "the interface returned an error");
}

#[test]
fn medical_reasonings_marks_are_kept_by_prompt() {
    let path = shared!("transcripts/medical_reasoning_usmle.jsonl");
    let rescoring = rescored(&path, Request { by: vec!["prompt".into()], ..all() });
    assert_eq!(rescoring.groups.len(), 30);
    for (prompt, expected) in [("--", 39), ("Let's think step by step", 40)] {
        let group = rescoring.groups.iter().find(|group| group.labels["prompt"] == prompt);
        let marks = group.expect("a prompt").marks.expect("marked");
        assert_eq!((marks.right, marks.of), (expected, 100), "{prompt}");
    }
    assert_eq!(rescoring.replies.without_gold, 30);
    assert_eq!(rescoring.replies.assumed_letters, None, "every question lists its options");
}

#[test]
fn free_text_has_readings_loops_and_no_accuracy() {
    let path = shared!("transcripts/medalpaca_13b_freetext.json");
    let rescoring = rescored(&path, all());
    assert_eq!(rescoring.replies.without_gold, 216);
    assert!(rescoring.rules.iter().all(|rule| rule.counts.is_none() && rule.strict.is_none()));
    let loops = rescoring.replies.loops;
    assert_eq!((loops.words, loops.characters), (132, 47));
    assert_eq!(result(&rescoring, RuleId::Mirage).defaults, 216, "A, whatever was said");
}
