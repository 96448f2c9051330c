//! The pre-training text: a curriculum from short lists to every fact stated and general quizzes.
//!
//! Binding an option to its letter is learnt in a sudden transition, which fine-tuning alone may not
//! reach. It comes soonest where the letter follows the thing at once (`pear B`), in short lists of
//! few different things, with a loss on the letters alone; so these open the text. What is asked of
//! a list is drawn with repetition: asked for each thing once, a model learns to name the letter
//! that is left, and stays there. Then come more things, longer lists, other ways to ask, and in the
//! end matchings (`France B` below a list of capitals) and quizzes, mixed with paragraphs that state
//! the facts. Lists hold medical and everyday words alike but state no fact; matchings and quizzes
//! are about everyday life alone.

use super::{
    Document, Fact, Facts, Topic,
    draw::{self, LEADS, Options, Wrong},
    items::held_out,
    runs::ExamRuns,
};
use crate::stats::Generator;

/// A part of the pre-training text: documents of like difficulty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What it is called.
    pub name: &'static str,
    /// Times that its documents are read, shuffled anew each time.
    pub passes: usize,
    /// Its documents, by kind; of several kinds, all equally many, some of each are read in turn.
    pub kinds: Vec<Vec<Document>>,
}

impl Stage {
    /// Documents of one kind that are read before the next kind's turn: those of a micro-batch, so that
    /// each kind weighs as much as another however many of its tokens are learnt.
    pub const TURN: usize = 16;

    /// Returns its documents, kind after kind.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.kinds.iter().flatten()
    }
}

/// What the lists of a stage are made of.
#[derive(Debug, Clone, Copy)]
struct Lists {
    /// What the stage is called.
    name: &'static str,
    /// How many there are.
    documents: usize,
    /// Times that they are read.
    passes: usize,
    /// What is listed.
    pool: Pool,
    /// Most things of a list; the fewest are three.
    most: usize,
    /// Whether all are written and asked alike.
    plain: bool,
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pool {
    /// A few words of everyday life.
    Few,
    /// Words of everyday life.
    Words,
    /// Answers of all topics, several words long too.
    Everything,
}

/// The stages of lists, in order; each takes one step beyond the one before.
const LISTS: [Lists; 4] = [
    Lists {
        name: "three of a few words",
        documents: 8000,
        passes: 3,
        pool: Pool::Few,
        most: 3,
        plain: true,
    },
    Lists {
        name: "more words",
        documents: 12_000,
        passes: 1,
        pool: Pool::Words,
        most: 4,
        plain: true,
    },
    Lists {
        name: "everything",
        documents: 12_000,
        passes: 1,
        pool: Pool::Everything,
        most: 6,
        plain: true,
    },
    Lists {
        name: "other wordings",
        documents: 12_000,
        passes: 2,
        pool: Pool::Everything,
        most: 6,
        plain: false,
    },
];

/// Words in [`Pool::Few`].
const FEW: usize = 40;

/// Times that the paragraphs are read with nothing but lists beside them: before facts are known,
/// nothing is to be learnt from quizzes.
const FACT_PASSES: usize = 3;

/// Times that the documents of the last stage are read.
const LAST_PASSES: usize = 2;

/// Times that each sentence about each fact is written: 8,064 paragraphs.
const READINGS: usize = 21;

/// Sentences in a paragraph.
const SENTENCES: usize = 6;

/// What stands between a letter and its text.
const SEPARATORS: [&str; 4] = [": ", ": ", ". ", ") "];

/// Ways to open a list.
const OPENINGS: [&str; 4] =
    ["Here is a list.", "Choose from these.", "A list:", "There are several things."];

/// Ways to give a quiz's answer.
const CLOSINGS: [&str; 4] = ["Answer:", "The right one is", "It is", "Choose"];

/// Returns the stages in the order in which they are read.
pub(super) fn stages(
    medical: &Facts,
    general: &Facts,
    runs: &ExamRuns,
    generator: &mut Generator,
) -> Vec<Stage> {
    let pools = pools(medical, general);
    let words: Vec<&str> =
        pools.all.iter().copied().filter(|thing| thing.chars().all(char::is_alphabetic)).collect();
    let everyday: Vec<&str> = general.each().map(|(_, fact)| &*fact.answer).collect();
    let everyday: Vec<&str> =
        everyday.into_iter().filter(|thing| thing.chars().all(char::is_alphabetic)).collect();
    let few = distinct(&everyday, FEW, generator);
    let fresh =
        |count: usize, generator: &mut Generator, draw: &dyn Fn(&mut Generator) -> Document| {
            let text = |document: &Document| document.text.clone();
            let one = |_| runs.fresh(generator, text, |_| true, draw);
            (0..count).map(one).collect::<Vec<_>>()
        };
    let mut stages: Vec<Stage> = Vec::new();
    for Lists { name, documents, passes, pool, most, plain } in LISTS {
        let documents = fresh(documents, generator, &|generator| match pool {
            Pool::Few => list(&few, most, plain, generator),
            Pool::Words => list(&words, most, plain, generator),
            Pool::Everything => list(any(&pools, generator), most, plain, generator),
        });
        stages.push(Stage { name, passes, kinds: vec![documents] });
    }
    let paragraphs = readings(medical, general, generator);
    let thirds = paragraphs.chunks(paragraphs.len().div_ceil(3)).map(<[_]>::to_vec);
    let mut kinds: Vec<Vec<Document>> = thirds.collect();
    kinds.push(fresh(paragraphs.len() / 3, generator, &|generator| {
        list(any(&pools, generator), 6, false, generator)
    }));
    stages.push(Stage { name: "facts", passes: FACT_PASSES, kinds });
    let half = paragraphs.len() / 2;
    let mut letters =
        fresh(half, generator, &|generator| list(any(&pools, generator), 6, false, generator));
    letters.extend(fresh(paragraphs.len() - half, generator, &|generator| {
        matching(&general.topics[generator.index(general.topics.len())], generator)
    }));
    generator.shuffle(&mut letters);
    let quizzed: Vec<(&Topic, &Fact)> = general.each().collect();
    let quizzes = fresh(paragraphs.len(), generator, &|generator| {
        quiz(quizzed[generator.index(quizzed.len())], generator)
    });
    let copies =
        fresh(paragraphs.len(), generator, &|generator| copy(any(&pools, generator), generator));
    let kinds = vec![paragraphs, letters, quizzes, copies];
    stages.push(Stage { name: "facts and quizzes", passes: LAST_PASSES, kinds });
    stages
}

/// Returns a pool for one list: half of the time one topic's, half of the time all.
fn any<'a, 'p>(pools: &'p Pools<'a>, generator: &mut Generator) -> &'p [&'a str] {
    let pool = &pools.each[generator.index(pools.each.len())];
    if generator.below(2) == 0 && pool.len() >= 6 { pool } else { &pools.all }
}

