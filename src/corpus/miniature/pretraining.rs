//! The pre-training text: lists to choose from, every fact stated, general quizzes.
//!
//! Binding an option to its letter is learnt in a sudden transition, which fine-tuning alone may not
//! reach. It comes soonest where the letter follows the thing at once (`pear B`) in short lists of
//! few different things; so these open the text, and longer lists, other ways to ask, matchings
//! (`France B` below a list of capitals) and quizzes follow, mixed with sentences that state the
//! facts. Lists hold medical and everyday words alike but state no fact; matchings and quizzes are
//! about everyday life alone.

use super::{
    Fact, Facts, Topic,
    draw::{self, LEADS, Options, Wrong},
    items::held_out,
    runs::ExamRuns,
};
use crate::stats::Generator;

/// Times that each sentence about each fact is written.
const READINGS: usize = 4;

/// Sentences in a paragraph.
const SENTENCES: usize = 6;

/// Lists of three things from the pool of short lists.
const SHORT_LISTS: usize = 10_000;

/// Things that short lists are made of.
const SHORT_POOL: usize = 40;

/// Lists of three to six things from everywhere.
const LISTS: usize = 3000;

/// Lists of answers with the subjects they belong to.
const MATCHINGS: usize = 3000;

/// Quizzes about everyday life.
const QUIZZES: usize = 3000;

/// What stands between a letter and its text.
const SEPARATORS: [&str; 4] = [": ", ": ", ". ", ") "];

/// Ways to open a list.
const OPENINGS: [&str; 4] =
    ["Here is a list.", "Choose from these.", "A list:", "There are several things."];

/// Ways to give a quiz's answer.
const CLOSINGS: [&str; 4] = ["Answer: ", "The right one is ", "It is ", "Choose "];

/// Returns the documents in the order of the text: short lists first, then everything else shuffled.
pub(super) fn documents(
    medical: &Facts,
    general: &Facts,
    runs: &ExamRuns,
    generator: &mut Generator,
) -> Vec<String> {
    let pools = pools(medical, general);
    let mixed: Vec<&str> = pools.concat();
    let short: Vec<&str> = general.each().map(|(_, fact)| &*fact.answer).collect();
    let short = distinct(&short, SHORT_POOL, generator);
    let everyday: Vec<(&Topic, &Fact)> = general.each().collect();
    let fresh =
        |count: usize, generator: &mut Generator, draw: &dyn Fn(&mut Generator) -> String| {
            let one = |_| runs.fresh(generator, String::clone, |_| true, draw);
            (0..count).map(one).collect::<Vec<_>>()
        };
    let opening = fresh(SHORT_LISTS, generator, &|generator| short_list(&short, generator));
    let mut documents = readings(medical, general, generator);
    documents.extend(fresh(LISTS, generator, &|generator| {
        let pool = &pools[generator.index(pools.len())];
        let narrow = generator.below(2) == 0 && pool.len() >= 6;
        list(if narrow { pool } else { &mixed }, generator)
    }));
    documents.extend(fresh(MATCHINGS, generator, &|generator| {
        matching(&general.topics[generator.index(general.topics.len())], generator)
    }));
    documents.extend(fresh(QUIZZES, generator, &|generator| {
        quiz(everyday[generator.index(everyday.len())], generator)
    }));
    generator.shuffle(&mut documents);
    [opening, documents].concat()
}

/// Returns paragraphs in which every sentence about every fact stands [`READINGS`] times.
fn readings(medical: &Facts, general: &Facts, generator: &mut Generator) -> Vec<String> {
    let mut paragraphs = Vec::new();
    for _ in 0..READINGS {
        let mut sentences: Vec<String> = Vec::new();
        for (topic, fact) in medical.each().chain(general.each()) {
            for wording in &topic.read {
                let one = std::slice::from_ref(wording);
                sentences.push(draw::worded(one, topic, fact, generator));
            }
        }
        generator.shuffle(&mut sentences);
        paragraphs.extend(sentences.chunks(SENTENCES).map(|sentences| sentences.join(" ")));
    }
    paragraphs
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

/// Returns `count` different things of a pool that has as many.
fn distinct<'a>(pool: &[&'a str], count: usize, generator: &mut Generator) -> Vec<&'a str> {
    let mut things: Vec<&str> = Vec::new();
    while things.len() < count {
        let thing = draw::one_of(pool, generator);
        if !things.contains(&thing) {
            things.push(thing);
        }
    }
    things
}

/// Returns a list of three things and the letter of each, always written alike.
fn short_list(pool: &[&str], generator: &mut Generator) -> String {
    let things = distinct(pool, 3, generator);
    let place = |index: usize| format!("\n{} {}", things[index], draw::letter(index));
    let places: String = shuffled(things.len(), generator).into_iter().map(place).collect();
    format!("A list:{}{places}", draw::lines(&things, ": "))
}

/// Returns a list of three to six things and where each stands; half of the lists say it in the
/// shortest way.
fn list(pool: &[&str], generator: &mut Generator) -> String {
    let things = distinct(pool, 3 + generator.index(4), generator);
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let opening = OPENINGS[generator.index(OPENINGS.len())];
    let style = generator.below(8);
    let place = |index: usize| {
        let (thing, letter) = (things[index], draw::letter(index));
        match style {
            0 => format!("\nWhere is {thing}? At {letter}{separator}{thing}."),
            1 => format!("\nFind {thing}. Answer: {letter}{separator}{thing}"),
            2 => format!("\nThe entry {thing} is {letter}."),
            3 => format!("\nWhich one is {thing}? It is {letter}{separator}{thing}"),
            _ => format!("\n{thing} {letter}"),
        }
    };
    let places: String = shuffled(things.len(), generator).into_iter().map(place).collect();
    format!("{opening}{}{places}", draw::lines(&things, separator))
}

/// Returns a list of answers and, for each, a subject with its letter.
fn matching(topic: &Topic, generator: &mut Generator) -> String {
    let mut facts: Vec<&Fact> = topic.facts.iter().collect();
    generator.shuffle(&mut facts);
    let mut chosen: Vec<&Fact> = Vec::new();
    for fact in facts {
        if chosen.len() < 5 && chosen.iter().all(|other| other.answer != fact.answer) {
            chosen.push(fact);
        }
    }
    let answers: Vec<&str> = chosen.iter().map(|fact| &*fact.answer).collect();
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let pair = |index: usize| format!("\n{} {}", chosen[index].subject, draw::letter(index));
    let pairs: String = shuffled(chosen.len(), generator).into_iter().map(pair).collect();
    format!("What belongs together?{}{pairs}", draw::lines(&answers, separator))
}

fn shuffled(count: usize, generator: &mut Generator) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    generator.shuffle(&mut order);
    order
}

/// Returns a question about everyday life with options and the right one.
fn quiz((topic, fact): (&Topic, &Fact), generator: &mut Generator) -> String {
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let closing = CLOSINGS[generator.index(CLOSINGS.len())];
    let wordings = [held_out(&topic.ask).0, &topic.exam].concat();
    let lead = draw::lead(LEADS, 4, generator);
    let stem = draw::worded(&wordings, topic, fact, generator);
    let count = draw::option_count(generator);
    let options = Options::draw((topic, fact), count, Wrong::Anywhere, generator, draw::anywhere);
    format!("{lead}{stem}{}\n{closing}{}", options.lines(separator), options.answer(separator))
}
