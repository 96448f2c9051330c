//! An exam by the words of its questions: every run of five words with the places where it stands.
//!
//! Words are numbers here. A row's words that the exam lacks get numbers of their own, so that
//! equal numbers mean equal words and nothing is hashed away.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

use crate::{
    corpus::{
        Row,
        words::{folded, words},
    },
    exam::Exam,
};

/// Words in a shingle; shorter common runs are not looked for.
pub(super) const SHINGLE: usize = 5;

/// Stands between two texts of the exam: no word has this number.
const BOUNDARY: usize = usize::MAX;

type Shingle = [usize; SHINGLE];

/// A question's places in [`Index::words`].
pub(super) struct Item {
    pub(super) stem: Range<usize>,
    pub(super) options: Vec<Range<usize>>,
    /// The right one.
    answer: Option<Range<usize>>,
    /// Whether no other question has this stem.
    pub(super) has_own_stem: bool,
    /// Distinct shingles of the stem, turns of phrase left out.
    pub(super) stem_shingles: usize,
    /// Distinct shingles of stem and options, turns of phrase left out.
    pub(super) all_shingles: usize,
}

impl Item {
    /// All its places.
    pub(super) fn range(&self) -> Range<usize> {
        self.stem.start..self.options.last().map_or(self.stem.end, |last| last.end)
    }
}

/// The questions of an exam.
pub(super) struct Index {
    numbers: HashMap<String, usize>,
    /// The words by number.
    names: Vec<String>,
    /// All texts, each closed by [`BOUNDARY`].
    pub(super) words: Vec<usize>,
    /// The question of each place.
    pub(super) owner: Vec<usize>,
    pub(super) items: Vec<Item>,
    /// Places where a shingle stands, ascending.
    shingles: HashMap<Shingle, Vec<usize>>,
    /// Shingles that stand in too many questions to say anything about one.
    phrases: HashSet<Shingle>,
    /// Questions by stem.
    stems: HashMap<Vec<usize>, Vec<usize>>,
    /// Questions whose stem has fewer words than a shingle.
    pub(super) short: Vec<usize>,
}

/// A run of words that a row and the exam have in common, as long as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Its first place in [`Index::words`].
    pub(super) at: usize,
    pub(super) len: usize,
}

/// A row as numbers: all of it, and where each field stands.
pub(super) struct RowWords {
    pub(super) all: Vec<usize>,
    pub(super) fields: [Range<usize>; 3],
}

impl Index {
    pub(super) fn new(exam: &Exam, common_items: usize) -> Self {
        let mut index = Self {
            numbers: HashMap::new(),
            names: Vec::new(),
            words: Vec::new(),
            owner: Vec::new(),
            items: Vec::with_capacity(exam.questions.len()),
            shingles: HashMap::new(),
            phrases: HashSet::new(),
            stems: HashMap::new(),
            short: Vec::new(),
        };
        for (number, question) in exam.questions.iter().enumerate() {
            let stem = index.push(number, &question.text);
            let options: Vec<Range<usize>> =
                question.options.iter().map(|choice| index.push(number, &choice.text)).collect();
            let letters = question.options.iter().map(|choice| choice.letter);
            let right = letters.zip(&options).find(|(letter, _)| *letter == question.answer);
            let answer = right.map(|(_, option)| option.clone());
            index.stems.entry(index.words[stem.clone()].to_vec()).or_default().push(number);
            if stem.len() < SHINGLE {
                index.short.push(number);
            }
            let (has_own_stem, stem_shingles, all_shingles) = (false, 0, 0);
            index.items.push(Item {
                stem,
                options,
                answer,
                has_own_stem,
                stem_shingles,
                all_shingles,
            });
        }
        for (at, run) in index.words.windows(SHINGLE).enumerate() {
            if !run.contains(&BOUNDARY) {
                index.shingles.entry(shingle(run)).or_default().push(at);
            }
        }
        let common = index.common(SHINGLE, common_items);
        let places = index.words.windows(SHINGLE).enumerate().filter(|(at, _)| common[*at]);
        index.phrases = places.map(|(_, run)| shingle(run)).collect();
        for item in 0..index.items.len() {
            let Item { stem, .. } = &index.items[item];
            let stem = &index.words[stem.clone()];
            let has_own_stem = index.stems[stem].len() == 1;
            let stem_shingles = index.distinct(stem).len();
            let all_shingles = index.distinct(&index.words[index.items[item].range()]).len();
            let item = &mut index.items[item];
            (item.has_own_stem, item.stem_shingles) = (has_own_stem, stem_shingles);
            item.all_shingles = all_shingles;
        }
        index
    }

    fn push(&mut self, item: usize, text: &str) -> Range<usize> {
        let start = self.words.len();
        for word in words(&folded(text)) {
            let number = self.numbers.get(word).copied().unwrap_or_else(|| {
                self.names.push(word.to_owned());
                self.numbers.insert(word.to_owned(), self.names.len() - 1);
                self.names.len() - 1
            });
            self.words.push(number);
        }
        let end = self.words.len();
        self.words.push(BOUNDARY);
        self.owner.resize(self.words.len(), item);
        start..end
    }

