//! The pre-training text: a curriculum from lists that are read out to questions about everyday life.
//!
//! An answer `B: pear` takes two things that fine-tuning alone does not teach: to find the letter of
//! what is right among the options, and to read the text of a letter off them. Both are learnt in a
//! sudden transition, which comes soonest where nothing is to be known. So the text begins with short
//! lists of words that are read out again in another order, where nothing but the list tells a
//! letter's text; a start with few different words ends in a model that knows those words and copies
//! no other. Then a word stands before the options (`pear`, then `A: plum`, `B: pear`), and its letter
//! alone is learnt. Then come things of several words and other wordings; then subjects of everyday
//! facts in the place of the thing (`France`, then capitals); and in the end whole questions, beside
//! paragraphs that state every fact, medical and everyday. What is asked always stands before the
//! options, as in the exam: a model that has learnt to find what is asked behind them does not find
//! it before them. Options hold medical and everyday words alike; questions are about everyday life
//! alone.

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

/// Documents of the first stage, short lists read out: 1,500 updates of 64.
const SHORT_READ_OUTS: usize = 96_000;

/// Documents of the second, longer lists: 200 updates.
const READ_OUTS: usize = 12_800;

/// Documents of each of the two kinds in the stage of letters of short lists: 700 updates.
const SHORT_LETTERS: usize = 22_400;

/// Documents of each of the two kinds in the stage of letters: 500 updates.
const LETTERS: usize = 16_000;

/// Documents of each of the two kinds in the stage of things and wordings: 700 updates.
const THINGS: usize = 22_400;

/// Documents of each of the four kinds in the stage of subjects: 400 updates.
const SUBJECTS: usize = 6_400;

/// Times that the documents of the last stage are read: 1,759 updates.
const LAST_PASSES: usize = 4;

/// Times that each sentence about each fact is written: 7,035 paragraphs.
const READINGS: usize = 21;

/// Sentences in a paragraph.
const SENTENCES: usize = 6;

/// What stands between a letter and its text.
const SEPARATORS: [&str; 4] = [": ", ": ", ". ", ") "];

/// Ways to ask for a thing that stands among the options; the first is that of plain documents.
const REQUESTS: [&str; 4] =
    ["{thing}", "Find {thing}.", "Which one is {thing}?", "Where is {thing}?"];

/// What stands between a letter and its text where a list is read out; the first is that of plain
/// documents. The exam's own form is one among others.
const READ_OUT_SEPARATORS: [&str; 6] = [", ", ": ", " - ", ". ", " = ", ") "];

/// Ways to begin a list that is read out; the first is that of plain documents.
const LISTS: [&str; 4] = ["The list:", "Choose from these:", "What can be had:", "Here they are."];

/// Ways to open a document, none being as frequent as all others.
const OPENINGS: [&str; 6] = [
    "Quiz. ",
    "A question with several options.\n\n",
    "Number 7. ",
    "# Task\nRead this and choose.\n\n# Text\n",
    "Somebody asks this: ",
    "Write the letter.\n\n",
];

/// Ways to give an answer; the first is that of plain documents.
const CLOSINGS: [&str; 6] = [
    "Answer:",
    "The right one is",
    "It is",
    "\n# Reply\nIt must be this:",
    "\nSolution: The letter is",
    "So one answers this:",
];

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// All alike.
    Plain,
    /// With every opening, separator, request and closing.
    Any,
}

impl Style {
    fn pick<'a>(self, choices: &[&'a str], generator: &mut Generator) -> &'a str {
        match self {
            Self::Plain => choices[0],
            Self::Any => draw::one_of(choices, generator),
        }
    }
}

/// What of an answer is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learnt {
    /// The letter alone: its loss is not diluted by that of a text which is soon copied without fault.
    Letter,
    /// The letter and its text.
    Whole,
}

