//! Two runs on the same questions, compared question by question.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::{Fate, RunRecords, format};
use crate::{
    exam::QuestionId,
    protocol::Outcome,
    stats::{Confidence, PairedCounts, Power, detectable_paired},
};

/// What sets two runs apart. The first is what the second is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pair {
    /// Place of the first run in the report.
    pub a: usize,
    /// Place of the second.
    pub b: usize,
    /// Labels of both.
    pub labels: [String; 2],
    /// Questions that both asked.
    pub questions: usize,
    /// Right in the first, not in the second.
    pub lost: usize,
    /// Right in the second, not in the first.
    pub gained: usize,
    /// Accuracy of the second less that of the first, over those questions.
    pub difference: f64,
    /// 95 % interval of the difference (Tango's score).
    pub interval: [f64; 2],
    /// Exact two-sided McNemar test.
    pub p: f64,
    /// The same, adjusted by Holm for every pair of the report.
    pub holm_p: f64,
    /// Difference that a comparison of this size and discordance would see with 80 % power;
    /// `None` where the runs never disagree, or no difference would be.
    pub detectable: Option<f64>,
    /// All of it in words.
    pub words: String,
}

impl Pair {
    /// Compares two runs; `None` if their exams differ or no question was asked by both.
    pub(super) fn of(places: [usize; 2], runs: [&RunRecords; 2]) -> Option<Self> {
        let [first, second] = runs;
        if first.manifest.exam.sha256 != second.manifest.exam.sha256 {
            return None;
        }
        let before = outcomes(first);
        let after = outcomes(second);
        let both = || before.iter().filter_map(|(id, a)| Some((*a, *after.get(id)?)));
        let firsts: Vec<bool> = both().map(|(a, _)| a).collect();
        let seconds: Vec<bool> = both().map(|(_, b)| b).collect();
        let counts = PairedCounts::from_outcomes(&firsts, &seconds).ok()?;
        let interval = counts.difference_interval(Confidence::P95);
        let detectable = detectable_paired(counts.total(), counts.discordance(), Power::USUAL);
        let p = counts.mcnemar();
        let mut pair = Self {
            a: places[0],
            b: places[1],
            labels: runs.map(|run| run.label.clone()),
            questions: counts.total(),
            lost: counts.first_only(),
            gained: counts.second_only(),
            difference: -counts.difference(),
            interval: [-interval.high, -interval.low],
            p,
            holm_p: p,
            detectable: detectable.ok().flatten(),
            words: String::new(),
        };
        pair.words = pair.in_words();
        Some(pair)
    }

    /// Sets the adjusted p value.
    pub(super) fn adjust(&mut self, holm_p: f64) {
        self.holm_p = holm_p;
        self.words = self.in_words();
    }

    /// Returns the comparison as it stands in `report.json`.
    pub(super) fn json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }

    /// Returns both labels, the first first.
    pub(super) fn names(&self) -> Value {
        json!(self.labels)
    }

    fn in_words(&self) -> String {
        let [first, second] = &self.labels;
        let verdict = if self.holm_p < 0.05 {
            "a difference that chance alone would rarely make".to_owned()
        } else {
            let size = match self.detectable {
                Some(size) => {
                    let points = 100.0 * size;
                    format!("; a true difference of {points:.1} points would be seen 4 times in 5")
                }
                None => String::new(),
            };
            format!("not distinguishable at this number of questions{size}")
        };
        format!(
            "{second} against {first} on {}: {} right to wrong, {} wrong to right, {:+.1} points \
             [{} points], exact McNemar p {}, after Holm {}: {verdict}.",
            format::count(self.questions, "question"),
            self.lost,
            self.gained,
            100.0 * self.difference,
            format::interval(self.interval),
            format::p_value(self.p),
            format::p_value(self.holm_p),
        )
    }
}

/// Whether each question asked came out right.
fn outcomes(run: &RunRecords) -> HashMap<QuestionId, bool> {
    run.rows()
        .into_iter()
        .filter_map(|row| match row.fate {
            Fate::Asked(outcome) => Some((row.question.id.clone(), outcome == Outcome::Correct)),
            _ => None,
        })
        .collect()
}
