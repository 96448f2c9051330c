//! What a run scored on the questions that the training rows do not hold.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Overlap, OverlapLevel};
use crate::{
    exam::QuestionId,
    stats::{Confidence, Share, two_proportions},
};

/// A share of right answers with its 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SubsetAccuracy {
    /// Right answers.
    pub correct: usize,
    /// Questions, at least 1.
    pub questions: usize,
    /// `correct / questions`.
    pub value: f64,
    /// Its interval.
    pub wilson: [f64; 2],
}

/// Accuracy on clean and on dirty questions, the line drawn at one level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CleanAccuracy {
    /// Questions at this level or above are dirty.
    pub dirty_from: OverlapLevel,
    /// On all questions that the run answered.
    pub full: Option<SubsetAccuracy>,
    /// On the clean ones; `None` if there are none.
    pub clean: Option<SubsetAccuracy>,
    /// On the dirty ones; `None` if there are none.
    pub dirty: Option<SubsetAccuracy>,
    /// Dirty minus clean; different questions, so unpaired.
    pub difference: Option<f64>,
    /// Two-sided p of the pooled z test that both are equal.
    pub p: Option<f64>,
}

impl Overlap {
    /// Returns the accuracy of a run at each level of [`OverlapLevel::DIRTY`]; `answered` says of
    /// each question whether it counted as right. Questions that the exam lacks do not count.
    pub fn accuracies(&self, answered: &BTreeMap<QuestionId, bool>) -> [CleanAccuracy; 3] {
        OverlapLevel::DIRTY.map(|dirty_from| {
            let of = |wanted: &dyn Fn(OverlapLevel) -> bool| {
                let items = self.items.iter().filter(|item| wanted(item.level));
                let right: Vec<bool> =
                    items.filter_map(|item| answered.get(&item.id).copied()).collect();
                Share::new(right.iter().filter(|right| **right).count(), right.len()).ok()
            };
            let clean = of(&|level| level < dirty_from);
            let dirty = of(&|level| level >= dirty_from);
            let test = dirty.zip(clean).map(|(dirty, clean)| two_proportions(dirty, clean));
            CleanAccuracy {
                dirty_from,
                full: of(&|_| true).map(SubsetAccuracy::from),
                clean: clean.map(SubsetAccuracy::from),
                dirty: dirty.map(SubsetAccuracy::from),
                difference: test.map(|test| test.difference),
                p: test.map(|test| test.p),
            }
        })
    }
}

impl From<Share> for SubsetAccuracy {
    fn from(share: Share) -> Self {
        Self {
            correct: share.successes(),
            questions: share.trials(),
            value: share.value(),
            wilson: share.wilson(Confidence::P95).into(),
        }
    }
}
