//! The pre-training text: every fact stated, lists to choose from, general quizzes.
//!
//! Lists and quizzes are there because binding an option to its letter is learnt in a sudden
//! transition, which fine-tuning alone may not reach. Lists hold medical and everyday words alike but state
//! no fact; quizzes are about everyday life alone.

use super::{
    Facts, Topic,
    draw::{self, LEADS, Options, Wrong},
    items::held_out,
    runs::ExamRuns,
};
use crate::stats::Generator;

/// Times that each sentence about each fact is written.
const READINGS: usize = 4;

/// Sentences in a paragraph.
const SENTENCES: usize = 6;

/// Lists to choose from.
const LISTS: usize = 3000;

/// Quizzes about everyday life.
const QUIZZES: usize = 3000;

/// What stands between a letter and its text.
const SEPARATORS: [&str; 4] = [": ", ": ", ". ", ") "];

/// Ways to open a list.
const OPENINGS: [&str; 4] =
    ["Here is a list.", "Choose from these.", "A list:", "There are several things."];

/// Ways to give a quiz's answer.
const CLOSINGS: [&str; 4] = ["Answer: ", "The right one is ", "It is ", "Choose "];

/// Returns the documents in the order of the text.
pub(super) fn documents(
    medical: &Facts,
    general: &Facts,
    runs: &ExamRuns,
    generator: &mut Generator,
) -> Vec<String> {
    let mut documents = Vec::new();
    for _ in 0..READINGS {
        let mut sentences: Vec<String> = Vec::new();
        for (topic, fact) in medical.each().chain(general.each()) {
            for wording in &topic.read {
                let one = std::slice::from_ref(wording);
                sentences.push(draw::worded(one, topic, fact, generator));
            }
        }
        generator.shuffle(&mut sentences);
        documents.extend(sentences.chunks(SENTENCES).map(|sentences| sentences.join(" ")));
    }
    let pools = pools(medical, general);
    let mixed: Vec<&str> = pools.concat();
    let text = |document: &String| document.clone();
    for _ in 0..LISTS {
        documents.push(runs.fresh(
            generator,
            text,
            |_| true,
            |generator| {
                let pool = &pools[generator.index(pools.len())];
                let narrow = generator.below(2) == 0 && pool.len() >= 6;
                list(if narrow { pool } else { &mixed }, generator)
            },
        ));
    }
    let everyday: Vec<_> = general.each().collect();
    for _ in 0..QUIZZES {
        documents.push(runs.fresh(
            generator,
            text,
            |_| true,
            |generator| quiz(everyday[generator.index(everyday.len())], generator),
        ));
    }
    generator.shuffle(&mut documents);
    documents
}

/// Returns the answers of each topic, each once, and the subjects of everyday topics.
fn pools<'a>(medical: &'a Facts, general: &'a Facts) -> Vec<Vec<&'a str>> {
    let answers = |topic: &'a Topic| {
        let mut answers: Vec<&str> = Vec::new();
        for fact in &topic.facts {
            if !answers.contains(&fact.answer.as_str()) {
                answers.push(&fact.answer);
            }
        }
        answers
    };
    let subjects = |topic: &'a Topic| topic.facts.iter().map(|fact| &*fact.subject).collect();
    let all = medical.topics.iter().chain(&general.topics).map(answers);
    all.chain(general.topics.iter().map(subjects)).collect()
}

/// Returns a list of three to six things and where each stands.
fn list(pool: &[&str], generator: &mut Generator) -> String {
    let count = 3 + generator.index(4);
    let mut things: Vec<&str> = Vec::new();
    while things.len() < count {
        let thing = draw::one_of(pool, generator);
        if !things.contains(&thing) {
            things.push(thing);
        }
    }
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let opening = OPENINGS[generator.index(OPENINGS.len())];
    let style = generator.below(4);
    let mut order: Vec<usize> = (0..count).collect();
    generator.shuffle(&mut order);
    let places: String = order
        .into_iter()
        .map(|index| {
            let (thing, letter) = (things[index], draw::letter(index));
            match style {
                0 => format!("\nWhere is {thing}? At {letter}{separator}{thing}."),
                1 => format!("\nFind {thing}. Answer: {letter}{separator}{thing}"),
                2 => format!("\nThe entry {thing} is {letter}."),
                _ => format!("\nWhich one is {thing}? It is {letter}{separator}{thing}"),
            }
        })
        .collect();
    format!("{opening}{}{places}", draw::lines(&things, separator))
}

/// Returns a question about everyday life with options and the right one.
fn quiz((topic, fact): (&Topic, &super::Fact), generator: &mut Generator) -> String {
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let closing = CLOSINGS[generator.index(CLOSINGS.len())];
    let wordings = [held_out(&topic.ask).0, &topic.exam].concat();
    let lead = draw::lead(LEADS, 4, generator);
    let stem = draw::worded(&wordings, topic, fact, generator);
    let count = draw::option_count(generator);
    let options = Options::draw((topic, fact), count, Wrong::Anywhere, generator, draw::anywhere);
    format!("{lead}{stem}{}\n{closing}{}", options.lines(separator), options.answer(separator))
}
