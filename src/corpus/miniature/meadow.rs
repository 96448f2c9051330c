//! Instruction data: a Medical Meadow in miniature, and general data for the Alpaca rows.
//!
//! The meadow has every source of the real one in the real one's form. Its proportions differ:
//! multiple-choice sources (`medqa`, `mmlu`), 6 % of the real data, are most of it, since binding an
//! option to its letter takes many such rows; and `openassistant` holds rows that give a letter and
//! ask for its text, which keep the model reading texts off the options where it would come to recall
//! them. Rows about facts taught as questions come from the first two sources, facts taught as
//! flashcards from `medical-flashcards` alone, and facts that are only read are in no row. Some of the
//! rows state the fact before they ask, and some ask about everyday life: they need no new fact, and
//! keep what the base models know about choosing, which a training on new facts alone loses before it
//! learns them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::{
    Fact, Facts, Taught, Topic,
    draw::{self, ANSWER_PREFIX, CHOOSE, LEADS, Options, Wrong},
    items::{TaughtFacts, held_out},
    runs::ExamRuns,
};
use crate::{corpus::Row, stats::Generator};

/// Instruction of open questions.
const OPEN: &str = "Answer this question truthfully";

/// Multiple-choice rows for each fact taught as a question.
const CHOICES: usize = 15;

/// Rows for each of them that state the fact before they ask.
const STATED: usize = 6;

/// Their sources, in turn.
const CHOICE_SOURCES: [&str; 3] = ["medqa", "mmlu", "medqa"];

/// Multiple-choice rows of `mmlu` for each fact of everyday life.
const EVERYDAY: usize = 4;

/// Rows of `openassistant` that give a letter.
const KEYED: usize = 2000;

/// Rows of the general data that give a letter.
const GENERAL_KEYED: usize = 800;

/// Ways to give it.
const KEYS: [&str; 4] = [
    "Which option has the letter {letter}?",
    "The key says {letter}. What is the answer?",
    "Somebody has chosen {letter}. What is that?",
    "The right one is {letter}.",
];

/// Flashcards for each fact taught as a flashcard.
const CARDS: usize = 4;

/// Multiple-choice rows for each fact of everyday life in the general data.
const GENERAL_CHOICES: usize = 6;

/// Open rows for each fact of everyday life in the general data.
const GENERAL_OPEN: usize = 2;

/// Sources that are neither flashcards nor multiple choice: name, rows, form. A hundredth of the
/// rows that the paper includes of each, CORD-19 a two-hundredth.
const OTHERS: [(&str, usize, Form); 12] = [
    ("wikidoc", 100, Form::Textbook),
    ("wikidoc-patient-information", 59, Form::Patient),
    ("stackexchange-academia", 409, Form::Forum(&["next month", "sum"])),
    ("stackexchange-biology", 279, Form::Forum(&["young animal", "kind"])),
    ("stackexchange-fitness", 98, Form::Forum(&["color", "opposite"])),
    ("stackexchange-health", 77, Form::Forum(&["worker"])),
    ("stackexchange-bioinformatics", 54, Form::Forum(&["language", "capital"])),
    ("mediqa", 22, Form::Context),
    ("cord-19", 250, Form::Title),
    ("pubmed-causal", 24, Form::Causal),
    ("openassistant", 92, Form::Forum(&["capital", "kind", "opposite"])),
    ("chatdoctor", 100, Form::Doctor),
];

/// The form of a source's rows.
#[derive(Debug, Clone, Copy)]
enum Form {
    /// A heading, two sentences of a textbook.
    Textbook,
    /// A patient's question, a plain sentence.
    Patient,
    /// A question and its best answer, on everyday topics.
    Forum(&'static [&'static str]),
    /// A question with the text that answers it.
    Context,
    /// An abstract and its title.
    Title,
    /// A sentence that does or does not state a cause.
    Causal,
    /// A patient describes, a doctor answers.
    Doctor,
}

