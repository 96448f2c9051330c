//! Two runs on the same questions: what changed, and whether that is more than chance.
//!
//! A difference is always B minus A. A ranking is stated only where an exact test allows it;
//! otherwise the comparison says what it could have seen.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use thiserror::Error;

use super::{Item, Outcomes};
use crate::{
    exam::{Letter, QuestionId, Step},
    protocol::Outcome,
    stats::{
        Confidence, MIN_RESAMPLES, Margin, PairedCounts, Power, Seed, StatsError,
        detectable_paired, holm, paired_bootstrap,
    },
    store::{STEPS, part_name, reason_name},
};

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Size of each test, two-sided.
    pub alpha: f64,
    /// Difference taken for nothing; `None` tests no equivalence.
    pub margin: Option<Margin>,
    /// Seed of the bootstrap.
    pub seed: Seed,
    /// Whether runs of different questions are compared on those that both asked.
    pub common: bool,
}

impl Default for Settings {
    /// 5 %, five points, seed 0, the same questions.
    fn default() -> Self {
        Self { alpha: 0.05, margin: Margin::new(0.05).ok(), seed: Seed(0), common: false }
    }
}

/// Why two runs cannot be compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CompareError {
    /// They asked different exams, or different questions of one.
    #[error("the runs asked different questions: {}", differences.join("; "))]
    Questions {
        /// What differs.
        differences: Vec<String>,
    },
    /// They have no question in common.
    #[error("the runs have no question in common")]
    NothingInCommon,
    /// A setting is out of range.
    #[error(transparent)]
    Stats(#[from] StatsError),
}

/// One of the two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Side {
    /// The run.
    pub run_id: String,
    /// Who answered.
    pub model: String,
    /// The protocol's id.
    pub protocol: String,
    /// The protocol's digest.
    pub protocol_sha256: String,
    /// The exam's name.
    pub exam: String,
    /// The exam's digest.
    pub exam_sha256: String,
    /// Version of the program.
    pub tool_version: String,
}

/// How a question changed from A to B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlipKind {
    /// Correct in A, not in B.
    Lost,
    /// Correct in B, not in A.
    Gained,
    /// Correct in neither, but another letter or another outcome.
    Churn,
}

/// A question that the two runs do not answer alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The question.
    pub id: QuestionId,
    /// `None` where the exam does not say.
    pub step: Option<Step>,
    /// Which way.
    pub kind: FlipKind,
    /// What A counted, in words.
    pub a: String,
    /// What B counted, in words.
    pub b: String,
}

/// What may be said about a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is better, by an exact test.
    Better,
    /// B is worse, by an exact test.
    Worse,
    /// No test tells them apart, and both are the same within the margin.
    Equivalent,
    /// No test tells them apart, nor shows them the same.
    NotDistinguishable,
}

/// The whole, or one step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartComparison {
    /// `all`, or the step.
    pub name: String,
    /// Questions compared.
    pub questions: usize,
    /// Correct in A.
    pub a_correct: usize,
    /// Correct in B.
    pub b_correct: usize,
    /// Accuracy of B minus accuracy of A.
    pub difference: f64,
    /// Its 95 % percentile interval over a paired bootstrap of questions.
    pub bootstrap: [f64; 2],
    /// Its 95 % score interval (Tango).
    pub interval: [f64; 2],
    /// Correct in A alone.
    pub lost: usize,
    /// Correct in B alone.
    pub gained: usize,
    /// Correct in neither, answered differently.
    pub churn: usize,
    /// Exact two-sided p of McNemar's test.
    pub p: f64,
    /// The same, adjusted over the steps (Holm); of the whole, unadjusted.
    pub p_adjusted: f64,
    /// p of "they differ by the margin or more" (TOST); `None` without a margin.
    pub p_not_equivalent: Option<f64>,
    /// Smallest difference that this many questions show with 80 % power, at the share of
    /// questions that flipped or at the margin if that is larger; `None` if none below 1.
    pub detectable: Option<f64>,
    /// What may be said.
    pub verdict: Verdict,
}

/// Two runs, question by question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Size of each test.
    pub alpha: f64,
    /// Difference taken for nothing.
    pub margin: Option<f64>,
    /// Resamples of the bootstrap.
    pub resamples: usize,
    /// Its seed.
    pub seed: u64,
    /// What else differs between the runs, and what was left out.
    pub notes: Vec<String>,
    /// The whole first, then each step.
    pub parts: Vec<PartComparison>,
    /// Every question not answered alike, in the order of A.
    pub flips: Vec<Flip>,
}

