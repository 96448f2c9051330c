//! What one attempt counts as. The evaluator and `verify` both ask here, so they cannot differ.

use super::{AttemptRecord, OptionScore};
use crate::{
    exam::{Letter, Question},
    protocol::{Decoding, FinishReason, Outcome, Protocol, Reading, Reason, Score, repetition},
};

/// What a protocol makes of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// The option read, or why none was.
    pub reading: Reading,
    /// The letter stated, text ignored.
    pub letter: Option<Letter>,
    /// What it counts as if it is the last.
    pub outcome: Outcome,
    /// Whether it is the last.
    pub is_final: bool,
}

/// What came back from a model.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The reply; empty where options were scored.
    pub text: &'a str,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Scores of the options; empty where a reply was generated.
    pub scores: &'a [OptionScore],
    /// Whether there is no reply at all.
    pub has_failed: bool,
}

impl<'a> From<&'a AttemptRecord> for Answer<'a> {
    fn from(record: &'a AttemptRecord) -> Self {
        Self {
            text: &record.text,
            finish_reason: record.finish_reason,
            scores: &record.scores,
            has_failed: record.error.is_some(),
        }
    }
}

/// Judges attempt number `attempt` at `question`, from 1.
///
/// A failed attempt is errored and ends the question: it is never read and never wrong. A reply
/// from which nothing is read and that ends in a loop is unparsed as [`Reason::Degenerate`];
/// whether the question is asked again is decided by the rule's own reading.
pub fn judge(
    protocol: &Protocol,
    question: &Question,
    attempt: u32,
    answer: Answer<'_>,
) -> Judgement {
    if answer.has_failed {
        return Judgement {
            reading: Reading::Unparsed { reason: Reason::Empty },
            letter: None,
            outcome: Outcome::Errored,
            is_final: true,
        };
    }
    let (read, letter) = if matches!(protocol.decoding, Decoding::LogLikelihood { .. }) {
        let scores: Vec<Score> = answer
            .scores
            .iter()
            .map(|s| Score { letter: s.letter, log_prob: s.log_prob, tokens: s.tokens })
            .collect();
        let reading = protocol.choose(question, &scores);
        (reading, reading.letter())
    } else {
        let read = protocol.read(question, answer.text, answer.finish_reason);
        (read.reading, read.stated)
    };
    let reading = match read {
        Reading::Unparsed { .. } if is_degenerate(answer.text, answer.finish_reason) => {
            Reading::Unparsed { reason: Reason::Degenerate }
        }
        read => read,
    };
    Judgement {
        reading,
        letter,
        outcome: reading.outcome(question.answer),
        is_final: !protocol.asks_again(read, attempt),
    }
}

/// Returns whether the reply was not ended by the model itself and ends in a loop.
fn is_degenerate(text: &str, finish_reason: FinishReason) -> bool {
    matches!(finish_reason, FinishReason::Length | FinishReason::Unknown)
        && repetition(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_or_phrase_repeated_to_the_limit_is_degenerate() {
        for text in [
            "fever fever fever fever fever fever fever fever",
            "The patient has fever and chills and chills and chills and chills and chills and",
            "OOOOOOOOOOOOOOOOOOOO",
            "</s></s></s></s></s></s></s></s></s>",
        ] {
            assert!(is_degenerate(text, FinishReason::Length), "{text}");
            assert!(!is_degenerate(text, FinishReason::EndOfText), "{text} ended by itself");
        }
    }

    #[test]
    fn prose_and_short_replies_are_not_degenerate() {
        for text in [
            "",
            "no no no",
            "AAAA",
            "The most likely cause is a bacterial infection of the lower airways, since the cough",
            "fever fever fever fever fever fever fever fever and then the patient recovered fully \
             and was discharged home",
        ] {
            assert!(!is_degenerate(text, FinishReason::Length), "{text}");
        }
    }
}
