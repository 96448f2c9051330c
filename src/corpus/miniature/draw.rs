//! What is drawn for every kind of text: a wording filled in, options with the right one among
//! them, a sentence to lead in.

use super::{Fact, Topic};
use crate::{exam::Letter, stats::Generator};

/// Instruction of multiple-choice rows: that of the protocols after the paper.
pub(super) const CHOOSE: &str = "Answer this multiple choice question.";

/// What the reply to a multiple-choice row begins with: the protocols' answer prefix.
pub(super) const ANSWER_PREFIX: &str = "The Answer to the question is:";

/// Sentences before a question of the training data, so that questions come at different places.
pub(super) const LEADS: &[&str] = &[
    "A student reads before a test.",
    "Two friends talk over lunch.",
    "A teacher writes on the board.",
    "The book has many pages, and one of them is open.",
    "It is late, but there is one more question.",
    "A group meets every week to learn.",
    "Somebody calls and asks for advice.",
    "A man of {age} wants to know more.",
    "A woman of {age} has a question.",
    "The {age}-year-old visitor is curious.",
];

/// Sentences before a question of the validation split; no training text has them.
pub(super) const VALIDATION_LEADS: &[&str] = &[
    "On a train, a passenger opens a quiz magazine.",
    "A person aged {age} sits down with a notebook.",
    "During a long evening the host reads a card aloud.",
];

/// Returns one of `items`, every one equally likely.
pub(super) fn one_of<'a, T: ?Sized>(items: &[&'a T], generator: &mut Generator) -> &'a T {
    items[generator.index(items.len())]
}

/// Returns `count` different things of a pool that has as many.
pub(super) fn distinct<'a>(
    pool: &[&'a str],
    count: usize,
    generator: &mut Generator,
) -> Vec<&'a str> {
    let mut things: Vec<&str> = Vec::new();
    while things.len() < count {
        let thing = one_of(pool, generator);
        if !things.contains(&thing) {
            things.push(thing);
        }
    }
    things
}

/// Returns one of `wordings` with the slots filled from `fact`.
pub(super) fn worded(
    wordings: &[String],
    topic: &Topic,
    fact: &Fact,
    generator: &mut Generator,
) -> String {
    let wording = &wordings[generator.index(wordings.len())];
    let age = age(fact.ages.unwrap_or(topic.ages), generator);
    wording
        .replace("{subject}", &fact.subject)
        .replace("{answer}", &fact.answer)
        .replace("{age}", &age)
}

/// Returns one of `leads` and a blank, or nothing in the other `10 - of_ten` cases of ten.
pub(super) fn lead(leads: &[&str], of_ten: u64, generator: &mut Generator) -> String {
    if generator.below(10) >= of_ten {
        return String::new();
    }
    let age = age([5, 80], generator);
    format!("{} ", one_of(leads, generator).replace("{age}", &age))
}

fn age([lowest, highest]: [u32; 2], generator: &mut Generator) -> String {
    (u64::from(lowest) + generator.below(u64::from(highest - lowest) + 1)).to_string()
}

/// Options of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// In printed order.
    pub(super) texts: Vec<String>,
    /// Position of the right one.
    pub(super) right: usize,
}

/// Where wrong answers are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The fact's group first, then the rest of the topic.
    Near,
    /// The whole topic.
    Anywhere,
}

impl Options {
    /// Draws `count` options, or as many as the topic has; the right one stands where `place` says,
    /// given their number.
    pub(super) fn draw(
        (topic, fact): (&Topic, &Fact),
        count: usize,
        wrong: Wrong,
        generator: &mut Generator,
        place: impl FnOnce(usize, &mut Generator) -> usize,
    ) -> Self {
        let (mut near, mut far) = topic.wrong_answers(fact);
        generator.shuffle(&mut near);
        generator.shuffle(&mut far);
        let mut pool = [near, far].concat();
        if wrong == Wrong::Anywhere {
            generator.shuffle(&mut pool);
        }
        let mut texts: Vec<String> =
            pool.into_iter().take(count.saturating_sub(1)).map(str::to_owned).collect();
        generator.shuffle(&mut texts);
        let right = place(texts.len() + 1, generator);
        texts.insert(right, fact.answer.clone());
        Self { texts, right }
    }

    /// Returns the options as lines `A: text`, each behind a line break, with `separator` after the
    /// letter.
    pub(super) fn lines(&self, separator: &str) -> String {
        lines(&self.texts, separator)
    }

    /// Returns the right option as `A: text`.
    pub(super) fn answer(&self, separator: &str) -> String {
        format!("{}{separator}{}", letter(self.right), self.texts[self.right])
    }
}

/// Returns `texts` as lines, each behind a line break.
pub(super) fn lines<T: AsRef<str>>(texts: &[T], separator: &str) -> String {
    let line =
        |(index, text): (usize, &T)| format!("\n{}{separator}{}", letter(index), text.as_ref());
    texts.iter().enumerate().map(line).collect()
}

/// Returns the letter at `index`.
pub(super) fn letter(index: usize) -> Letter {
    Letter::from_index(index).expect("no list here is longer than the alphabet")
}

/// Returns how many options a training item has: 4 to 6.
pub(super) fn option_count(generator: &mut Generator) -> usize {
    4 + generator.index(3)
}

/// Puts the right option anywhere.
pub(super) fn anywhere(count: usize, generator: &mut Generator) -> usize {
    generator.index(count)
}
