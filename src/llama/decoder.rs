//! Generation and scoring over one network: shared prompts, sequences that come and go.
//!
//! A prompt is fed once; its attempts, and the options of a question, continue the same cache.
//! A finished sequence makes room for the next at once (continuous batching). Since a row's bits
//! do not depend on the rows beside it, no limit here changes a result.
//!
//! With int8 weights a row depends on the call it is part of (its outlier columns). Then calls are
//! those that transformers makes with one sequence a batch, whatever the limits: a reply is one call on
//! the whole prompt and one a new token; a score is one call on context and continuation together,
//! so that contexts are shared by continuations of one token alone.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Config, Llama, NetworkError, Piece, Sequence,
    sampling::{greedy, pick},
};
use crate::{
    kernels::float::Kernels,
    protocol::{FinishReason, Sampling},
    stats::{Generator, Seed},
};

/// Bounds on what is in flight at once; none changes a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences that are continued together.
    pub sequences: usize,
    /// Tokens fed in one pass.
    pub pass_tokens: usize,
    /// Bytes of keys and values that the sequences in flight may grow to, one sequence apart.
    pub cache_bytes: usize,
    /// Bytes of keys and values of prompts kept for a later call, the last prompt apart.
    pub prompt_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { sequences: 32, pass_tokens: 512, cache_bytes: 1 << 30, prompt_bytes: 1 << 28 }
    }
}

/// A prompt to continue.
#[derive(Debug, Clone, PartialEq)]
pub struct Continue {
    /// Its tokens, at least one.
    pub prompt: Vec<u32>,
    /// Fixes every draw.
    pub seed: Seed,
}

/// A reply in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// New tokens; the end token, if one was met, is the last.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Set where the network gave no distribution for the next token.
    pub failed: bool,
}

/// Decides after each new token whether the text is complete (a stop string was met).
pub type IsComplete<'a> = dyn Fn(&[u32]) -> bool + 'a;

/// Tokens to score behind others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Score {
    /// Tokens before, at least one.
    pub context: Vec<u32>,
    /// Tokens whose probability is asked, at least one.
    pub continuation: Vec<u32>,
}

/// The probability of a continuation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Sum of natural-log probabilities; NaN where the network gave no distribution.
    pub log_prob: f64,
    /// Whether each token was the most likely one, of equals the lowest id.
    pub is_greedy: bool,
}

/// A prompt that has been fed.
#[derive(Debug)]
struct Fed {
    tokens: Vec<u32>,
    sequence: Arc<Sequence>,
    /// Logits behind its last token.
    logits: Vec<f32>,
}

/// Runs a network on prompts.
#[derive(Debug)]
pub struct Decoder {
    network: Llama,
    limits: Limits,
    /// Whether a prompt must be fed in one piece.
    whole: bool,
    /// Prompts fed, the most recently used last.
    fed: VecDeque<Arc<Fed>>,
}

/// A sequence being continued.
struct Active {
    index: usize,
    sequence: Sequence,
    ids: Vec<u32>,
    random: Generator,
}

impl Decoder {
    /// Returns a decoder of this network.
    pub fn new(network: Llama, limits: Limits) -> Self {
        Self { whole: network.depends_on_pieces(), network, limits, fed: VecDeque::new() }
    }

    /// Returns the network's sizes and switches.
    pub fn config(&self) -> &Config {
        self.network.config()
    }

    /// Continues each prompt, calling `done` with its index as soon as it is finished.
    ///
    /// Ends at a token of `stop`, when `is_complete` says so, after `max_new_tokens`, or where the
    /// context is full.
    ///
    /// # Errors
    ///
    /// [`NetworkError`] if a prompt exceeds the context or the network fails.
    ///
    /// # Panics
    ///
    /// If a prompt is empty.
    pub fn generate(
        &mut self,
        requests: &[Continue],
        sampling: &Sampling,
        stop: &[u32],
        is_complete: &IsComplete<'_>,
        done: &mut dyn FnMut(usize, Reply),
    ) -> Result<(), NetworkError> {
        let mut waiting = requests.iter().enumerate().peekable();
        let mut active: Vec<Active> = Vec::new();
        loop {
            while active.len() < self.limits.sequences
                && let Some((_, request)) = waiting.peek()
                && (active.is_empty() || self.has_room(&active, request, sampling))
                && let Some((index, request)) = waiting.next()
            {
                let fed = self.feed(&request.prompt)?;
                let mut next = Active {
                    index,
                    sequence: Sequence::after(&fed.sequence),
                    ids: Vec::new(),
                    random: Generator::new(request.seed),
                };
                match self.step(&mut next, &fed.logits, sampling, stop, is_complete) {
                    None => active.push(next),
                    Some(reply) => done(index, reply),
                }
            }
            if active.is_empty() {
                return Ok(());
            }
            let last: Vec<[u32; 1]> = active.iter().map(|a| [a.ids[a.ids.len() - 1]]).collect();
            let mut pieces: Vec<Piece<'_>> = active
                .iter_mut()
                .zip(&last)
                .map(|(active, tokens)| Piece { sequence: &mut active.sequence, tokens })
                .collect();
            let states = self.network.extend(&mut pieces)?;
            let logits = self.network.logits(&states)?.flatten_all()?.to_vec1::<f32>()?;
            let vocab = self.config().vocab_size;
            let mut rows = logits.chunks(vocab);
            let mut running = Vec::with_capacity(active.len());
            for mut sequence in active {
                let logits = rows.next().expect("one row of logits a sequence");
                match self.step(&mut sequence, logits, sampling, stop, is_complete) {
                    None => running.push(sequence),
                    Some(reply) => done(sequence.index, reply),
                }
            }
            active = running;
        }
    }

