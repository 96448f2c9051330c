//! Which questions of an exam a run asks; every other one gets its reason.

use std::collections::BTreeSet;

use super::EvalError;
use crate::{
    exam::{Exam, Question, QuestionId},
    protocol::Protocol,
    store::{Selection, Shard},
};

/// What to ask out of an exam; the default is everything.
///
/// Applied in this order: the exam's exclusions, the protocol, `questions`, `limit`, `shard`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only these.
    pub questions: Option<BTreeSet<QuestionId>>,
    /// Only the first so many.
    pub limit: Option<usize>,
    /// Only this part.
    pub shard: Option<Shard>,
}

impl Choice {
    /// Returns what is left out of `exam` under `protocol`, with the reasons.
    ///
    /// # Errors
    ///
    /// [`EvalError::UnknownQuestion`] and [`EvalError::NotAskable`] for a question named in vain;
    /// [`EvalError::NothingToAsk`] if nothing is left.
    pub fn select(&self, exam: &Exam, protocol: &Protocol) -> Result<Selection, EvalError> {
        let by_protocol = protocol.not_asked(exam);
        let mut not_run = by_protocol.clone();
        not_run.retain(|id, _| !exam.excluded.contains_key(id));
        for id in self.questions.iter().flatten() {
            if !exam.questions.iter().any(|question| question.id == *id) {
                return Err(EvalError::UnknownQuestion { exam: exam.name.clone(), id: id.clone() });
            }
            if let Some(reason) = exam.excluded.get(id).or_else(|| by_protocol.get(id)) {
                return Err(EvalError::NotAskable { id: id.clone(), reason: reason.clone() });
            }
        }
        let mut asked: Vec<&Question> =
            exam.asked().filter(|question| !not_run.contains_key(&question.id)).collect();
        let mut leave = |reason: String, keep: &dyn Fn(usize, &QuestionId) -> bool| {
            let mut position = 0;
            asked.retain(|question| {
                let kept = keep(position, &question.id);
                position += 1;
                if !kept {
                    not_run.insert(question.id.clone(), reason.clone());
                }
                kept
            });
        };
        if let Some(questions) = &self.questions {
            leave("not among the questions chosen".into(), &|_, id| questions.contains(id));
        }
        if let Some(limit) = self.limit {
            leave(format!("beyond the limit of {limit}"), &|position, _| position < limit);
        }
        if let Some(shard) = self.shard {
            leave(Shard::REASON.into(), &|position, _| shard.holds(position));
        }
        if asked.is_empty() {
            let (excluded, not_run) = (exam.excluded.len(), not_run.len());
            return Err(EvalError::NothingToAsk { exam: exam.name.clone(), excluded, not_run });
        }
        Ok(Selection { excluded: exam.excluded.clone(), not_run, shard: self.shard })
    }
}
