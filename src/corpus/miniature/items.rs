//! Exam and validation items: which facts are taught how, and questions about all of them.
//!
//! The right option stands equally often at every letter that items with as many options have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Fact, Facts, Topic,
    draw::{self, Options, VALIDATION_LEADS, Wrong},
};
use crate::{
    exam::{Choice, Question, QuestionId, Step},
    stats::Generator,
};

/// Items with an image in each step; they are marked and never asked.
const IMAGES_A_STEP: usize = 6;

/// Options of exam items, in turn: mostly five, as in the real exam.
const OPTION_COUNTS: [usize; 4] = [5, 4, 5, 6];

/// How the training data teach a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Taught {
    /// By multiple-choice questions (and in the pre-training text).
    Question,
    /// By flashcards (and in the pre-training text).
    Flashcard,
    /// By the pre-training text alone.
    Read,
}

impl Taught {
    /// Every way, in the order of the tables.
    pub const ALL: [Self; 3] = [Self::Question, Self::Flashcard, Self::Read];

    /// Shares among the facts of a topic: half, a quarter, a quarter.
    const TURN: [Self; 4] = [Self::Question, Self::Flashcard, Self::Question, Self::Read];
}

/// A question with what it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The question.
    pub question: Question,
    /// Name of the topic.
    pub topic: String,
    /// What is asked about.
    pub subject: String,
    /// How the training data teach the fact.
    pub taught: Taught,
}

/// Facts with the way they are taught.
pub(super) type TaughtFacts<'a> = Vec<(&'a Topic, &'a Fact, Taught)>;

/// Returns for every fact how it is taught: half of a topic's facts as questions, a quarter as
/// flashcards, a quarter only read.
pub(super) fn taught<'a>(facts: &'a Facts, generator: &mut Generator) -> TaughtFacts<'a> {
    let mut all = Vec::new();
    for topic in &facts.topics {
        let start = generator.index(Taught::TURN.len());
        let mut ways: Vec<Taught> =
            Taught::TURN.into_iter().cycle().skip(start).take(topic.facts.len()).collect();
        generator.shuffle(&mut ways);
        all.extend(topic.facts.iter().zip(ways).map(|(fact, way)| (topic, fact, way)));
    }
    all
}

/// Returns the exam: every fact once, then items with images; steps in order, items of a step
/// shuffled.
pub(super) fn exam(facts: &TaughtFacts<'_>, generator: &mut Generator) -> Vec<Item> {
    let mut places = Places::default();
    let mut items = Vec::new();
    for step in [Step::One, Step::Two, Step::Three] {
        let mut own: TaughtFacts<'_> =
            facts.iter().filter(|(topic, ..)| step_of(topic) == Some(step)).copied().collect();
        generator.shuffle(&mut own);
        let images = own.len();
        own.extend_from_within(..IMAGES_A_STEP);
        for (index, (topic, fact, taught)) in own.into_iter().enumerate() {
            let has_image = index >= images;
            let mut text = draw::worded(&topic.exam, topic, fact, generator);
            if has_image {
                text.push_str(" A photograph taken at the examination is shown.");
            }
            let count = OPTION_COUNTS[index % OPTION_COUNTS.len()];
            let options =
                Options::draw((topic, fact), count, Wrong::Near, generator, |count, generator| {
                    places.next(count, generator)
                });
            let id = format!("mini/step{step}/{}", index + 1);
            let question = question(id, Some(step), text, &options, has_image);
            items.push(item(question, topic, fact, taught));
        }
    }
    items
}

/// Returns the validation split: every fact once, in the last training wording, which no training
/// text uses.
pub(super) fn validation(facts: &TaughtFacts<'_>, generator: &mut Generator) -> Vec<Item> {
    let mut places = Places::default();
    let mut items = Vec::new();
    for (index, (topic, fact, taught)) in facts.iter().enumerate() {
        let (_, held_out) = held_out(&topic.ask);
        let lead = draw::lead(VALIDATION_LEADS, 7, generator);
        let text = lead + &draw::worded(held_out, topic, fact, generator);
        let count = OPTION_COUNTS[index % OPTION_COUNTS.len()];
        let options =
            Options::draw((topic, fact), count, Wrong::Near, generator, |count, generator| {
                places.next(count, generator)
            });
        let id = format!("mini/validation/{}", index + 1);
        items.push(item(question(id, step_of(topic), text, &options, false), topic, fact, *taught));
    }
    items
}

/// Splits questions into those of the training data and the last, which is held out for validation.
pub(super) fn held_out(ask: &[String]) -> (&[String], &[String]) {
    ask.split_at(ask.len() - 1)
}

fn step_of(topic: &Topic) -> Option<Step> {
    Step::parse(&topic.step?.to_string())
}

fn item(question: Question, topic: &Topic, fact: &Fact, taught: Taught) -> Item {
    Item { question, topic: topic.name.clone(), subject: fact.subject.clone(), taught }
}

fn question(
    id: String,
    step: Option<Step>,
    text: String,
    options: &Options,
    has_image: bool,
) -> Question {
    let choice = |(index, text): (usize, &String)| Choice {
        letter: draw::letter(index),
        text: text.clone(),
    };
    Question {
        id: QuestionId(id),
        step,
        text,
        options: options.texts.iter().enumerate().map(choice).collect(),
        answer: draw::letter(options.right),
        has_image,
        source: "medharness miniature".to_owned(),
    }
}

/// Places of right options: for each number of options, every place once before any comes again.
#[derive(Debug, Default)]
struct Places {
    left: BTreeMap<usize, Vec<usize>>,
}

impl Places {
    fn next(&mut self, count: usize, generator: &mut Generator) -> usize {
        let left = self.left.entry(count).or_default();
        if left.is_empty() {
            left.extend(0..count);
            generator.shuffle(left);
        }
        left.pop().expect("just filled")
    }
}