    /// Adds the next token; returns the reply if it ends there.
    fn step(
        &self,
        active: &mut Active,
        logits: &[f32],
        sampling: &Sampling,
        stop: &[u32],
        is_complete: &IsComplete<'_>,
    ) -> Option<Reply> {
        let is_full = active.sequence.len() >= self.config().context;
        let Active { ids, random, .. } = active;
        advance(ids, logits, random, sampling, stop, is_complete, is_full)
    }

    /// Whether one more sequence fits beside those in flight, each at its full length.
    fn has_room(&self, active: &[Active], request: &Continue, sampling: &Sampling) -> bool {
        let each = request.prompt.len() + sampling.max_new_tokens;
        let positions = (active.len() + 1) * each.min(self.config().context);
        positions * Sequence::position_bytes(self.config()) <= self.limits.cache_bytes
    }

    /// Scores each continuation behind its context, calling `done` with its index, in order.
    ///
    /// # Errors
    ///
    /// As [`Decoder::generate`]; all tokens but the last of the continuation must fit the context.
    ///
    /// # Panics
    ///
    /// If a context or a continuation is empty.
    pub fn score(
        &mut self,
        requests: &[Score],
        done: &mut dyn FnMut(usize, Scored),
    ) -> Result<(), NetworkError> {
        let mut from = 0;
        while from < requests.len() {
            let count = self.pass_size(&requests[from..]);
            for (index, scored) in (from..).zip(self.score_pass(&requests[from..from + count])?) {
                done(index, scored);
            }
            from += count;
        }
        Ok(())
    }

    /// Returns how many requests are scored in one pass, at least one.
    fn pass_size(&self, requests: &[Score]) -> usize {
        let position = Sequence::position_bytes(self.config());
        let (mut tokens, mut bytes) = (0, 0);
        let mut before: Option<&Score> = None;
        for (count, request) in requests.iter().enumerate() {
            tokens += request.continuation.len();
            bytes += request.continuation.len() * position;
            if self.whole {
                tokens += request.context.len();
            }
            if self.whole || before.is_none_or(|before| before.context != request.context) {
                bytes += request.context.len() * position;
            }
            let full = tokens > self.limits.pass_tokens || bytes > self.limits.cache_bytes;
            if count > 0 && full {
                return count;
            }
            before = Some(request);
        }
        requests.len()
    }

    fn score_pass(&mut self, requests: &[Score]) -> Result<Vec<Scored>, NetworkError> {
        if self.whole {
            return self.score_whole(requests);
        }
        let fed: Vec<Arc<Fed>> =
            requests.iter().map(|request| self.feed(&request.context)).collect::<Result<_, _>>()?;
        let mut scored: Vec<Scored> = requests
            .iter()
            .zip(&fed)
            .map(|(request, fed)| first_score(&fed.logits, request.continuation[0]))
            .collect();
        let mut sequences: Vec<Sequence> =
            fed.iter().map(|fed| Sequence::after(&fed.sequence)).collect();
        let mut pieces: Vec<Piece<'_>> = sequences
            .iter_mut()
            .zip(requests)
            .filter(|(_, request)| request.continuation.len() > 1)
            .map(|(sequence, request)| {
                let tokens = &request.continuation[..request.continuation.len() - 1];
                Piece { sequence, tokens }
            })
            .collect();
        if pieces.is_empty() {
            return Ok(scored);
        }
        let states = self.network.extend(&mut pieces)?;
        let logits = self.network.logits(&states)?.flatten_all()?.to_vec1::<f32>()?;
        let mut rows = logits.chunks(self.config().vocab_size);
        for (request, scored) in requests.iter().zip(&mut scored) {
            for token in &request.continuation[1..] {
                let row = rows.next().expect("one row of logits a token");
                let next = first_score(row, *token);
                scored.log_prob += next.log_prob;
                scored.is_greedy &= next.is_greedy;
            }
        }
        Ok(scored)
    }

