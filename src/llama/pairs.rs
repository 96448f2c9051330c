//! Context and continuation as tokens, divided as lm-eval does.
//!
//! White space at the end of a context moves to the continuation, both are encoded as one text,
//! and what lies behind the context's own tokens is the continuation. An empty context is the
//! token that begins a text.
//! Source: lm-eval 0.4.13, `TemplateLM.loglikelihood` and `_encode_pair`.

use thiserror::Error;

use super::{
    decoder::Score,
    tokenizer::{Tokenizer, TokenizerError},
};
use crate::protocol::Bos;

/// Why a pair cannot be scored.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PairError {
    /// The tokenizer failed.
    #[error("tokenizer")]
    Tokenizer(#[from] TokenizerError),
    /// Nothing is left to score.
    #[error("the continuation has no token of its own")]
    NoContinuation,
    /// Nothing stands before the continuation.
    #[error("the context has no token, and no token begins a text")]
    NoContext,
}

/// Encodes a pair; `bos` stands before the context.
///
/// # Errors
///
/// [`PairError`] if either side has no token.
pub fn encode_pair(
    tokenizer: &Tokenizer,
    context: &str,
    continuation: &str,
    bos: Bos,
) -> Result<Score, PairError> {
    let (context, continuation) = if context.is_empty() {
        let first = match bos {
            Bos::Id(id) => Some(id),
            Bos::None | Bos::Model => tokenizer.bos_id().or(tokenizer.eos_id()),
        };
        let mut ids = tokenizer.encode(continuation, Bos::None)?;
        match first {
            // A continuation that begins with that token brings its own context.
            Some(first) if ids.first() != Some(&first) => (vec![first], ids),
            _ if ids.is_empty() => return Err(PairError::NoContinuation),
            Some(_) => {
                let rest = ids.split_off(1);
                (ids, rest)
            }
            None => return Err(PairError::NoContext),
        }
    } else {
        let kept = context.trim_end_matches(is_python_space);
        let whole = tokenizer.encode(&format!("{context}{continuation}"), bos)?;
        let context = tokenizer.encode(kept, bos)?;
        let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
        (context, continuation)
    };
    if continuation.is_empty() {
        return Err(PairError::NoContinuation);
    }
    if context.is_empty() {
        return Err(PairError::NoContext);
    }
    Ok(Score { context, continuation })
}

/// White space as Python's `str.rstrip` has it: Unicode's, and four separators of ASCII.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
