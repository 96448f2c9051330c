//! What a record says: accuracies with intervals, claims with tests, what each method cost.
//!
//! With one seed a difference is tested by McNemar's exact test and its interval is Tango's. With
//! more, the answers of the same question under all seeds are one group: the mean difference has a
//! standard error that respects the groups, and Student's t; seeds too few to be a sample of seeds
//! are printed each. p values are adjusted within a claim (Holm).

use serde::Serialize;

use super::{
    ExamItem, ExamRecord, Family, Method, Record, RowRecord,
    record::{decode, name},
};
use crate::{
    corpus::miniature::Taught,
    exam::Step,
    protocol::Outcome,
    stats::{Confidence, PairedCounts, Share, StatsError, clustered_mean, holm},
};

/// Size of every test.
pub(super) const ALPHA: f64 = 0.05;

/// Part of an exam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Stratum {
    /// All of it.
    Whole,
    /// One step.
    Step(Step),
    /// Items whose fact was taught one way.
    Taught(Taught),
}

impl From<Stratum> for String {
    fn from(stratum: Stratum) -> Self {
        match stratum {
            Stratum::Whole => "all".into(),
            Stratum::Step(step) => format!("step {step}"),
            Stratum::Taught(taught) => name(taught).into(),
        }
    }
}

impl Stratum {
    /// The parts of the paper's table, and the whole.
    pub const TABLE: [Self; 4] =
        [Self::Step(Step::One), Self::Step(Step::Two), Self::Step(Step::Three), Self::Whole];

    /// The parts by how a fact was taught.
    pub const WAYS: [Self; 3] = [
        Self::Taught(Taught::Question),
        Self::Taught(Taught::Flashcard),
        Self::Taught(Taught::Read),
    ];

    fn holds(self, item: &ExamItem) -> bool {
        match self {
            Self::Whole => true,
            Self::Step(step) => item.step == Some(step),
            Self::Taught(taught) => item.taught == Some(taught),
        }
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Answers that are right.
    Right,
    /// Replies out of which an option was read: the strict-format rate under a strict protocol.
    Read,
}

/// A share over items and seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// Items asked.
    pub asked: usize,
    /// Counted ones, one a seed.
    pub counts: Vec<usize>,
    /// Mean over the seeds.
    pub value: f64,
    /// 95 %: Wilson's with one seed, by questions with more.
    pub interval: [f64; 2],
}

/// One row against another on the same items.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// First minus second, mean over the seeds.
    pub value: f64,
    /// The same, one a seed.
    pub seeds: Vec<f64>,
    /// 95 %.
    pub interval: [f64; 2],
    /// Two-sided.
    pub p: f64,
}

/// What a claim expects of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Above 0.
    Above,
    /// Below 0.
    Below,
}

/// One comparison of a claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Test {
    /// The first row.
    pub first: String,
    /// The second row.
    pub second: String,
    /// First minus second over the whole exam.
    pub difference: Difference,
    /// p adjusted within the claim (Holm).
    pub p_holm: f64,
    /// First minus second by how facts were taught; `None` where no item is.
    pub by_way: Vec<Option<f64>>,
    /// What comes of it.
    pub finding: Finding,
}

/// What a comparison shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// A difference as claimed, beyond chance.
    AsClaimed,
    /// A difference the other way, beyond chance.
    Opposite,
    /// No difference beyond chance.
    NotShown,
}

/// What becomes of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every comparison is as claimed.
    Holds,
    /// Some are, none is opposite.
    InPart,
    /// None is beyond chance.
    NotShown,
    /// At least one is opposite.
    Contradicted,
    /// The rows it compares were not made.
    NotRun,
}

