//! The search itself: training rows in, one at a time; evidence per question out.

use std::collections::HashMap;

use super::{
    ItemOverlap, Nearest, Overlap, OverlapLevel, OverlapSettings, RowPlace, SharedRun,
    index::{Index, RowWords, Run, contains},
};
use crate::{corpus::Row, exam::Exam, exam::QuestionId};

/// Words of the long and of the short n-gram.
const LONG: usize = 13;
const SHORT: usize = 8;
/// Words of a stem below which a field of the same words says nothing by itself.
const TELLING: usize = 4;

/// Searches training rows for the questions of an exam.
///
/// Memory holds the exam's index and one row. The result depends on the rows' order only in which
/// of several equally strong rows is named: the first.
pub struct OverlapSearch {
    exam: (String, String),
    settings: OverlapSettings,
    index: Index,
    ids: Vec<QuestionId>,
    evidence: Vec<Evidence>,
    grams: [Grams; 2],
    rows: usize,
    overlapping: Vec<RowPlace>,
}

/// The n-grams of one length.
struct Grams {
    n: usize,
    /// By place: whether the n-gram there is a turn of phrase.
    common: Vec<bool>,
    /// By place: whether a row has it.
    found: Vec<bool>,
}

/// What was found of one question so far.
#[derive(Default)]
struct Evidence {
    copies: usize,
    rows: usize,
    longest: Option<(Run, RowPlace)>,
    nearest: Option<Nearest>,
    worst: Option<((OverlapLevel, usize), RowPlace)>,
}

/// What one row has of one question.
#[derive(Default)]
struct Touch {
    longest: Option<Run>,
    has_gram: [bool; 2],
    has_stem: bool,
    is_copy: bool,
    jaccard: f64,
}

impl OverlapSearch {
    /// Indexes `exam`, excluded questions too.
    pub fn new(exam: &Exam, settings: OverlapSettings) -> Self {
        let index = Index::new(exam, settings.common_items);
        let grams = [LONG, SHORT].map(|n| Grams {
            n,
            common: index.common(n, settings.common_items),
            found: vec![false; index.words.len()],
        });
        Self {
            exam: (exam.name.clone(), exam.sha256()),
            settings,
            ids: exam.questions.iter().map(|question| question.id.clone()).collect(),
            evidence: exam.questions.iter().map(|_| Evidence::default()).collect(),
            index,
            grams,
            rows: 0,
            overlapping: Vec::new(),
        }
    }

    /// Searches row `number` (from 1) of `file`, and returns the level of its strongest overlap
    /// with any question.
    pub fn add(&mut self, file: &str, number: usize, row: &Row) -> OverlapLevel {
        self.rows += 1;
        let words = self.index.row(row);
        let mut touched: HashMap<usize, Touch> = HashMap::new();
        self.find_runs(&words, &mut touched);
        self.find_copies(&words, &mut touched);
        self.find_similar(&words, &mut touched);
        let place = || RowPlace { file: file.to_owned(), row: number, id: row.id.clone() };
        let mut strongest = OverlapLevel::Clean;
        for (item, touch) in touched {
            let level = touch.level(&self.settings);
            strongest = strongest.max(level);
            self.evidence[item].take(&touch, level, place);
        }
        if strongest >= OverlapLevel::Overlapping {
            self.overlapping.push(place());
        }
        strongest
    }

    fn find_runs(&mut self, words: &RowWords, touched: &mut HashMap<usize, Touch>) {
        let Self { index, grams, .. } = self;
        index.runs(&words.all, |run| {
            let item = index.owner[run.at];
            let touch = touched.entry(item).or_default();
            if touch.longest.is_none_or(|longest| longest.len < run.len) {
                touch.longest = Some(run);
            }
            let stem = &index.items[item].stem;
            touch.has_stem |= run.at == stem.start && run.len == stem.len();
            for (grams, has) in grams.iter_mut().zip(&mut touch.has_gram) {
                for at in run.at..(run.at + run.len + 1).saturating_sub(grams.n) {
                    if !grams.common[at] {
                        grams.found[at] = true;
                        *has = true;
                    }
                }
            }
        });
    }

