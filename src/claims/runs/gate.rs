//! Whether a run may replace its baseline: a paired test with a stated margin, or a refusal.
//!
//! A part fails if B loses more than the margin *and* the exact paired test calls the loss more
//! than chance. The whole is tested at alpha, the steps at alpha together (Holm). Tests are
//! two-sided and only a loss fails, so a gate between two runs that differ by chance alone fails
//! at most a share alpha of the time: alpha / 2 for the whole, alpha / 2 for the steps.
//!
//! [`Fails::OnAnyMove`] fails on a gain too, and on replies that are read where they were not: for
//! a run that must repeat. The share of failures by chance is then alpha for the whole, alpha for the
//! steps, alpha for what is read.
//!
//! What the gate could not have seen is part of its result.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use thiserror::Error;

use super::{
    Outcomes,
    compare::{
        CompareError, Comparison, PartComparison, Settings, compare, identity_notes,
        question_differences,
    },
};
use crate::stats::{Margin, PairedCounts, Seed, StatsError};

/// A loss that is accepted: at least 0, less than 1, not percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Tolerance(f64);

impl Tolerance {
    /// Returns the tolerance, e.g. 0.02 for two points.
    ///
    /// # Errors
    ///
    /// [`GateError::Margin`] for anything else, NaN and infinity included.
    pub fn new(margin: f64) -> Result<Self, GateError> {
        // A NaN is in no range. -0.0 would be, and prints a sign.
        if (0.0..1.0).contains(&margin) {
            Ok(Self(margin.abs()))
        } else {
            Err(GateError::Margin { got: margin })
        }
    }

    /// Returns the number.
    pub fn value(self) -> f64 {
        self.0
    }

    /// Whether `lost - gained` of `questions` is more than accepted. Counts decide; the rounding
    /// of `margin * questions` must not.
    fn is_exceeded(self, [lost, gained]: [usize; 2], questions: usize, fails: Fails) -> bool {
        let net = lost as f64 - gained as f64;
        let net = if fails == Fails::OnAnyMove { net.abs() } else { net };
        net > self.0 * questions as f64 + 1e-9
    }
}

/// What a gate fails on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fails {
    /// A loss: for a model that may improve.
    OnLoss,
    /// A loss, a gain, or more or fewer replies out of which an option is read: for a run that must
    /// repeat, such as the same model under a changed harness.
    OnAnyMove,
}

/// How strict a gate is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GateSettings {
    /// Loss of accuracy that is accepted.
    pub margin: Tolerance,
    /// How often a change by chance alone may fail: above 0, at most [`GateSettings::MOST_ALPHA`].
    pub alpha: f64,
    /// What fails.
    pub fails: Fails,
    /// Whether any question that is answered otherwise fails.
    pub exact: bool,
    /// Whether runs of different versions of this program are compared.
    pub any_version: bool,
    /// Seed of the bootstrap.
    pub seed: Seed,
}

impl GateSettings {
    /// A gate that fails more often than this by chance says nothing.
    pub const MOST_ALPHA: f64 = 0.2;

    /// Checks what no type has checked.
    ///
    /// # Errors
    ///
    /// [`GateError::Alpha`].
    pub fn check(&self) -> Result<(), GateError> {
        // Written so that a NaN fails.
        if self.alpha > 0.0 && self.alpha <= Self::MOST_ALPHA {
            Ok(())
        } else {
            Err(GateError::Alpha { got: self.alpha })
        }
    }
}

/// Why a gate cannot decide.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GateError {
    /// The runs are not about the same thing.
    #[error("not comparable: {}", differences.join("; "))]
    NotComparable {
        /// What differs.
        differences: Vec<String>,
    },
    /// The margin is no share.
    #[error("the margin must be at least 0 and less than 1, got {got}")]
    Margin {
        /// As given.
        got: f64,
    },
    /// Alpha is no sensible size of a test.
    #[error("alpha must be above 0 and at most {}, got {got}", GateSettings::MOST_ALPHA)]
    Alpha {
        /// As given.
        got: f64,
    },
    /// A statistic cannot be computed.
    #[error(transparent)]
    Stats(#[from] StatsError),
}

/// The part of a failure that is about reading, not about being right.
pub const READ: &str = "read";

/// What a gate decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// Whether the run passes.
    pub passes: bool,
    /// Why not; empty if it passes.
    pub failures: Vec<Failure>,
    /// What fails.
    pub fails: Fails,
    /// Loss of accuracy that was accepted.
    pub margin: Tolerance,
    /// Whether any other answer fails.
    pub exact: bool,
    /// Whether a loss of the margin is significant less often than four times in five.
    pub underpowered: bool,
    /// What this gate could have seen, in words.
    pub power: String,
    /// The comparison it rests on; A is the baseline.
    pub comparison: Comparison,
}