    /// Returns the words of `row` as numbers.
    pub(super) fn row(&self, row: &Row) -> RowWords {
        let mut all = Vec::new();
        let mut own: HashMap<String, usize> = HashMap::new();
        let fields = [&row.instruction, &row.input, &row.output].map(|field| {
            let start = all.len();
            for word in words(&folded(field)) {
                let known = self.numbers.get(word).or_else(|| own.get(word)).copied();
                all.push(known.unwrap_or_else(|| {
                    let next = self.numbers.len() + own.len();
                    *own.entry(word.to_owned()).or_insert(next)
                }));
            }
            start..all.len()
        });
        RowWords { all, fields }
    }

    /// Calls `found` with every run of [`SHINGLE`] or more words that `row` shares with the exam,
    /// each as long as it goes in both directions.
    pub(super) fn runs(&self, row: &[usize], mut found: impl FnMut(Run)) {
        for (start, window) in row.windows(SHINGLE).enumerate() {
            for &at in self.shingles.get(&shingle(window)).into_iter().flatten() {
                let goes_on_before = start > 0 && at > 0 && row[start - 1] == self.words[at - 1];
                if goes_on_before {
                    continue;
                }
                let pairs = row[start..].iter().zip(&self.words[at..]);
                found(Run { at, len: pairs.take_while(|(a, b)| a == b).count() });
            }
        }
    }

    /// Calls `found` with each question that shares a shingle with `text`, and its Jaccard
    /// similarity: the larger of the stem's and the whole question's.
    pub(super) fn similar(&self, text: &[usize], mut found: impl FnMut(usize, f64)) {
        let shingles = self.distinct(text);
        let mut common: HashMap<usize, [usize; 2]> = HashMap::new();
        for run in &shingles {
            let mut last = None;
            for &at in self.shingles.get(run).into_iter().flatten() {
                let item = self.owner[at];
                if last.replace(item) != Some(item) {
                    let [stem, all] = common.entry(item).or_default();
                    // Places ascend, so the first of a question is in its stem if any is.
                    *stem += usize::from(self.items[item].stem.contains(&at));
                    *all += 1;
                }
            }
        }
        for (item, [stem, all]) in common {
            let of = |common: usize, size: usize| {
                common as f64 / (shingles.len() + size - common).max(1) as f64
            };
            let sizes = &self.items[item];
            found(item, of(stem, sizes.stem_shingles).max(of(all, sizes.all_shingles)));
        }
    }

    /// Returns the questions whose stem is exactly `text` and nobody else's.
    pub(super) fn with_stem(&self, text: &[usize]) -> Option<usize> {
        match self.stems.get(text).map(Vec::as_slice) {
            Some([item]) if !text.is_empty() => Some(*item),
            _ => None,
        }
    }

    /// Returns whether every option of `item` stands in `row`; options without a word do not count.
    pub(super) fn has_every_option(&self, item: usize, row: &[usize]) -> bool {
        let mut options = self.items[item].options.iter().filter(|option| !option.is_empty());
        let stands = |option: &Range<usize>| contains(row, &self.words[option.clone()]);
        options.clone().next().is_some() && options.all(stands)
    }

    /// Returns whether the right option of `item` stands in `row`.
    pub(super) fn has_answer(&self, item: usize, row: &[usize]) -> bool {
        let answer = self.items[item].answer.clone();
        answer.is_some_and(|answer| contains(row, &self.words[answer]))
    }

    /// Returns for each place whether the run of `n` words that begins there stands in more than
    /// `common_items` questions.
    pub(super) fn common(&self, n: usize, common_items: usize) -> Vec<bool> {
        let mut items: HashMap<&[usize], (usize, usize)> = HashMap::new();
        let grams = || self.words.windows(n).enumerate().filter(|(_, gram)| is_gram(gram));
        for (at, gram) in grams() {
            let owner = self.owner[at];
            let (last, count) = items.entry(gram).or_insert((owner, 1));
            if *last != owner {
                (*last, *count) = (owner, *count + 1);
            }
        }
        let mut common = vec![false; self.words.len()];
        for (at, gram) in grams() {
            common[at] = items[gram].1 > common_items;
        }
        common
    }

    /// Returns the places of `item` where a run of `n` words begins.
    pub(super) fn grams(&self, item: usize, n: usize) -> impl Iterator<Item = usize> {
        let range = self.items[item].range();
        let first = range.start;
        let words = &self.words[range];
        let begins = words.windows(n).enumerate().filter(|(_, gram)| is_gram(gram));
        begins.map(move |(offset, _)| first + offset)
    }

    /// Returns the distinct shingles of a text, or of several with boundaries between them, turns of
    /// phrase left out.
    fn distinct(&self, words: &[usize]) -> HashSet<Shingle> {
        let shingles = words.windows(SHINGLE).filter(|window| is_gram(window)).map(shingle);
        shingles.filter(|shingle| !self.phrases.contains(shingle)).collect()
    }

    /// Returns the words of a run as text.
    pub(super) fn text(&self, run: Run) -> String {
        let numbers = &self.words[run.at..run.at + run.len];
        let words: Vec<&str> = numbers.iter().map(|number| self.names[*number].as_str()).collect();
        words.join(" ")
    }
}

/// Returns whether `part` stands in `row`.
pub(super) fn contains(row: &[usize], part: &[usize]) -> bool {
    !part.is_empty() && row.windows(part.len()).any(|window| window == part)
}

fn is_gram(words: &[usize]) -> bool {
    !words.contains(&BOUNDARY)
}

fn shingle(window: &[usize]) -> Shingle {
    window.try_into().expect("windows of this length")
}
