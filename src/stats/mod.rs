//! Statistics for small exams: exact where n is small, seeded where chance is involved.
//!
//! | question | use |
//! |---|---|
//! | how sure is one accuracy | [`Share::wilson`], [`Share::clopper_pearson`] |
//! | do two runs on the same questions differ | [`PairedCounts::mcnemar`], [`paired_bootstrap`] |
//! | are they the same within a margin | [`PairedCounts::equivalence`] |
//! | do two accuracies on different questions differ | [`two_proportions`] |
//! | the same where questions come in groups | [`clustered_mean`] |
//! | several steps at once | [`holm`] |
//! | what could have been seen at all | [`detectable_paired`], [`detectable_unpaired`] |
//! | do two reading rules agree | [`cohen_kappa`] |
//! | which counts can a printed accuracy stand for | [`PrintedShare`] |
//! | random numbers of our own, of numpy, of torch | [`Generator`], [`random`] |
//!
//! Guarantees: no NaN comes out, because none comes in: counts, margins and levels are checked
//! when they are made. Nothing depends on thread count. Values are checked against scipy and
//! statsmodels (`golden/stats`). What a number means is left to the caller.

mod agreement;
mod bootstrap;
mod generator;
mod grim;
mod multiple;
mod paired;
mod power;
pub mod random;
mod seed;
mod share;
mod special;
mod unpaired;

pub use agreement::{Kappa, cohen_kappa};
pub use bootstrap::{Bootstrap, MIN_RESAMPLES, paired_bootstrap, paired_bootstrap_clustered};
pub use generator::Generator;
pub(crate) use generator::split_mix;
pub use grim::{PrintedShare, Unit};
pub use multiple::holm;
pub use paired::{Equivalence, PairedCounts, mcnemar};
pub use power::{Power, detectable_paired, detectable_unpaired};
pub use seed::Seed;
pub use share::{Confidence, Interval, Margin, Share};
pub use special::{
    binomial_at_least, binomial_at_most, binomial_pmf, normal_cdf, normal_quantile, student_cdf,
};
pub use unpaired::{ClusteredMean, TwoProportions, clustered_mean, two_proportions};

/// Largest number of trials accepted; keeps every count exact in `f64` and every tail fast.
pub const MAX_TRIALS: usize = 1 << 32;

/// Why a statistic cannot be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StatsError {
    /// A share over no trials.
    #[error("no trials: a share over zero questions has no value")]
    NoTrials,
    /// More successes than trials.
    #[error("{successes} successes out of {trials} trials")]
    MoreSuccessesThanTrials {
        /// Numerator.
        successes: usize,
        /// Denominator.
        trials: usize,
    },
    /// A count above [`MAX_TRIALS`].
    #[error("more than {MAX_TRIALS} trials")]
    TooManyTrials,
    /// A number outside the open interval (0, 1), or NaN.
    #[error("{what} must lie strictly between 0 and 1, got {got}")]
    NotBetweenZeroAndOne {
        /// What the number is.
        what: &'static str,
        /// The number.
        got: f64,
    },
    /// A p value outside [0, 1], or NaN.
    #[error("p value {index} must lie in [0, 1], got {got}")]
    NotAProbability {
        /// Its position, from 0.
        index: usize,
        /// The number.
        got: f64,
    },
    /// NaN or infinity among the data.
    #[error("{what} {index} is not finite: {got}")]
    NotFinite {
        /// What the number is.
        what: &'static str,
        /// Its position, from 0.
        index: usize,
        /// The number.
        got: f64,
    },
    /// Two slices that should belong together do not.
    #[error("{what}: {left} values against {right}")]
    Lengths {
        /// What was compared.
        what: &'static str,
        /// Length of the first.
        left: usize,
        /// Length of the second.
        right: usize,
    },
    /// Too few resamples for a stable percentile.
    #[error("{got} resamples, at least {MIN_RESAMPLES} are needed")]
    TooFewResamples {
        /// Asked for.
        got: usize,
    },
    /// A variance between groups needs at least two of them.
    #[error("{got} clusters, at least 2 are needed")]
    TooFewClusters {
        /// Found.
        got: usize,
    },
    /// A text that should be a number is none.
    #[error("`{text}` is not a {what}")]
    NotANumber {
        /// What was expected.
        what: &'static str,
        /// The text.
        text: String,
    },
    /// A printed accuracy above 1 (or 100 %).
    #[error("accuracy `{text}` is more than {most}")]
    AboveOne {
        /// As printed.
        text: String,
        /// The largest value of its unit.
        most: &'static str,
    },
}