/// A claim of the paper, held against the study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Claim {
    /// In words.
    pub text: &'static str,
    /// Which way its differences should go.
    pub expected: Expected,
    /// The protocol whose answers are compared.
    pub protocol: String,
    /// The comparisons it stands for.
    pub tests: Vec<Test>,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Record {
    /// Returns a share of a row, `None` if no such item was asked.
    pub fn accuracy(
        &self,
        row: &RowRecord,
        exam: &ExamRecord,
        protocol: &str,
        stratum: Stratum,
        counted: Counted,
    ) -> Option<Accuracy> {
        let seeds = answers(row, exam, protocol, stratum, counted)?;
        let counts: Vec<usize> =
            seeds.iter().map(|seed| seed.iter().filter(|(_, right)| *right).count()).collect();
        let asked = seeds.first()?.len();
        let share = Share::new(*counts.first()?, asked).ok()?;
        let of_one_seed = share.wilson(Confidence::P95).into();
        if counts.len() == 1 {
            return Some(Accuracy { asked, counts, value: share.value(), interval: of_one_seed });
        }
        let (values, clusters) = flat(&seeds, f64_of);
        let mean = clustered_mean(&values, &clusters, Confidence::P95).ok()?;
        if mean.standard_error == 0.0 {
            // All right or all wrong with every seed: what one seed shows is what is known.
            return Some(Accuracy { asked, counts, value: mean.mean, interval: of_one_seed });
        }
        let bounds: [f64; 2] = mean.interval.into();
        let interval = bounds.map(|bound| bound.clamp(0.0, 1.0));
        Some(Accuracy { asked, counts, value: mean.mean, interval })
    }

    /// Returns first minus second, `None` if they have no item or no seed in common.
    pub fn difference(
        &self,
        [first, second]: [&RowRecord; 2],
        protocol: &str,
        stratum: Stratum,
    ) -> Option<Difference> {
        let exam = self.exams.first()?;
        let [a, b] =
            [first, second].map(|row| answers(row, exam, protocol, stratum, Counted::Right));
        let pairs: Vec<Vec<(usize, [bool; 2])>> = a?
            .iter()
            .zip(&b?)
            .map(|(a, b)| {
                let b: std::collections::BTreeMap<usize, bool> = b.iter().copied().collect();
                a.iter().filter_map(|(item, x)| Some((*item, [*x, *b.get(item)?]))).collect()
            })
            .collect();
        paired(&pairs).ok()
    }

    /// Returns the paper's claims held against the rows, under a protocol.
    pub fn claims(&self, protocol: &str) -> Vec<Claim> {
        let trained = |row: &&RowRecord| row.method != Method::Base;
        let base = |row: &RowRecord| {
            self.rows.iter().find(|other| other.size == row.size && other.method == Method::Base)
        };
        let tuned = self.rows.iter().filter(trained).filter_map(|row| Some((row, base(row)?)));
        let with = |method: Method, row: &RowRecord| {
            self.rows.iter().find(|other| {
                other.size == row.size && other.family == row.family && other.method == method
            })
        };
        let adapters =
            self.rows.iter().filter(|row| matches!(row.method, Method::Lora | Method::Lora8bit));
        let below_full = adapters.filter_map(|row| Some((row, with(Method::Full, row)?)));
        let eight = self.rows.iter().filter(|row| row.method == Method::Lora8bit);
        let below_lora = eight.filter_map(|row| Some((row, with(Method::Lora, row)?)));
        let mut sizes: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !sizes.contains(&&*row.size) {
                sizes.push(&row.size);
            }
        }
        let larger = sizes.windows(2).flat_map(|two| {
            self.rows.iter().filter(|row| row.size == two[1]).filter_map(|row| {
                let twin = |other: &&RowRecord| {
                    other.size == two[0] && (other.family, other.method) == (row.family, row.method)
                };
                Some((row, self.rows.iter().find(twin)?))
            })
        });
        vec![
            self.claim("fine-tuned above base", Expected::Above, tuned.collect(), protocol),
            self.claim(
                "LoRA and 8-bit below full fine-tuning",
                Expected::Below,
                below_full.collect(),
                protocol,
            ),
            self.claim("8-bit below LoRA", Expected::Below, below_lora.collect(), protocol),
            self.claim("larger above smaller", Expected::Above, larger.collect(), protocol),
        ]
    }

    fn claim(
        &self,
        text: &'static str,
        expected: Expected,
        pairs: Vec<(&RowRecord, &RowRecord)>,
        protocol: &str,
    ) -> Claim {
        let mut tests = Vec::new();
        for (first, second) in pairs {
            let difference = |stratum| self.difference([first, second], protocol, stratum);
            let Some(whole) = difference(Stratum::Whole) else { continue };
            tests.push(Test {
                first: first.id.clone(),
                second: second.id.clone(),
                p_holm: whole.p,
                difference: whole,
                by_way: Stratum::WAYS.map(|way| Some(difference(way)?.value)).to_vec(),
                finding: Finding::NotShown,
            });
        }
        let p: Vec<f64> = tests.iter().map(|test| test.p_holm).collect();
        let adjusted = holm(&p).unwrap_or(p);
        for (test, p_holm) in tests.iter_mut().zip(adjusted) {
            test.p_holm = p_holm;
            let is_above = test.difference.value > 0.0;
            test.finding = match (p_holm < ALPHA, is_above == (expected == Expected::Above)) {
                (false, _) => Finding::NotShown,
                (true, true) => Finding::AsClaimed,
                (true, false) => Finding::Opposite,
            };
        }
        let count = |finding| tests.iter().filter(|test| test.finding == finding).count();
        let verdict = match (count(Finding::AsClaimed), count(Finding::Opposite)) {
            _ if tests.is_empty() => Verdict::NotRun,
            (_, 1..) => Verdict::Contradicted,
            (claimed, _) if claimed == tests.len() => Verdict::Holds,
            (0, _) => Verdict::NotShown,
            _ => Verdict::InPart,
        };
        Claim { text, expected, protocol: protocol.to_owned(), tests, verdict }
    }
}

