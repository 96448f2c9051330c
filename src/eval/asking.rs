//! One attempt at several questions: prompts in, records out.

use std::time::Instant;

use super::EvalError;
use crate::{
    exam::Question,
    models::{Completion, LogLikelihood, Model, Prompt, Request},
    protocol::{FinishReason, Protocol},
    stats::Seed,
    store::{Answer, AttemptRecord, OptionScore, Timing, judge, sha256_hex},
};

/// Token ids kept from each end of a prompt.
const KEPT_IDS: usize = 8;

/// A question and the number of the attempt to make at it, from 1.
pub(super) type Turn<'a> = (&'a Question, u32);

/// Makes one attempt at each question; the result has one record per turn, in order.
pub(super) fn attempt(
    model: &mut dyn Model,
    protocol: &Protocol,
    seed: Seed,
    turns: &[Turn<'_>],
) -> Result<Vec<(AttemptRecord, Timing)>, EvalError> {
    let started = Instant::now();
    let prompts: Vec<Prompt> = turns
        .iter()
        .map(|&(question, attempt)| Prompt {
            id: question.id.clone(),
            attempt,
            text: protocol.render(question),
        })
        .collect();
    let answers: Vec<Reply> = match protocol.sampling(seed.0) {
        Some(sampling) => {
            let completions = model.generate(&prompts, &sampling)?;
            counted(model, prompts.len(), completions.len())?;
            completions.into_iter().map(Reply::from).collect()
        }
        None => scored(model, protocol, turns, &prompts)?,
    };
    let wall_s = started.elapsed().as_secs_f64() / turns.len() as f64;
    let records = turns.iter().zip(prompts).zip(answers).map(|((turn, prompt), reply)| {
        let &(question, attempt) = turn;
        let timing = Timing { question_id: prompt.id.clone(), attempt, wall_s };
        (record(protocol, question, seed, prompt, reply), timing)
    });
    Ok(records.collect())
}

/// What a model said, in either way of asking.
struct Reply {
    text: String,
    finish_reason: FinishReason,
    scores: Vec<OptionScore>,
    prompt_ids: Vec<u32>,
    completion_tokens: usize,
    error: Option<String>,
}

impl From<Completion> for Reply {
    fn from(completion: Completion) -> Self {
        let Completion { text, finish_reason, prompt_ids, completion_tokens, error } = completion;
        Self { text, finish_reason, scores: Vec::new(), prompt_ids, completion_tokens, error }
    }
}

fn scored(
    model: &mut dyn Model,
    protocol: &Protocol,
    turns: &[Turn<'_>],
    prompts: &[Prompt],
) -> Result<Vec<Reply>, EvalError> {
    let requests: Vec<Request> = turns
        .iter()
        .zip(prompts)
        .flat_map(|((question, _), prompt)| {
            protocol.continuations(question).into_iter().map(|continuation| Request {
                id: prompt.id.clone(),
                context: prompt.text.clone(),
                continuation,
                bos: protocol.bos,
            })
        })
        .collect();
    let results = model.log_likelihood(&requests)?;
    counted(model, requests.len(), results.len())?;
    let (mut requests, mut results) = (requests.into_iter(), results.into_iter());
    let replies = turns.iter().map(|(question, _)| {
        let options = question.options.len();
        let (requests, results) = (requests.by_ref().take(options), results.by_ref().take(options));
        of_scores(question, requests.zip(results))
    });
    Ok(replies.collect())
}

/// A score that is no finite number cannot be compared: the attempt is an error, without scores.
fn of_scores(
    question: &Question,
    results: impl Iterator<Item = (Request, LogLikelihood)>,
) -> Reply {
    let mut reply = Reply {
        text: String::new(),
        finish_reason: FinishReason::Scored,
        scores: Vec::new(),
        prompt_ids: Vec::new(),
        completion_tokens: 0,
        error: None,
    };
    for (choice, (request, result)) in question.options.iter().zip(results) {
        let LogLikelihood { log_prob, tokens, is_greedy, prompt_ids, error } = result;
        let error = error.or_else(|| {
            (!log_prob.is_finite()).then(|| format!("its log-probability is {log_prob}"))
        });
        if let (Some(error), None) = (error, &reply.error) {
            reply.error = Some(format!("option {}: {error}", choice.letter));
        }
        let bytes = request.continuation.len();
        let letter = choice.letter;
        reply.scores.push(OptionScore { letter, log_prob, tokens, bytes, is_greedy });
        reply.prompt_ids = prompt_ids;
    }
    if reply.error.is_some() {
        reply.scores.clear();
    }
    reply
}

fn counted(model: &dyn Model, asked: usize, got: usize) -> Result<(), EvalError> {
    if asked == got {
        return Ok(());
    }
    Err(EvalError::WrongCount { model: model.identity().name.clone(), asked, got })
}

fn record(
    protocol: &Protocol,
    question: &Question,
    seed: Seed,
    prompt: Prompt,
    reply: Reply,
) -> AttemptRecord {
    let Reply { text, finish_reason, scores, prompt_ids, completion_tokens, error } = reply;
    let answer =
        Answer { text: &text, finish_reason, scores: &scores, has_failed: error.is_some() };
    let judgement = judge(protocol, question, prompt.attempt, answer);
    let last = prompt_ids.len().saturating_sub(KEPT_IDS);
    AttemptRecord {
        seed: seed.derive(&prompt.id.0, prompt.attempt).0,
        question_id: prompt.id,
        attempt: prompt.attempt,
        prompt_sha256: sha256_hex(prompt.text.as_bytes()),
        prompt_tokens: prompt_ids.len(),
        prompt_first_ids: prompt_ids.iter().take(KEPT_IDS).copied().collect(),
        prompt_last_ids: prompt_ids[last..].to_vec(),
        finish_reason,
        completion_tokens,
        reading: judgement.reading,
        letter: judgement.letter,
        is_final: judgement.is_final,
        outcome: judgement.outcome,
        text,
        scores,
        error,
    }
}
