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
pub(super) struct ExamRuns(HashSet<Vec<String>>);

impl ExamRuns {
    /// Collects the runs of `items`.
    pub(super) fn new(items: &[Item]) -> Self {
        Self(items.iter().flat_map(|item| runs(&whole(&item.question))).collect())
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
                wanted(&text) && runs(&text).iter().all(|run| !self.0.contains(run))
            })
            .expect("facts and wordings are many more than rows, and none is the exam's")
    }
}

/// Returns stem and options as one text.
fn whole(question: &Question) -> String {
    let option = |choice: &crate::exam::Choice| format!("\n{}: {}", choice.letter, choice.text);
    question.text.clone() + &question.options.iter().map(option).collect::<String>()
}

fn runs(text: &str) -> Vec<Vec<String>> {
    let folded = folded(text);
    let words: Vec<&str> = words(&folded).collect();
    words.windows(RUN).map(|run| run.iter().map(|word| (*word).to_owned()).collect()).collect()
}