    /// As [`Self::score_pass`], each request in one piece; a context before one token is shared.
    fn score_whole(&mut self, requests: &[Score]) -> Result<Vec<Scored>, NetworkError> {
        let one_token = |request: &Score| request.continuation.len() == 1;
        let longer = requests.iter().filter(|request| !one_token(request));
        let tokens: Vec<Vec<u32>> = longer
            .map(|Score { context, continuation }| {
                [context, &continuation[..continuation.len() - 1]].concat()
            })
            .collect();
        let mut sequences: Vec<Sequence> =
            tokens.iter().map(|_| Sequence::new(self.config())).collect();
        let mut pieces: Vec<Piece<'_>> = sequences
            .iter_mut()
            .zip(&tokens)
            .map(|(sequence, tokens)| Piece { sequence, tokens })
            .collect();
        let states = match pieces.is_empty() {
            true => None,
            false => Some(self.network.extend(&mut pieces)?),
        };
        drop(sequences);
        let (mut scored, mut row) = (Vec::with_capacity(requests.len()), 0);
        for request in requests {
            let Score { context, continuation } = request;
            let (Some(states), false) = (&states, one_token(request)) else {
                scored.push(first_score(&self.feed(context)?.logits, continuation[0]));
                continue;
            };
            let states = states.narrow(0, row + context.len() - 1, continuation.len())?;
            row += context.len() + continuation.len() - 1;
            let logits = self.network.logits(&states.contiguous()?)?;
            let logits = logits.flatten_all()?.to_vec1::<f32>()?;
            let mut total = Scored { log_prob: 0.0, is_greedy: true };
            for (row, token) in logits.chunks(self.config().vocab_size).zip(continuation) {
                let next = first_score(row, *token);
                total.log_prob += next.log_prob;
                total.is_greedy &= next.is_greedy;
            }
            scored.push(total);
        }
        Ok(scored)
    }

    /// Returns the prompt's cache and last logits, feeding it unless it was fed before.
    fn feed(&mut self, prompt: &[u32]) -> Result<Arc<Fed>, NetworkError> {
        assert!(!prompt.is_empty(), "a prompt has at least one token");
        if let Some(at) = self.fed.iter().rposition(|fed| fed.tokens == prompt) {
            let fed = self.fed.remove(at).expect("found above");
            self.fed.push_back(Arc::clone(&fed));
            return Ok(fed);
        }
        let limit = self.config().context;
        if prompt.len() > limit {
            return Err(NetworkError::ContextExceeded { got: prompt.len(), limit });
        }
        let mut sequence = Sequence::new(self.config());
        let mut state = None;
        let piece = if self.whole { prompt.len() } else { self.limits.pass_tokens.max(1) };
        for tokens in prompt.chunks(piece) {
            let mut piece = [Piece { sequence: &mut sequence, tokens }];
            let states = self.network.extend(&mut piece)?;
            state = Some(states.narrow(0, tokens.len() - 1, 1)?.contiguous()?);
        }
        let state = state.expect("the prompt has a token");
        let logits = self.network.logits(&state)?.flatten_all()?.to_vec1::<f32>()?;
        let fed = Arc::new(Fed { tokens: prompt.to_vec(), sequence: Arc::new(sequence), logits });
        self.fed.push_back(Arc::clone(&fed));
        self.forget();
        Ok(fed)
    }

    /// Drops the prompts used longest ago until the rest fits its limit.
    fn forget(&mut self) {
        let bytes = |fed: &VecDeque<Arc<Fed>>| -> usize {
            fed.iter().map(|fed| fed.sequence.own_bytes()).sum()
        };
        while self.fed.len() > 1 && bytes(&self.fed) > self.limits.prompt_bytes {
            self.fed.pop_front();
        }
    }
}

/// Adds the next token to `ids`; returns the reply if it ends there.
///
/// `is_full` says that no further token could be fed.
pub(crate) fn advance(
    ids: &mut Vec<u32>,
    logits: &[f32],
    random: &mut Generator,
    sampling: &Sampling,
    stop: &[u32],
    is_complete: &IsComplete<'_>,
    is_full: bool,
) -> Option<Reply> {
    let end = |ids: &mut Vec<u32>, finish_reason, failed| {
        Some(Reply { ids: std::mem::take(ids), finish_reason, failed })
    };
    if sampling.max_new_tokens == 0 {
        return end(ids, FinishReason::Length, false);
    }
    let Some(id) = pick(logits, sampling, random) else {
        return end(ids, FinishReason::Unknown, true);
    };
    ids.push(id);
    if stop.contains(&id) {
        end(ids, FinishReason::EndOfText, false)
    } else if is_complete(ids) {
        end(ids, FinishReason::StopString, false)
    } else if ids.len() >= sampling.max_new_tokens || is_full {
        end(ids, FinishReason::Length, false)
    } else {
        None
    }
}

/// Scores one token by the logits before it.
fn first_score(logits: &[f32], token: u32) -> Scored {
    let log_prob = usize::try_from(token)
        .ok()
        .and_then(|token| logits.get(token))
        .map_or(f64::NAN, |logit| f64::from(*logit) - Kernels::get().log_sum_exp(logits));
    Scored { log_prob, is_greedy: greedy(logits) == Some(token) }
}
