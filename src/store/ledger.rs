//! The ledger: every question of an exam in exactly one place, or no accuracy.
//!
//! `correct + wrong + unparsed + errored = asked` and `asked + excluded + not_run = total`.
//! [`Accuracies::of`] is the only way from counts to accuracies, and it checks both sums.

use thiserror::Error;

use super::{Accuracies, Ledger, Proportion};
use crate::protocol::{Denominator, Outcome, Reason};

/// A sum that does not hold: the score would be over the wrong number of questions.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Some question asked has no outcome, or two.
    #[error(
        "correct {correct} + wrong {wrong} + unparsed {unparsed} + errored {errored} is not asked \
         {asked}"
    )]
    Outcomes {
        /// Right.
        correct: usize,
        /// Wrong.
        wrong: usize,
        /// No option read.
        unparsed: usize,
        /// No reply.
        errored: usize,
        /// What they should sum to.
        asked: usize,
    },
    /// Some question of the source is neither asked nor left out for a stated reason.
    #[error("asked {asked} + excluded {excluded} + not run {not_run} is not total {total}")]
    Total {
        /// Asked.
        asked: usize,
        /// Left out because they cannot be asked.
        excluded: usize,
        /// Not asked by this run.
        not_run: usize,
        /// What they should sum to.
        total: usize,
    },
    /// Some unparsed reply has no reason.
    #[error("the reasons of unparsed replies sum to {reasons}, not to unparsed {unparsed}")]
    Reasons {
        /// Sum over the reasons.
        reasons: usize,
        /// What they should sum to.
        unparsed: usize,
    },
    /// More stated letters are right than questions were asked.
    #[error("{letters} right letters in {asked} questions asked")]
    Letters {
        /// Right letters.
        letters: usize,
        /// Questions asked.
        asked: usize,
    },
}

impl Ledger {
    /// Counts one question as asked, with its outcome.
    pub fn count(&mut self, outcome: Outcome) {
        self.asked += 1;
        match outcome {
            Outcome::Correct => self.correct += 1,
            Outcome::Wrong => self.wrong += 1,
            Outcome::Unparsed { reason } => {
                self.unparsed += 1;
                *self.unparsed_by_reason.entry(reason_name(reason)).or_default() += 1;
            }
            Outcome::Errored => self.errored += 1,
        }
    }

    /// Checks that every question is in exactly one place.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] names the first sum that does not hold.
    pub fn check(&self) -> Result<(), LedgerError> {
        let Self { total, excluded, not_run, asked, correct, wrong, unparsed, errored, .. } = *self;
        if sum([correct, wrong, unparsed, errored]) != Some(asked) {
            return Err(LedgerError::Outcomes { correct, wrong, unparsed, errored, asked });
        }
        if sum([asked, excluded, not_run]) != Some(total) {
            return Err(LedgerError::Total { asked, excluded, not_run, total });
        }
        match sum(self.unparsed_by_reason.values().copied()) {
            Some(reasons) if reasons == unparsed => Ok(()),
            reasons => {
                let reasons = reasons.unwrap_or(usize::MAX);
                Err(LedgerError::Reasons { reasons, unparsed })
            }
        }
    }
}

/// The sum, `None` if it overflows: a ledger can come from a damaged file.
fn sum(counts: impl IntoIterator<Item = usize>) -> Option<usize> {
    counts.into_iter().try_fold(0_usize, usize::checked_add)
}

/// Returns the reason's name in the format, e.g. `letter_only`.
pub fn reason_name(reason: Reason) -> String {
    match serde_json::to_value(reason) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a unit variant is written as a string, not as {other:?}"),
    }
}

