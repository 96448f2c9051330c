//! Runs of 13 words of the exam, which no training text may hold.

use std::collections::HashSet;

use super::Item;
use crate::{
    corpus::words::{folded, words},
    exam::Question,
    stats::Generator,
};

/// Words in a run: the length at which overlap counts (GPT-3; lm-evaluation-harness).
const RUN: usize = 13;

/// Draws before a text counts as impossible; about one in a hundred is refused.
const DRAWS: usize = 1000;

/// Every run of 13 words of an exam, options and letters included.
#[derive(Debug)]
pub(super) struct ExamRuns(HashSet<String>);

impl ExamRuns {
    /// Collects the runs of `items`.
    pub(super) fn new(items: &[Item]) -> Self {
        let mut found = HashSet::new();
        for item in items {
            let text = joined(&whole(&item.question));
            found.extend(runs(&text).map(str::to_owned));
        }
        Self(found)
    }

    /// Draws until the text is `wanted` and shares no run with the exam.
    pub(super) fn fresh<T>(
        &self,
        generator: &mut Generator,
        text: impl Fn(&T) -> String,
        wanted: impl Fn(&str) -> bool,
        draw: impl Fn(&mut Generator) -> T,
    ) -> T {
        (0..DRAWS)
            .map(|_| draw(generator))
            .find(|drawn| {
                let text = text(drawn);
                wanted(&text) && runs(&joined(&text)).all(|run| !self.0.contains(run))
            })
            .expect("facts and wordings are many more than rows, and none is the exam's")
    }
}

/// Returns stem and options as one text.
fn whole(question: &Question) -> String {
    let option = |choice: &crate::exam::Choice| format!("\n{}: {}", choice.letter, choice.text);
    question.text.clone() + &question.options.iter().map(option).collect::<String>()
}

/// Returns the words of a text, one space between them.
fn joined(text: &str) -> String {
    words(&folded(text)).collect::<Vec<_>>().join(" ")
}

/// Returns every run of words of a [`joined`] text.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices(' ').map(|(at, _)| at + 1)).collect();
    // A word's end is where the next begins, without the space.
    let ends: Vec<usize> =
        starts.iter().skip(1).map(|start| start - 1).chain([text.len()]).collect();
    let count = (starts.len() + 1).saturating_sub(RUN);
    (0..count).map(move |first| &text[starts[first]..ends[first + RUN - 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_every_thirteen_words_in_a_row() {
        let text = joined("A b c, d e f g h i j k l m N.");
        let found: Vec<&str> = runs(&text).collect();
        assert_eq!(found, ["a b c d e f g h i j k l m", "b c d e f g h i j k l m n"]);
        assert_eq!(runs("a b").count(), 0);
    }
}