impl Comparison {
    /// Returns the comparison over all questions.
    pub fn whole(&self) -> &PartComparison {
        self.parts.first().expect("the whole is always compared")
    }
}

/// Compares two runs on the questions that both asked.
///
/// # Errors
///
/// [`CompareError::Questions`] if they asked different ones and `settings.common` is off.
pub fn compare(
    a: &Outcomes,
    b: &Outcomes,
    settings: &Settings,
) -> Result<Comparison, CompareError> {
    let differences = question_differences(a, b);
    if !differences.is_empty() && !settings.common {
        return Err(CompareError::Questions { differences });
    }
    let in_b: BTreeMap<&QuestionId, &Item> = b.items.iter().map(|item| (&item.id, item)).collect();
    let pairs: Vec<Pair<'_>> =
        a.items.iter().filter_map(|item| Some((item, *in_b.get(&item.id)?))).collect();
    if pairs.is_empty() {
        return Err(CompareError::NothingInCommon);
    }
    let mut notes = Vec::new();
    if !differences.is_empty() {
        notes.push(format!(
            "only the {} questions in common: {}",
            pairs.len(),
            differences.join("; ")
        ));
    }
    notes.extend(identity_notes(a, b));
    Ok(Comparison {
        a: side(a),
        b: side(b),
        alpha: settings.alpha,
        margin: settings.margin.map(Margin::value),
        resamples: MIN_RESAMPLES,
        seed: settings.seed.0,
        notes,
        parts: parts(&pairs, settings)?,
        flips: pairs.iter().filter_map(flip).collect(),
    })
}

type Pair<'a> = (&'a Item, &'a Item);

/// In what the questions of two runs differ, in words; empty if they are the same.
pub(super) fn question_differences(a: &Outcomes, b: &Outcomes) -> Vec<String> {
    let mut differences = Vec::new();
    if a.exam.sha256 != b.exam.sha256 {
        differences.push(format!(
            "exam `{}` ({}) against `{}` ({})",
            a.exam.name,
            short(&a.exam.sha256),
            b.exam.name,
            short(&b.exam.sha256)
        ));
    }
    let missing = |from: &Outcomes, of: &Outcomes| {
        let there: std::collections::BTreeSet<_> = from.items.iter().map(|item| &item.id).collect();
        of.items.iter().filter(|item| !there.contains(&item.id)).count()
    };
    let (only_a, only_b) = (missing(b, a), missing(a, b));
    if only_a + only_b > 0 {
        differences.push(format!("{only_a} questions asked in A alone, {only_b} in B alone"));
    }
    differences
}

/// In what the way of asking differs, in words.
pub(super) fn identity_notes(a: &Outcomes, b: &Outcomes) -> Vec<String> {
    let mut notes = Vec::new();
    let (p, q) = (&a.protocol, &b.protocol);
    if p != q {
        let [p, q] = [p, q].map(|p| format!("{} ({})", p.id, short(&p.sha256)));
        notes.push(format!("protocol {p} against {q}: the difference is not the model's alone"));
    }
    if a.tool_version != b.tool_version {
        notes.push(format!("medharness {} against {}", a.tool_version, b.tool_version));
    }
    notes
}

/// The first digits of a digest, enough to tell two apart.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

fn side(outcomes: &Outcomes) -> Side {
    Side {
        run_id: outcomes.run_id.clone(),
        model: outcomes.model.clone(),
        protocol: outcomes.protocol.id.clone(),
        protocol_sha256: outcomes.protocol.sha256.clone(),
        exam: outcomes.exam.name.clone(),
        exam_sha256: outcomes.exam.sha256.clone(),
        tool_version: outcomes.tool_version.clone(),
    }
}