impl Accuracies {
    /// Returns the accuracies of a ledger that adds up; `letters` counts the questions whose
    /// letter was stated in form and right.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] if it does not add up: there is no accuracy then.
    pub fn of(
        ledger: &Ledger,
        letters: usize,
        denominator: Denominator,
    ) -> Result<Self, LedgerError> {
        ledger.check()?;
        let asked = ledger.asked;
        if letters > asked {
            return Err(LedgerError::Letters { letters, asked });
        }
        let strict = Proportion::of(ledger.correct, asked);
        let parsed_only = Proportion::of(ledger.correct, ledger.correct + ledger.wrong);
        let headline = match denominator {
            Denominator::Asked => strict.clone(),
            Denominator::Parsed => parsed_only.clone(),
        };
        let unread = ledger.unparsed + ledger.errored;
        let bounds = strict
            .as_ref()
            .map(|strict| [strict.value, (ledger.correct + unread) as f64 / asked as f64]);
        let letter = Proportion::of(letters, asked);
        Ok(Self { headline, strict, parsed_only, bounds, letter })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcomes() -> impl Strategy<Value = Vec<Outcome>> {
        let reason = prop_oneof![Just(Reason::Empty), Just(Reason::LetterOnly)];
        prop::collection::vec(
            prop_oneof![
                Just(Outcome::Correct),
                Just(Outcome::Wrong),
                reason.prop_map(|reason| Outcome::Unparsed { reason }),
                Just(Outcome::Errored),
            ],
            0..60,
        )
    }

    fn counted(outcomes: &[Outcome], excluded: usize, not_run: usize) -> Ledger {
        let total = outcomes.len() + excluded + not_run;
        let mut ledger = Ledger { total, excluded, not_run, ..Ledger::default() };
        outcomes.iter().for_each(|&outcome| ledger.count(outcome));
        ledger
    }

    proptest! {
        #[test]
        fn counted_outcomes_add_up_and_bound_the_score(
            outcomes in outcomes(), excluded in 0_usize..9, not_run in 0_usize..9,
        ) {
            let ledger = counted(&outcomes, excluded, not_run);
            let accuracies = Accuracies::of(&ledger, 0, Denominator::Asked).unwrap();
            prop_assert_eq!(accuracies.strict.is_none(), outcomes.is_empty());
            if let (Some(strict), Some([low, high])) = (accuracies.strict, accuracies.bounds) {
                prop_assert!(0.0 <= low && low <= high && high <= 1.0);
                prop_assert_eq!(strict.value.to_bits(), low.to_bits());
                prop_assert_eq!(strict.trials, outcomes.len());
            }
            if let Some(parsed) = accuracies.parsed_only {
                prop_assert!(parsed.trials <= ledger.asked && parsed.trials > 0);
            }
        }

        /// Whatever single count is off by whatever amount, no accuracy comes out.
        #[test]
        fn a_ledger_that_does_not_add_up_has_no_accuracy(
            outcomes in outcomes(), field in 0_usize..8, by in 1_usize..5,
        ) {
            let mut ledger = counted(&outcomes, 3, 2);
            let Ledger {
                total, excluded, not_run, asked, correct, wrong, unparsed, errored, ..
            } = &mut ledger;
            *[total, excluded, not_run, asked, correct, wrong, unparsed, errored][field] += by;
            prop_assert!(Accuracies::of(&ledger, 0, Denominator::Asked).is_err());
        }
    }

    #[test]
    fn no_accuracy_over_zero_questions() {
        let nothing = Accuracies::of(&Ledger::default(), 0, Denominator::Parsed).unwrap();
        assert_eq!(nothing.headline, None);
        assert_eq!(nothing.bounds, None);
        let unread = counted(&[Outcome::Errored; 3], 0, 0);
        let unread = Accuracies::of(&unread, 0, Denominator::Parsed).unwrap();
        assert_eq!(unread.headline, None, "three errors are no parsed reply");
        assert_eq!(unread.bounds, Some([0.0, 1.0]));
    }

    #[test]
    fn counts_of_a_damaged_file_do_not_overflow() {
        let ledger = Ledger { correct: usize::MAX, wrong: 2, asked: 1, ..Ledger::default() };
        assert!(matches!(ledger.check(), Err(LedgerError::Outcomes { .. })));
    }

    #[test]
    fn reasons_are_named_as_in_the_records() {
        assert_eq!(reason_name(Reason::TextOfAnotherOption), "text_of_another_option");
    }
}