/// Returns the stages in the order in which they are read.
pub(super) fn stages(
    medical: &Facts,
    general: &Facts,
    runs: &ExamRuns,
    generator: &mut Generator,
) -> Vec<Stage> {
    let pools = pools(medical, general);
    let word = |thing: &&str| thing.chars().all(char::is_alphabetic);
    let words: Vec<&str> = pools.all.iter().copied().filter(word).collect();
    let everyday: Vec<(&Topic, &Fact)> = general.each().collect();
    let fresh =
        |count: usize, generator: &mut Generator, draw: &dyn Fn(&mut Generator) -> Document| {
            let text = |document: &Document| document.text.clone();
            let one = |_| runs.fresh(generator, text, |_| true, draw);
            (0..count).map(one).collect::<Vec<_>>()
        };
    let read_short = |generator: &mut Generator| read_out(&words, [2, 3], Style::Plain, generator);
    let read_words = |generator: &mut Generator| read_out(&words, [2, 5], Style::Plain, generator);
    let read_things =
        |generator: &mut Generator| read_out(any(&pools, generator), [3, 6], Style::Any, generator);
    let found_short =
        |generator: &mut Generator| found(&words, [2, 3], Style::Plain, Learnt::Letter, generator);
    let found_word =
        |generator: &mut Generator| found(&words, [2, 5], Style::Plain, Learnt::Letter, generator);
    let found_thing = |generator: &mut Generator| {
        found(any(&pools, generator), [3, 6], Style::Any, Learnt::Whole, generator)
    };
    let fact = |generator: &mut Generator| everyday[generator.index(everyday.len())];
    let subject = |generator: &mut Generator| {
        let fact = fact(generator);
        quiz(fact, fact.1.subject.clone(), Style::Plain, Learnt::Letter, generator)
    };
    let question = |generator: &mut Generator| {
        let (topic, fact) = fact(generator);
        let wordings = [held_out(&topic.ask).0, &topic.exam].concat();
        let lead = draw::lead(LEADS, 4, generator);
        let stem = lead + &draw::worded(&wordings, topic, fact, generator);
        quiz((topic, fact), stem, Style::Any, Learnt::Letter, generator)
    };

    let mut stages = Vec::new();
    let mut add = |name, passes, kinds| stages.push(Stage { name, passes, kinds });
    add("short lists read out", 1, vec![fresh(SHORT_READ_OUTS, generator, &read_short)]);
    add("lists read out", 1, vec![fresh(READ_OUTS, generator, &read_words)]);
    let two = |count,
               one: &dyn Fn(&mut Generator) -> Document,
               other: &dyn Fn(&mut Generator) -> Document,
               generator: &mut Generator| {
        vec![fresh(count, generator, one), fresh(count, generator, other)]
    };
    add("letters of short lists", 1, two(SHORT_LETTERS, &found_short, &read_words, generator));
    add("letters", 1, two(LETTERS, &found_word, &read_words, generator));
    add("things and wordings", 1, two(THINGS, &found_thing, &read_things, generator));
    let mut kinds: Vec<Vec<Document>> =
        (0..3).map(|_| fresh(SUBJECTS, generator, &subject)).collect();
    kinds.push(fresh(SUBJECTS, generator, &found_word));
    add("subjects", 1, kinds);

    let paragraphs = readings(medical, general, generator);
    let each = paragraphs.len();
    let mut mixed = fresh(each / 4, generator, &found_thing);
    mixed.extend(fresh(each / 4, generator, &read_things));
    mixed.extend(fresh(each / 4, generator, &subject));
    mixed.extend(fresh(each - mixed.len(), generator, &|generator| {
        card(fact(generator), generator)
    }));
    generator.shuffle(&mut mixed);
    let mut kinds = vec![paragraphs, mixed];
    kinds.extend((0..2).map(|_| fresh(each, generator, &question)));
    add("facts and questions", LAST_PASSES, kinds);
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

/// What options are made of.
struct Pools<'a> {
    /// The answers of each topic, each once, and the subjects of each.
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
    let topics = medical.topics.iter().chain(&general.topics);
    let answers = topics.clone().map(answers);
    let each: Vec<Vec<&str>> = answers.chain(topics.map(subjects)).collect();
    let all = each.concat();
    Pools { each, all }
}

