//! Scores that need no model: what an accuracy must beat before it means anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Letter, Question};

/// Scores of three answerers without knowledge, over one list of questions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Baselines {
    /// Expected share right when every option is as likely: the mean of 1 / (number of options).
    pub uniform: f64,
    /// The constant letter that is right most often (the first of equals), and its share.
    pub best_constant: (Letter, f64),
    /// Share right when the longest option is always taken, ties to the first; length in Unicode
    /// scalar values.
    pub longest_option: f64,
}

impl Baselines {
    /// Returns the baselines over `questions`, `None` if there are none.
    ///
    /// A question without options, which a loaded exam cannot have, counts as never right.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::exam::{Baselines, Choice, Letter, Question, QuestionId};
    ///
    /// let texts = ["Iron", "Vitamin B12", "Zinc", "Folate"];
    /// let options = texts.iter().enumerate().map(|(index, text)| Choice {
    ///     letter: Letter::from_index(index).unwrap(),
    ///     text: (*text).to_owned(),
    /// });
    /// let question = Question {
    ///     id: QuestionId("1".into()),
    ///     step: None,
    ///     text: "What do strict vegans lack first?".into(),
    ///     options: options.collect(),
    ///     answer: Letter::from_char('B').unwrap(),
    ///     has_image: false,
    ///     source: "example".into(),
    /// };
    /// let baselines = Baselines::of([&question]).unwrap();
    /// assert_eq!(baselines.uniform, 0.25);
    /// assert_eq!(baselines.longest_option, 1.0);
    /// ```
    pub fn of<'a>(questions: impl IntoIterator<Item = &'a Question>) -> Option<Self> {
        let (mut total, mut uniform, mut longest_right) = (0_usize, 0.0, 0_usize);
        let mut answers: BTreeMap<Letter, usize> = BTreeMap::new();
        for question in questions {
            total += 1;
            if !question.options.is_empty() {
                uniform += 1.0 / question.options.len() as f64;
            }
            longest_right += usize::from(longest(question) == Some(question.answer));
            *answers.entry(question.answer).or_default() += 1;
        }
        // `max_by_key` takes the last of equals, so from behind it takes the first letter.
        let (&letter, &right) = answers.iter().rev().max_by_key(|(_, right)| **right)?;
        let share = |right: usize| right as f64 / total as f64;
        Some(Self {
            uniform: uniform / total as f64,
            best_constant: (letter, share(right)),
            longest_option: share(longest_right),
        })
    }
}

/// The first of the longest options.
fn longest(question: &Question) -> Option<Letter> {
    let by_length = |choice: &&super::Choice| choice.text.chars().count();
    question.options.iter().rev().max_by_key(by_length).map(|choice| choice.letter)
}