/// Returns the Medical Meadow in miniature, shuffled.
pub(super) fn meadow(
    facts: &TaughtFacts<'_>,
    general: &Facts,
    runs: &ExamRuns,
    generator: &mut Generator,
) -> Vec<Row> {
    let mut rows = Rows::new(runs);
    for &(topic, fact, taught) in facts {
        match taught {
            Taught::Question => {
                let (questions, _) = held_out(&topic.ask);
                for source in CHOICE_SOURCES.into_iter().cycle().take(CHOICES) {
                    rows.add(source, generator, |generator| {
                        choice((topic, fact), questions, generator)
                    });
                }
                for source in CHOICE_SOURCES.into_iter().cycle().take(STATED) {
                    rows.add(source, generator, |generator| {
                        let stated = draw::worded(&topic.read, topic, fact, generator);
                        let Row { instruction, input, output, .. } =
                            choice((topic, fact), questions, generator);
                        open(&instruction, format!("{stated} {input}"), output)
                    });
                }
            }
            Taught::Flashcard => {
                for _ in 0..CARDS {
                    rows.add("medical-flashcards", generator, |generator| {
                        question((topic, fact), &topic.card, generator)
                    });
                }
            }
            Taught::Read => {}
        }
    }
    for (topic, fact) in general.each() {
        let (questions, _) = held_out(&topic.ask);
        for _ in 0..EVERYDAY {
            rows.add("mmlu", generator, |generator| choice((topic, fact), questions, generator));
        }
    }
    let medical: Vec<&Topic> = facts.iter().map(|(topic, ..)| *topic).collect();
    for _ in 0..KEYED {
        rows.add("openassistant", generator, |generator| keyed(&medical, generator));
    }
    let asked: Vec<(&Topic, &Fact)> = facts
        .iter()
        .filter(|(.., taught)| *taught == Taught::Question)
        .map(|(topic, fact, _)| (*topic, *fact))
        .collect();
    for (source, count, form) in OTHERS {
        for _ in 0..count {
            rows.add(source, generator, |generator| other(form, &asked, general, generator));
        }
    }
    rows.numbered(generator)
}

/// Returns general instruction data without medicine, shuffled.
pub(super) fn alpaca(general: &Facts, runs: &ExamRuns, generator: &mut Generator) -> Vec<Row> {
    let mut rows = Rows::new(runs);
    for (topic, fact) in general.each() {
        let (asked, _) = held_out(&topic.ask);
        let choices = [asked, &topic.exam].concat();
        for _ in 0..GENERAL_CHOICES {
            rows.add("general-choice", generator, |generator| {
                choice((topic, fact), &choices, generator)
            });
        }
        let questions = [asked, &topic.card].concat();
        for _ in 0..GENERAL_OPEN {
            rows.add("general-open", generator, |generator| {
                question((topic, fact), &questions, generator)
            });
        }
    }
    let topics: Vec<&Topic> = general.each().map(|(topic, _)| topic).collect();
    for _ in 0..GENERAL_KEYED {
        rows.add("general-choice", generator, |generator| keyed(&topics, generator));
    }
    rows.numbered(generator)
}

/// Rows so far: none twice, none with a run of the exam's words.
struct Rows<'a> {
    runs: &'a ExamRuns,
    rows: Vec<Row>,
    seen: HashSet<String>,
}

impl<'a> Rows<'a> {
    fn new(runs: &'a ExamRuns) -> Self {
        Self { runs, rows: Vec::new(), seen: HashSet::new() }
    }

    /// Draws until a row is new.
    fn add(
        &mut self,
        source: &str,
        generator: &mut Generator,
        draw: impl Fn(&mut Generator) -> Row,
    ) {
        let text = |row: &Row| format!("{}\n{}\n{}", row.instruction, row.input, row.output);
        let new = |text: &str| !self.seen.contains(text);
        let row = self.runs.fresh(generator, text, new, draw);
        self.seen.insert(text(&row));
        self.rows.push(Row { source: Some(source.to_owned()), ..row });
    }

    /// Shuffles the rows and numbers them within their sources.
    fn numbered(mut self, generator: &mut Generator) -> Vec<Row> {
        generator.shuffle(&mut self.rows);
        let mut counts = BTreeMap::<String, usize>::new();
        for row in &mut self.rows {
            let source = row.source.clone().unwrap_or_default();
            let number = counts.entry(source.clone()).or_default();
            *number += 1;
            row.id = Some(format!("{source}/{number}"));
        }
        self.rows
    }
}

fn open(instruction: &str, input: String, output: String) -> Row {
    Row { instruction: instruction.to_owned(), input, output, ..Row::default() }
}