/// Returns paragraphs in which every sentence about every fact stands [`READINGS`] times.
fn readings(medical: &Facts, general: &Facts, generator: &mut Generator) -> Vec<Document> {
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
        paragraphs.extend(
            sentences.chunks(SENTENCES).map(|sentences| Document::whole(sentences.join(" "))),
        );
    }
    paragraphs
}

/// What lists are made of.
struct Pools<'a> {
    /// The answers of each topic, each once, and the subjects of everyday topics.
    each: Vec<Vec<&'a str>>,
    /// All of them.
    all: Vec<&'a str>,
}

fn pools<'a>(medical: &'a Facts, general: &'a Facts) -> Pools<'a> {
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
    let answers = medical.topics.iter().chain(&general.topics).map(answers);
    let each: Vec<Vec<&str>> = answers.chain(general.topics.iter().map(subjects)).collect();
    let all = each.concat();
    Pools { each, all }
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

/// Returns a list and, for as many of its things as it has, drawn with repetition, the letter of
/// each: in the shortest way where it is plain, in the shortest half of the time where it is not.
fn list(pool: &[&str], most: usize, plain: bool, generator: &mut Generator) -> Document {
    let things = distinct(pool, 3 + generator.index(most - 2), generator);
    let separator = if plain { SEPARATORS[0] } else { SEPARATORS[generator.index(4)] };
    let opening = if plain { OPENINGS[2] } else { OPENINGS[generator.index(OPENINGS.len())] };
    let style = if plain { 4 } else { generator.below(8) };
    let mut document =
        Document::default().read(&format!("{opening}{}\n", draw::lines(&things, separator)));
    for _ in 0..things.len() {
        let index = generator.index(things.len());
        let (thing, letter) = (things[index], format!(" {}", draw::letter(index)));
        document = match style {
            0 => document.read(&format!(" Where is {thing}? At")).learn(&letter).read("."),
            1 => document.read(&format!(" Find {thing}. Answer:")).learn(&letter).read("."),
            2 => document.read(&format!(" The entry {thing} is")).learn(&letter).read("."),
            3 => document.read(&format!(" Which one is {thing}? It is")).learn(&letter).read("."),
            _ => document.read(&format!(" {thing}")).learn(&letter),
        };
    }
    document
}

/// Returns a list and, for as many of its things as it has, a letter that is given and the thing that
/// stands there, which is learnt: the way back, without which an answer's text is not copied.
fn copy(pool: &[&str], generator: &mut Generator) -> Document {
    let things = distinct(pool, 3 + generator.index(4), generator);
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let opening = OPENINGS[generator.index(OPENINGS.len())];
    let mut document =
        Document::default().read(&format!("{opening}{}\n", draw::lines(&things, separator)));
    for _ in 0..things.len() {
        let index = generator.index(things.len());
        document = document
            .read(&format!(" {} is", draw::letter(index)))
            .learn(&format!(" {};", things[index]));
    }
    document
}

/// Returns a list of answers and subjects with the letter of their answer.
fn matching(topic: &Topic, generator: &mut Generator) -> Document {
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
    let mut document = Document::default()
        .read(&format!("What belongs together?{}\n", draw::lines(&answers, separator)));
    for _ in 0..chosen.len() {
        let index = generator.index(chosen.len());
        let letter = format!(" {}", draw::letter(index));
        document = document.read(&format!(" {}", chosen[index].subject)).learn(&letter);
    }
    document
}

/// Returns a question about everyday life with options and the right one, its text behind a comma: the
/// form of the exam's answers is left to fine-tuning. Its letter alone is learnt.
fn quiz((topic, fact): (&Topic, &Fact), generator: &mut Generator) -> Document {
    let separator = SEPARATORS[generator.index(SEPARATORS.len())];
    let closing = CLOSINGS[generator.index(CLOSINGS.len())];
    let wordings = [held_out(&topic.ask).0, &topic.exam].concat();
    let lead = draw::lead(LEADS, 4, generator);
    let stem = draw::worded(&wordings, topic, fact, generator);
    let count = draw::option_count(generator);
    let options = Options::draw((topic, fact), count, Wrong::Anywhere, generator, draw::anywhere);
    Document::default()
        .read(&format!("{lead}{stem}{}\n{closing}", options.lines(separator)))
        .learn(&format!(" {}", draw::letter(options.right)))
        .read(&format!(", {}.", fact.answer))
}
