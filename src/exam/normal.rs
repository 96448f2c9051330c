//! When two texts count as the same, and when two long texts nearly do.

use std::collections::{HashMap, HashSet};

use unicode_normalization::UnicodeNormalization;

use super::Question;

/// Returns `text` in NFKC, lower case, with every run of white space as one blank and none around.
///
/// # Examples
///
/// ```
/// assert_eq!(medharness::exam::normalized("  Ｃafé\n au  LAIT "), "café au lait");
/// ```
pub fn normalized(text: &str) -> String {
    // Case folding can leave what NFKC would compose (`İ`), hence once more behind it.
    let folded: String = text.nfkc().collect::<String>().to_lowercase().nfkc().collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Least share of common five-word runs at which two questions are taken for the same.
///
/// 66 questions of Clinical Camel's file have a twin in the 2023 exams at 0.6 or above, no other has
/// one above 0.2. Two questions on one vignette reach 0.97, so the best match is taken.
pub const SAME_QUESTION: f64 = 0.5;

/// Words in a run.
const RUN_WORDS: usize = 5;

/// Questions by the five-word runs of their texts, for finding near twins.
pub(super) struct Shingled {
    /// Runs of each question.
    sizes: Vec<usize>,
    /// Questions that hold a run.
    holders: HashMap<String, Vec<usize>>,
}

impl Shingled {
    /// Indexes `questions`.
    pub(super) fn new(questions: &[Question]) -> Self {
        let mut sizes = Vec::with_capacity(questions.len());
        let mut holders: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, question) in questions.iter().enumerate() {
            let runs = shingles(&question.text);
            sizes.push(runs.len());
            for run in runs {
                holders.entry(run).or_default().push(index);
            }
        }
        Self { sizes, holders }
    }

    /// Returns the position of the question most similar to `text` (the first of equals), `None` if
    /// none reaches [`SAME_QUESTION`].
    pub(super) fn most_similar(&self, text: &str) -> Option<usize> {
        let runs = shingles(text);
        let mut common = vec![0_usize; self.sizes.len()];
        for &index in runs.iter().filter_map(|run| self.holders.get(run)).flatten() {
            common[index] += 1;
        }
        let share = |index: usize| {
            let all = runs.len() + self.sizes[index] - common[index];
            common[index] as f64 / all.max(1) as f64
        };
        let alike = (0..common.len()).rev().filter(|&index| share(index) >= SAME_QUESTION);
        alike.max_by(|&a, &b| share(a).total_cmp(&share(b)))
    }
}

/// Returns every run of five words of `text` (all of it, if shorter), normalised, without
/// punctuation.
fn shingles(text: &str) -> HashSet<String> {
    let text = normalized(text);
    let words: Vec<&str> =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.windows(RUN_WORDS.min(words.len()).max(1)).map(|run| run.join(" ")).collect()
}