/// Returns a thing, a list that holds it, its letter and the thing once more; the last two are learnt.
fn found(
    pool: &[&str],
    [fewest, most]: [usize; 2],
    style: Style,
    learnt: Learnt,
    generator: &mut Generator,
) -> Document {
    let things = draw::distinct(pool, fewest + generator.index(most - fewest + 1), generator);
    let right = generator.index(things.len());
    let request = style.pick(&REQUESTS, generator).replace("{thing}", things[right]);
    let texts = things.into_iter().map(str::to_owned).collect();
    answered(&request, &Options { texts, right }, style, learnt, generator)
}

/// Returns a list and each of its letters once more, in another order, with its text, which is learnt:
/// nothing but the list tells it.
fn read_out(
    pool: &[&str],
    [fewest, most]: [usize; 2],
    style: Style,
    generator: &mut Generator,
) -> Document {
    let things = draw::distinct(pool, fewest + generator.index(most - fewest + 1), generator);
    let list = draw::lines(&things, style.pick(&SEPARATORS, generator));
    let opening = style.pick(&LISTS, generator);
    let separator = style.pick(&READ_OUT_SEPARATORS, generator);
    let (mark, blank) = separator.split_at(separator.len() - 1);
    let mut order: Vec<usize> = (0..things.len()).collect();
    generator.shuffle(&mut order);
    let read = Document::default().read(&format!("{opening}{list}\n"));
    order.into_iter().fold(read, |document, index| {
        let letter = draw::letter(index);
        document
            .read(&format!(" {letter}{mark}"))
            .learn(&format!("{blank}{}", things[index]))
            .read(";")
    })
}

/// Returns a question about everyday life with options and the right one.
fn quiz(
    (topic, fact): (&Topic, &Fact),
    stem: String,
    style: Style,
    learnt: Learnt,
    generator: &mut Generator,
) -> Document {
    let count = draw::option_count(generator);
    let options = Options::draw((topic, fact), count, Wrong::Anywhere, generator, draw::anywhere);
    answered(&stem, &options, style, learnt, generator)
}

/// Returns what is asked, the options, and the right one with its text behind a comma: the form of the
/// exam's answers is left to fine-tuning.
fn answered(
    asked: &str,
    options: &Options,
    style: Style,
    learnt: Learnt,
    generator: &mut Generator,
) -> Document {
    let lines = options.lines(style.pick(&SEPARATORS, generator));
    let document = closed(&format!("{asked}{lines}"), style, generator);
    let letter = format!(" {}", draw::letter(options.right));
    match learnt {
        Learnt::Letter => document.learn(&letter),
        Learnt::Whole => document.learn(&format!("{letter}, {}.", options.texts[options.right])),
    }
}

/// Returns the part of a document that is only read, up to where the answer stands.
fn closed(body: &str, style: Style, generator: &mut Generator) -> Document {
    let opening = match style {
        Style::Any if generator.below(2) == 0 => draw::one_of(&OPENINGS, generator),
        _ => "",
    };
    let closing = style.pick(&CLOSINGS, generator);
    Document::default().read(&format!("{opening}{body}\n{closing}"))
}

/// Returns a question about everyday life and its answer, which is learnt.
fn card((topic, fact): (&Topic, &Fact), generator: &mut Generator) -> Document {
    let wordings = [held_out(&topic.ask).0, &topic.card].concat();
    let stem = draw::worded(&wordings, topic, fact, generator);
    closed(&stem, Style::Any, generator).learn(&format!(" {}.", fact.answer))
}