/// One reason to fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The part it is about: `all`, or the step.
    pub part: String,
    /// In words.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.reason)
    }
}

/// Decides whether `run` may replace `baseline`.
///
/// # Errors
///
/// [`GateError::NotComparable`] if exam, questions, protocol or program version differ.
pub fn gate(
    baseline: &Outcomes,
    run: &Outcomes,
    settings: &GateSettings,
) -> Result<Gate, GateError> {
    settings.check()?;
    let mut differences = question_differences(baseline, run);
    if settings.any_version {
        let same = Outcomes { tool_version: baseline.tool_version.clone(), ..run.clone() };
        differences.extend(identity_notes(baseline, &same));
    } else {
        differences.extend(identity_notes(baseline, run));
    }
    if !differences.is_empty() {
        return Err(GateError::NotComparable { differences });
    }
    let comparison_settings = Settings {
        alpha: settings.alpha,
        margin: Margin::new(settings.margin.value()).ok(),
        seed: settings.seed,
        common: false,
    };
    let comparison = match compare(baseline, run, &comparison_settings) {
        Ok(comparison) => comparison,
        Err(CompareError::Stats(error)) => return Err(error.into()),
        Err(error) => {
            return Err(GateError::NotComparable { differences: vec![error.to_string()] });
        }
    };
    let mut failures = failures(&comparison, settings);
    if settings.fails == Fails::OnAnyMove {
        failures.extend(moved_reading(baseline, run, settings)?);
    }
    let (underpowered, power) = power(comparison.whole(), settings);
    Ok(Gate {
        passes: failures.is_empty(),
        failures,
        fails: settings.fails,
        margin: settings.margin,
        exact: settings.exact,
        underpowered,
        power,
        comparison,
    })
}

fn failures(comparison: &Comparison, settings: &GateSettings) -> Vec<Failure> {
    let mut failures: Vec<Failure> = comparison
        .parts
        .iter()
        .filter(|part| {
            let net = [part.lost, part.gained];
            settings.margin.is_exceeded(net, part.questions, settings.fails)
                && part.p_adjusted < settings.alpha
        })
        .map(|part| Failure {
            part: part.name.clone(),
            reason: format!(
                "{} of {} right, {} before: {:+.1} points ({} lost, {} gained, p = {})",
                part.b_correct,
                part.questions,
                part.a_correct,
                100.0 * part.difference,
                part.lost,
                part.gained,
                p_value(part.p_adjusted)
            ),
        })
        .collect();
    if settings.exact && !comparison.flips.is_empty() {
        failures.push(Failure {
            part: "all".into(),
            reason: format!("{} questions are answered otherwise", comparison.flips.len()),
        });
    }
    failures
}

/// Why the share of replies out of which an option is read fails, `None` if it does not. The
/// questions are the same: that was checked before.
fn moved_reading(
    baseline: &Outcomes,
    run: &Outcomes,
    settings: &GateSettings,
) -> Result<Option<Failure>, StatsError> {
    let after: BTreeMap<_, bool> =
        run.items.iter().map(|item| (&item.id, item.letter.is_some())).collect();
    let pairs = baseline
        .items
        .iter()
        .filter_map(|item| Some((item.letter.is_some(), *after.get(&item.id)?)));
    let (before, after): (Vec<bool>, Vec<bool>) = pairs.unzip();
    let counts = PairedCounts::from_outcomes(&before, &after)?;
    let (lost, gained) = (counts.first_only(), counts.second_only());
    let p = counts.mcnemar();
    let n = counts.total();
    if !settings.margin.is_exceeded([lost, gained], n, settings.fails) || p >= settings.alpha {
        return Ok(None);
    }
    let (had, has) = (counts.both() + lost, counts.both() + gained);
    Ok(Some(Failure {
        part: READ.into(),
        reason: format!(
            "an option is read out of {has} of {n} replies, of {had} before ({lost} lost, {gained} gained, p = {})",
            p_value(p)
        ),
    }))
}

/// Prints a p value with two significant digits.
fn p_value(p: f64) -> String {
    if p >= 0.001 { format!("{p:.3}") } else { format!("{p:.1e}") }
}

fn power(whole: &PartComparison, settings: &GateSettings) -> (bool, String) {
    let n = whole.questions;
    let margin = 100.0 * settings.margin.value();
    let Some(detectable) = whole.detectable else {
        let words = format!("underpowered: {n} questions cannot show any loss reliably");
        return (true, words);
    };
    let points = 100.0 * detectable;
    if detectable > settings.margin.value() {
        let words = format!(
            "underpowered: with {n} questions a loss is seen four times in five only from {points:.1} \
             points on; a loss between the margin of {margin:.1} points and that can pass unseen"
        );
        return (true, words);
    }
    let words = format!(
        "with {n} questions a loss of {points:.1} points is significant four times in five; it fails \
         beyond the margin of {margin:.1} points"
    );
    (false, words)
}
