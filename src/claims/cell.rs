//! Our number against a printed one: reproduced, different, not comparable, or not run.

use serde::Serialize;

use super::audit::{ALPHA, Count, CountKind};
use crate::stats::{
    Confidence, Interval, Power, PrintedShare, Share, detectable_unpaired, two_proportions,
};

/// Fewest questions for a verdict; below it nearly any printed number would count as reproduced.
pub const MIN_QUESTIONS: usize = 30;

/// What we have of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// Right answers of questions asked, under the protocol the printed number claims.
    Share(Share),
    /// Measured, but under something else; says what differs.
    NotComparable(String),
    /// Not measured; says why.
    NotRun(String),
}

/// Whether a printed number was reproduced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum CellVerdict {
    /// Our 95 % Wilson interval holds the printed share, and the z test does not tell them apart.
    Reproduced,
    /// One of the two fails.
    Differs,
    /// The numbers do not speak of the same thing, or too few questions were asked.
    NotComparable(String),
    /// There is no number of ours.
    NotRun(String),
}

/// A printed number beside ours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellComparison {
    /// The verdict with its reason.
    #[serde(flatten)]
    pub verdict: CellVerdict,
    /// The count the printed digits are taken for; `None` where its number of questions is unknown.
    pub printed: Option<Count>,
    /// Our count.
    pub ours: Option<[usize; 2]>,
    /// Our 95 % Wilson interval.
    pub wilson: Option<Interval>,
    /// Ours minus printed.
    pub difference: Option<f64>,
    /// Two-sided p of the two-proportion z test; `None` without a printed count.
    pub p: Option<f64>,
    /// Smallest difference this comparison would see with 80 % power; `None` if there is none, or
    /// without a printed count.
    pub detectable: Option<f64>,
}

/// Judges our number against a printed one.
///
/// `printed_n` is the number of questions behind the printed one, if known or found by the audit;
/// the printed share is then the count k / n that prints the digits (the nearest k where none
/// does), else the printed value itself. Reproduced means both: the 95 % Wilson interval of our
/// share contains the printed share, and (where n is known) the unpaired two-proportion z test has
/// p >= 0.05. So a printed number over few questions is not held against us for its own noise, and
/// none is called reproduced from the width of its own interval. Not comparable below
/// [`MIN_QUESTIONS`] questions of ours.
///
/// # Examples
///
/// ```
/// use medharness::claims::{CellVerdict, Measured, compare_with_printed};
/// use medharness::stats::{PrintedShare, Share, Unit};
///
/// let printed = PrintedShare::parse("0.473", Unit::Fraction)?;
/// let ours = Measured::Share(Share::new(40, 91)?);
/// assert_eq!(compare_with_printed(&printed, Some(91), ours).verdict, CellVerdict::Reproduced);
/// let ours = Measured::Share(Share::new(11, 90)?);
/// assert_eq!(compare_with_printed(&printed, Some(91), ours).verdict, CellVerdict::Differs);
/// # Ok::<(), medharness::stats::StatsError>(())
/// ```
pub fn compare_with_printed(
    printed: &PrintedShare,
    printed_n: Option<usize>,
    ours: Measured,
) -> CellComparison {
    let count = printed_n.filter(|n| Share::new(0, *n).is_ok()).map(|n| Count::new(printed, n));
    let share = match ours {
        Measured::Share(share) => share,
        Measured::NotComparable(why) => return unjudged(CellVerdict::NotComparable(why), count),
        Measured::NotRun(why) => return unjudged(CellVerdict::NotRun(why), count),
    };
    let wilson = share.wilson(Confidence::P95);
    // A count that does not print the digits is no better than the digits.
    let reference = match count {
        Some(count) if count.kind != CountKind::Nearest => count.share().value(),
        _ => printed.value(),
    };
    let p = count.map(|count| two_proportions(share, count.share()).p);
    let inside = wilson.contains(reference);
    let verdict = match () {
        () if share.trials() < MIN_QUESTIONS => CellVerdict::NotComparable(format!(
            "{} questions asked, fewer than {MIN_QUESTIONS}",
            share.trials()
        )),
        () if inside && p.is_none_or(|p| p >= ALPHA) => CellVerdict::Reproduced,
        () => CellVerdict::Differs,
    };
    let detectable = count.and_then(|count| {
        // Where nothing or everything was right, half of 1/n keeps the variance above 0.
        let edge = 0.5 / count.trials as f64;
        let baseline = reference.clamp(edge, 1.0 - edge);
        detectable_unpaired(share.trials(), count.trials, baseline, Power::USUAL).ok().flatten()
    });
    CellComparison {
        verdict,
        printed: count,
        ours: Some([share.successes(), share.trials()]),
        wilson: Some(wilson),
        difference: Some(share.value() - reference),
        p,
        detectable,
    }
}

fn unjudged(verdict: CellVerdict, printed: Option<Count>) -> CellComparison {
    CellComparison {
        verdict,
        printed,
        ours: None,
        wilson: None,
        difference: None,
        p: None,
        detectable: None,
    }
}
