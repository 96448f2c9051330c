//! The seam between texts and networks: tokens in, tokens and probabilities out.

use crate::{
    llama::{
        Decoder,
        decoder::{Continue, IsComplete, Reply, Score, Scored},
    },
    protocol::Sampling,
};

/// Why a network failed, whichever it is.
pub(super) type DecodeError = Box<dyn std::error::Error + Send + Sync>;

/// A network that continues and scores tokens; see [`Decoder`] for what each call promises.
pub(super) trait Decode {
    /// Continues each prompt, calling `done` with its index when it is finished.
    fn generate(
        &mut self,
        requests: &[Continue],
        sampling: &Sampling,
        stop: &[u32],
        is_complete: &IsComplete<'_>,
        done: &mut dyn FnMut(usize, Reply),
    ) -> Result<(), DecodeError>;

    /// Scores each continuation behind its context, calling `done` with its index.
    fn score(
        &mut self,
        requests: &[Score],
        done: &mut dyn FnMut(usize, Scored),
    ) -> Result<(), DecodeError>;
}

impl Decode for Decoder {
    fn generate(
        &mut self,
        requests: &[Continue],
        sampling: &Sampling,
        stop: &[u32],
        is_complete: &IsComplete<'_>,
        done: &mut dyn FnMut(usize, Reply),
    ) -> Result<(), DecodeError> {
        Ok(Self::generate(self, requests, sampling, stop, is_complete, done)?)
    }

    fn score(
        &mut self,
        requests: &[Score],
        done: &mut dyn FnMut(usize, Scored),
    ) -> Result<(), DecodeError> {
        Ok(Self::score(self, requests, done)?)
    }
}
