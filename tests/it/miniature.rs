//! The miniature study: its facts keep their promises, its vignettes can be asked.

use std::{collections::BTreeMap, path::Path};

use medharness::{
    corpus::miniature::{Facts, FactsError, Wording},
    exam::{Exam, Report, normalized},
};

use crate::support::medharness;

#[test]
fn there_are_400_facts_and_120_for_each_step() {
    let facts = Facts::medical();
    let mut steps: BTreeMap<u8, usize> = BTreeMap::new();
    for topic in &facts.topics {
        *steps.entry(topic.step.unwrap()).or_default() += topic.facts.len();
    }
    assert!(steps.values().sum::<usize>() >= 400, "{steps:?}");
    assert_eq!(steps.keys().collect::<Vec<_>>(), [&1, &2, &3]);
    assert!(steps.values().all(|facts| *facts >= 120), "{steps:?}");
}

/// Spelt otherwise, a subject could still be given twice, and with two answers.
#[test]
fn no_subject_of_a_topic_has_two_answers() {
    for topic in Facts::medical().topics {
        let mut subjects: Vec<String> =
            topic.facts.iter().map(|fact| normalized(&fact.subject)).collect();
        subjects.sort();
        let all = subjects.len();
        subjects.dedup();
        assert_eq!(subjects.len(), all, "{}", topic.name);
    }
}

/// An option that can be read off the stem tests nothing.
#[test]
fn no_subject_names_an_answer_of_its_topic() {
    for topic in Facts::medical().topics {
        for fact in &topic.facts {
            let subject = format!(" {} ", normalized(&fact.subject));
            let named = |answer: &str| subject.contains(&format!(" {} ", normalized(answer)));
            assert!(!named(&fact.answer), "{}: {}", topic.name, fact.subject);
        }
    }
}

#[test]
fn every_wording_is_used_for_one_purpose_alone() {
    let facts = Facts::medical();
    let mut wordings: Vec<&String> = Vec::new();
    for topic in &facts.topics {
        for kind in [Wording::Read, Wording::Ask, Wording::Card, Wording::Exam] {
            wordings.extend(topic.wordings(kind));
        }
        assert!(topic.exam.len() >= 3 && topic.ask.len() >= 3 && topic.read.len() >= 3);
    }
    wordings.sort();
    let all = wordings.len();
    wordings.dedup();
    assert_eq!(wordings.len(), all);
}

/// The README lists every topic with its step and the kind of its source.
#[test]
fn every_topic_has_the_kind_of_its_source() {
    let readme = std::fs::read_to_string("golden/mini/README.md").unwrap();
    let facts = Facts::medical();
    let count: usize = facts.topics.iter().map(|topic| topic.facts.len()).sum();
    assert!(readme.contains(&format!("{count} medical facts in {} topics", facts.topics.len())));
    for topic in facts.topics {
        assert!(
            readme.contains(&format!("\n| {} | {} | ", topic.name, topic.step.unwrap())),
            "{}",
            topic.name
        );
    }
}

#[test]
fn broken_facts_are_refused_by_name() {
    let topic = |facts: &str, exam: &str| {
        format!(
            "[[topic]]\nname = \"t\"\nstep = 1\nages = [1, 2]\nread = [\"{{subject}}: {{answer}}\"]\n\
             ask = [\"{{subject}}?\"]\ncard = [\"{{subject}}.\"]\nexam = [\"{exam}\"]\nfacts = [{facts}]\n"
        )
    };
    let fact = |subject: &str, answer: &str, more: &str| {
        format!("{{ subject = \"{subject}\", answer = \"{answer}\"{more} }},")
    };
    let four: String = ["a", "b", "c", "d"].map(|name| fact(name, name, "")).concat();
    Facts::parse(&topic(&four, "Stem {subject}")).unwrap();
    let refusal =
        |facts: &str, exam: &str| Facts::parse(&topic(facts, exam)).unwrap_err().to_string();
    let stem = "Stem {subject}";
    assert_eq!(
        refusal(&format!("{four}{}", fact("a", "b", "")), stem),
        "topic `t`: `a` is given twice"
    );
    assert_eq!(
        refusal(&format!("{four}{}", fact("e", "a", ", also = [\"z\"]")), stem),
        "topic `t`: `z` is no other answer that `e` could have"
    );
    assert_eq!(
        refusal(&format!("{four}{}", fact("e", "a", ", also = [\"a\"]")), stem),
        "topic `t`: `a` is no other answer that `e` could have"
    );
    assert_eq!(
        refusal(&format!("{four}{}", fact("e", "a", ", also = [\"b\"]")), stem),
        "topic `t`: only 2 answers are wrong for `e`, at least 3 are needed"
    );
    assert_eq!(
        refusal(&format!("{four}{}", fact("e", "a", ", ages = [3, 2]")), stem),
        "topic `t`: ages [3, 2] are no range"
    );
    assert_eq!(
        refusal(&four, "The answer is {answer}, for {subject}"),
        "topic `t`: `The answer is {answer}, for {subject}` must hold {subject}, and {age} at most once"
    );
    let misspelt = Facts::parse(&topic(&fact("a", "b", ", alsso = []"), stem)).unwrap_err();
    assert!(matches!(misspelt, FactsError::Malformed(_)));
}

#[test]
fn the_vignettes_are_60_askable_questions_without_a_defect() {
    let exam = Exam::load(Path::new("golden/mini/vignettes.jsonl")).unwrap();
    let report = Report::new(&exam, Vec::new());
    assert_eq!((report.errors, report.warnings), (0, 0));
    let all = &report.parts[0];
    assert!(all.asked >= 60 && all.asked == all.total, "{} of {}", all.asked, all.total);
    assert!(all.option_counts.keys().all(|options| (4..=6).contains(options)));
    for part in &report.parts[1..] {
        assert!(part.asked >= 20, "step {}: {}", part.name, part.asked);
    }
    medharness().args(["exam", "check", "golden/mini/vignettes.jsonl"]).assert().success();
}

#[test]
fn every_vignette_has_a_reason() {
    let reasons = std::fs::read_to_string("golden/mini/vignette_reasons.jsonl").unwrap();
    let reasons: Vec<serde_json::Value> =
        reasons.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let exam = Exam::load(Path::new("golden/mini/vignettes.jsonl")).unwrap();
    let named: Vec<&str> = reasons.iter().map(|reason| reason["id"].as_str().unwrap()).collect();
    let asked: Vec<&str> = exam.questions.iter().map(|question| question.id.0.as_str()).collect();
    assert_eq!(named, asked);
    for reason in &reasons {
        assert!(reason["reason"].as_str().unwrap().len() > 40, "{reason}");
    }
}