fn parts(pairs: &[Pair<'_>], settings: &Settings) -> Result<Vec<PartComparison>, StatsError> {
    let mut steps = Vec::new();
    for step in STEPS {
        let pairs: Vec<Pair<'_>> =
            pairs.iter().filter(|(item, _)| item.step == step).copied().collect();
        if !pairs.is_empty() {
            steps.push(part(part_name(step), &pairs, settings)?);
        }
    }
    let adjusted = holm(&steps.iter().map(|step| step.p).collect::<Vec<_>>())?;
    for (step, p_adjusted) in steps.iter_mut().zip(adjusted) {
        step.p_adjusted = p_adjusted;
    }
    let mut parts = vec![part("all".into(), pairs, settings)?];
    parts.append(&mut steps);
    for part in &mut parts {
        part.verdict = verdict(part, settings.alpha);
    }
    Ok(parts)
}

fn part(
    name: String,
    pairs: &[Pair<'_>],
    settings: &Settings,
) -> Result<PartComparison, StatsError> {
    let count = |kind| pairs.iter().filter_map(flip).filter(|flip| flip.kind == kind).count();
    let correct = |right: fn(&Pair<'_>) -> bool| pairs.iter().filter(|pair| right(pair)).count();
    let a_correct = correct(|(a, _)| a.is_correct());
    let b_correct = correct(|(_, b)| b.is_correct());
    let (lost, gained) = (count(FlipKind::Lost), count(FlipKind::Gained));
    let both = a_correct - lost;
    // B comes first, so that differences are B minus A.
    let counts = PairedCounts::new(both, gained, lost, pairs.len() - both - lost - gained)?;
    let differences: Vec<f64> = pairs
        .iter()
        .map(|(a, b)| f64::from(u8::from(b.is_correct())) - f64::from(u8::from(a.is_correct())))
        .collect();
    let bootstrap = paired_bootstrap(&differences, MIN_RESAMPLES, settings.seed, Confidence::P95)?;
    let margin = settings.margin.map_or(0.0, Margin::value);
    let p = counts.mcnemar();
    Ok(PartComparison {
        name,
        questions: pairs.len(),
        a_correct,
        b_correct,
        difference: counts.difference(),
        bootstrap: bootstrap.interval.into(),
        interval: counts.difference_interval(Confidence::P95).into(),
        lost,
        gained,
        churn: count(FlipKind::Churn),
        p,
        p_adjusted: p,
        p_not_equivalent: settings.margin.map(|margin| counts.equivalence(margin).p),
        detectable: detectable(pairs.len(), counts.discordance().max(margin), settings.alpha)?,
        verdict: Verdict::NotDistinguishable,
    })
}

/// The smallest difference seen with 80 % power where `discordance` of the questions flip, or more
/// if the difference itself needs more flips than that.
fn detectable(n: usize, discordance: f64, alpha: f64) -> Result<Option<f64>, StatsError> {
    let power = Power::new(alpha, 0.8)?;
    // At full discordance this is z / sqrt(n), from which every other follows.
    let Some(most) = detectable_paired(n, 1.0, power)? else { return Ok(None) };
    let difference = most * discordance.sqrt();
    Ok(Some(if difference <= discordance { difference } else { most * most }))
}

fn verdict(part: &PartComparison, alpha: f64) -> Verdict {
    if part.p_adjusted < alpha {
        return if part.difference > 0.0 { Verdict::Better } else { Verdict::Worse };
    }
    match part.p_not_equivalent {
        Some(p) if p < alpha => Verdict::Equivalent,
        _ => Verdict::NotDistinguishable,
    }
}

fn flip((a, b): &Pair<'_>) -> Option<Flip> {
    let kind = match (a.is_correct(), b.is_correct()) {
        (true, true) => return None,
        (true, false) => FlipKind::Lost,
        (false, true) => FlipKind::Gained,
        (false, false) if a.outcome == b.outcome && a.letter == b.letter => return None,
        (false, false) => FlipKind::Churn,
    };
    let (id, step) = (a.id.clone(), a.step);
    Some(Flip { id, step, kind, a: words(a), b: words(b) })
}

/// An outcome in words, e.g. `B wrong`, `unparsed: letter_only`.
fn words(item: &Item) -> String {
    let letter = |letter: Option<Letter>| letter.map_or("?".to_owned(), |l| l.to_string());
    match item.outcome {
        Outcome::Correct => format!("{} correct", letter(item.letter)),
        Outcome::Wrong => format!("{} wrong", letter(item.letter)),
        Outcome::Unparsed { reason } => format!("unparsed: {}", reason_name(reason)),
        Outcome::Errored => "errored".into(),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Equivalent => "equivalent",
            Self::NotDistinguishable => "not distinguishable",
        })
    }
}

impl fmt::Display for FlipKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "right to not right",
            Self::Gained => "not right to right",
            Self::Churn => "other answer",
        })
    }
}