    fn find_copies(&self, words: &RowWords, touched: &mut HashMap<usize, Touch>) {
        let index = &self.index;
        for field in &words.fields {
            let Some(item) = index.with_stem(&words.all[field.clone()]) else { continue };
            // "Diagnosis?" may head any row.
            if field.len() >= TELLING
                || index.has_answer(item, &words.all)
                || index.has_every_option(item, &words.all)
            {
                touched.entry(item).or_default().is_copy = true;
            }
        }
        for &item in &index.short {
            let question = &index.items[item];
            let stem = &index.words[question.stem.clone()];
            let is_told = || {
                question.has_own_stem && stem.len() >= TELLING && index.has_answer(item, &words.all)
            };
            if contains(&words.all, stem) && (index.has_every_option(item, &words.all) || is_told())
            {
                touched.entry(item).or_default().is_copy = true;
            }
        }
        for (&item, touch) in touched.iter_mut().filter(|(_, touch)| touch.has_stem) {
            let question = &index.items[item];
            let is_told = question.stem.len() >= SHORT || index.has_answer(item, &words.all);
            touch.is_copy |=
                (question.has_own_stem && is_told) || index.has_every_option(item, &words.all);
        }
    }

    fn find_similar(&self, words: &RowWords, touched: &mut HashMap<usize, Touch>) {
        let whole = 0..words.all.len();
        let fields = words.fields.iter().filter(|field| **field != whole);
        for text in fields.chain([&whole]) {
            self.index.similar(&words.all[text.clone()], |item, jaccard| {
                let touch = touched.entry(item).or_default();
                touch.jaccard = touch.jaccard.max(jaccard);
            });
        }
    }

    /// Returns what was found.
    pub fn finish(self) -> Overlap {
        let Self { exam: (exam, exam_sha256), settings, index, grams, rows, .. } = self;
        let commons = |grams: &Grams| grams.common.iter().filter(|common| **common).count();
        let [common_grams_13, common_grams_8] = [&grams[0], &grams[1]].map(commons);
        let items = self.ids.into_iter().zip(self.evidence).enumerate();
        let items = items.map(|(item, (id, evidence))| {
            let [[grams_13, grams_13_found], [grams_8, grams_8_found]] =
                [&grams[0], &grams[1]].map(|grams| grams.count(&index, item));
            let longest_run = evidence.longest.map(|(run, row)| {
                let text = index.text(run);
                SharedRun { words: run.len, text, row }
            });
            ItemOverlap {
                id,
                level: evidence.worst.as_ref().map_or(OverlapLevel::Clean, |worst| worst.0.0),
                copies: evidence.copies,
                rows: evidence.rows,
                grams_13,
                grams_13_found,
                grams_8,
                grams_8_found,
                longest_run,
                nearest: evidence.nearest,
                worst: evidence.worst.map(|(_, row)| row),
            }
        });
        let items = items.collect();
        Overlap {
            exam,
            exam_sha256,
            settings,
            rows,
            overlapping_rows: self.overlapping,
            common_grams_13,
            common_grams_8,
            items,
        }
    }
}

impl Grams {
    /// The n-grams of `item` that are no turns of phrase, and how many of them were found.
    fn count(&self, index: &Index, item: usize) -> [usize; 2] {
        let own = index.grams(item, self.n).filter(|at| !self.common[*at]);
        own.fold([0, 0], |[all, found], at| [all + 1, found + usize::from(self.found[at])])
    }
}

impl Touch {
    fn level(&self, settings: &OverlapSettings) -> OverlapLevel {
        let [long, short] = self.has_gram;
        if self.is_copy {
            OverlapLevel::Copied
        } else if long || self.jaccard >= settings.near {
            OverlapLevel::Overlapping
        } else if short {
            OverlapLevel::Touched
        } else {
            OverlapLevel::Clean
        }
    }
}

impl Evidence {
    fn take(&mut self, touch: &Touch, level: OverlapLevel, place: impl Fn() -> RowPlace) {
        self.copies += usize::from(touch.is_copy);
        self.rows += usize::from(level >= OverlapLevel::Overlapping);
        let words = touch.longest.map_or(0, |run| run.len);
        if let Some(run) = touch.longest
            && self.longest.as_ref().is_none_or(|(longest, _)| longest.len < run.len)
        {
            self.longest = Some((run, place()));
        }
        if touch.jaccard > self.nearest.as_ref().map_or(0.0, |nearest| nearest.jaccard) {
            self.nearest = Some(Nearest { jaccard: touch.jaccard, row: place() });
        }
        if level > OverlapLevel::Clean
            && self.worst.as_ref().is_none_or(|(strength, _)| *strength < (level, words))
        {
            self.worst = Some(((level, words), place()));
        }
    }
}