impl Claim {
    /// Returns how many comparisons came out which way, in words.
    pub fn counts(&self) -> String {
        let count = |finding| self.tests.iter().filter(|test| test.finding == finding).count();
        let (claimed, opposite) = (count(Finding::AsClaimed), count(Finding::Opposite));
        format!("{claimed} of {} as claimed, {opposite} opposite", self.tests.len())
    }

    /// Returns the verdict with its counts, in words.
    pub fn sentence(&self) -> String {
        let count = |finding| self.tests.iter().filter(|test| test.finding == finding).count();
        let n = self.tests.len();
        let (claimed, opposite) = (count(Finding::AsClaimed), count(Finding::Opposite));
        match self.verdict {
            Verdict::Holds => format!("holds in all {n} comparisons"),
            Verdict::InPart => {
                format!("holds in {claimed} of {n} comparisons; no test shows it in the others")
            }
            Verdict::NotShown => format!("not shown: none of {n} comparisons is beyond chance"),
            Verdict::Contradicted => format!(
                "does not hold: {opposite} of {n} comparisons are the other way beyond chance, {claimed} as claimed"
            ),
            Verdict::NotRun => "not tested: its rows were not made".into(),
        }
    }
}

/// Place of an item in the exam, and whether it counts, for each seed.
type Answers = Vec<Vec<(usize, bool)>>;

fn answers(
    row: &RowRecord,
    exam: &ExamRecord,
    protocol: &str,
    stratum: Stratum,
    counted: Counted,
) -> Option<Answers> {
    let mut seeds = Vec::with_capacity(row.seeds.len());
    for seed in 0..row.seeds.len() {
        let run = row.run(seed, &exam.name, protocol)?;
        let items = exam.items.iter().zip(run.outcomes.chars()).enumerate();
        let found: Vec<(usize, bool)> = items
            .filter(|(_, (item, _))| stratum.holds(item))
            .filter_map(|(place, (_, code))| {
                let (outcome, letter) = decode(code).ok()??;
                let counts = match counted {
                    Counted::Right => outcome == Outcome::Correct,
                    Counted::Read => letter.is_some(),
                };
                Some((place, counts))
            })
            .collect();
        if found.is_empty() {
            return None;
        }
        seeds.push(found);
    }
    (!seeds.is_empty()).then_some(seeds)
}

fn f64_of(counts: bool) -> f64 {
    f64::from(u8::from(counts))
}

/// Values with the question each belongs to.
fn flat<T: Copy>(seeds: &[Vec<(usize, T)>], value: impl Fn(T) -> f64) -> (Vec<f64>, Vec<usize>) {
    seeds.iter().flatten().map(|(item, x)| (value(*x), *item)).unzip()
}

fn paired(seeds: &[Vec<(usize, [bool; 2])>]) -> Result<Difference, StatsError> {
    let mut each = Vec::with_capacity(seeds.len());
    let mut only = None;
    for pairs in seeds {
        let (a, b): (Vec<bool>, Vec<bool>) = pairs.iter().map(|(_, [a, b])| (*a, *b)).unzip();
        let counts = PairedCounts::from_outcomes(&a, &b)?;
        each.push(counts.difference());
        only = Some(counts);
    }
    let counts = only.ok_or(StatsError::NoTrials)?;
    let of_one_seed = |counts: &PairedCounts, seeds: Vec<f64>| Difference {
        value: counts.difference(),
        seeds,
        interval: counts.difference_interval(Confidence::P95).into(),
        p: counts.mcnemar(),
    };
    if seeds.len() == 1 {
        return Ok(of_one_seed(&counts, each));
    }
    let (values, clusters) = flat(seeds, |[a, b]: [bool; 2]| f64_of(a) - f64_of(b));
    let mean = clustered_mean(&values, &clusters, Confidence::P95)?;
    if mean.standard_error == 0.0 {
        // Every question differs alike with every seed: no spread to judge by but that of one seed.
        return Ok(of_one_seed(&counts, each));
    }
    Ok(Difference { value: mean.mean, seeds: each, interval: mean.interval.into(), p: mean.p })
}

/// Returns the row that a method's cost is held against: full fine-tuning on the same data.
pub(super) fn full_of<'a>(record: &'a Record, row: &RowRecord) -> Option<&'a RowRecord> {
    record.rows.iter().find(|other| {
        other.method == Method::Full && other.size == row.size && other.family == row.family
    })
}

/// Returns the medical rows trained in full, whose rise above their base is a target.
pub(super) fn medical_full(record: &Record) -> impl Iterator<Item = &RowRecord> {
    record.rows.iter().filter(|row| row.method == Method::Full && row.family == Family::Medalpaca)
}