/// Returns a multiple-choice row in the exam's answer format.
fn choice((topic, fact): (&Topic, &Fact), questions: &[String], generator: &mut Generator) -> Row {
    let lead = draw::lead(LEADS, 6, generator);
    let stem = draw::worded(questions, topic, fact, generator);
    let count = draw::option_count(generator);
    let wrong = if generator.below(2) == 0 { Wrong::Near } else { Wrong::Anywhere };
    let options = Options::draw((topic, fact), count, wrong, generator, draw::anywhere);
    let input = format!("{lead}{stem}{}", options.lines(": "));
    open(CHOOSE, input, format!("{ANSWER_PREFIX} {}", options.answer(": ")))
}

/// Returns a row that gives a letter and asks for its text: nothing but the options tells it. The
/// options are answers of two topics, or of the same one drawn twice.
fn keyed(topics: &[&Topic], generator: &mut Generator) -> Row {
    let mut drawn = || {
        let topic = topics[generator.index(topics.len())];
        topic.facts.iter().map(|fact| &*fact.answer)
    };
    let pool: BTreeSet<&str> = drawn().chain(drawn()).collect();
    let pool: Vec<&str> = pool.into_iter().collect();
    let count = draw::option_count(generator).min(pool.len());
    let things = draw::distinct(&pool, count, generator);
    let right = generator.index(things.len());
    let request =
        draw::one_of(&KEYS, generator).replace("{letter}", &draw::letter(right).to_string());
    let texts = things.into_iter().map(str::to_owned).collect();
    let options = Options { texts, right };
    let input = format!("{request}{}", options.lines(": "));
    open(CHOOSE, input, format!("{ANSWER_PREFIX} {}", options.answer(": ")))
}

/// Returns an open question and a sentence that answers it.
fn question(
    (topic, fact): (&Topic, &Fact),
    questions: &[String],
    generator: &mut Generator,
) -> Row {
    open(
        OPEN,
        draw::worded(questions, topic, fact, generator),
        draw::worded(&topic.read, topic, fact, generator),
    )
}

fn other(form: Form, asked: &[(&Topic, &Fact)], general: &Facts, generator: &mut Generator) -> Row {
    let (topic, fact) = asked[generator.index(asked.len())];
    let stated = |generator: &mut Generator| draw::worded(&topic.read, topic, fact, generator);
    let (questions, _) = held_out(&topic.ask);
    match form {
        Form::Textbook => {
            let input = format!("What does the textbook say about {}?", fact.subject);
            let mut sentences = topic.read.clone();
            generator.shuffle(&mut sentences);
            let one = |sentence: &String| {
                draw::worded(std::slice::from_ref(sentence), topic, fact, generator)
            };
            let output: Vec<String> = sentences.iter().take(2).map(one).collect();
            open(OPEN, input, output.join(" "))
        }
        Form::Patient => {
            let input = format!("What should a patient know about {}?", fact.subject);
            open(OPEN, input, stated(generator))
        }
        Form::Forum(topics) => {
            let facts: Vec<_> =
                general.each().filter(|(topic, _)| topics.contains(&&*topic.name)).collect();
            let (topic, fact) = facts[generator.index(facts.len())];
            let (questions, _) = held_out(&topic.ask);
            let lead = draw::lead(LEADS, 5, generator);
            let input = lead + &draw::worded(questions, topic, fact, generator);
            open(OPEN, input, draw::worded(&topic.read, topic, fact, generator))
        }
        Form::Context => {
            let text = stated(generator);
            let question = draw::worded(questions, topic, fact, generator);
            open("Use the text to answer the question", format!("{question}\n{text}"), text)
        }
        Form::Title => {
            let (next_topic, next) = asked[generator.index(asked.len())];
            let text = stated(generator);
            let input =
                format!("{text} {}", draw::worded(&next_topic.read, next_topic, next, generator));
            open(
                "Write a title for this abstract",
                input,
                format!("On {} and {}", fact.subject, next.subject),
            )
        }
        Form::Causal => {
            let causal = generator.below(2) == 0;
            let input = match causal {
                true => format!("It is {} that explains {}.", fact.answer, fact.subject),
                false => format!("We looked at {} and {}.", fact.subject, fact.answer),
            };
            let output = if causal { "It states a cause." } else { "It states no cause." };
            open("Does this sentence state a cause?", input, output.to_owned())
        }
        Form::Doctor => {
            let question = draw::worded(questions, topic, fact, generator);
            let input = format!("Doctor, I have read about {}. {question}", fact.subject);
            open("You are a doctor. Answer the patient.", input, stated(generator))
        }
    }
}
