//! `medharness score`: log-probabilities of continuations, as lm-eval defines them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CommandError, Context,
    lines::{Lines, name_of, read_lines},
    network::ModelArgs,
    tokenize::bos,
};
use crate::{exam::QuestionId, models::Request, protocol::Bos};

/// Arguments of `medharness score`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The requests, JSONL; other fields are ignored
    #[arg(long, value_name = "FILE")]
    pub requests: PathBuf,
    /// Where the scores go; overwritten
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// What stands in front: nothing, what the model's own configuration says, or this token id
    #[arg(long, value_name = "none|model|ID", default_value = "model", value_parser = bos)]
    pub bos: Bos,
}

#[derive(Deserialize)]
struct RequestLine {
    id: Value,
    context: String,
    continuation: String,
}

#[derive(Serialize)]
struct ScoreLine<'a> {
    id: &'a Value,
    /// `null` where the network gave no number.
    log_prob: Option<f64>,
    tokens: usize,
    is_greedy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 for bad input, 3 if the network or the output fails.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let lines: Vec<RequestLine> = read_lines(&args.requests, |line: &RequestLine| &line.id)?;
    let mut model = args.model.open(context.progress)?;
    let requests = lines
        .iter()
        .map(|line| {
            model.encode_request(&Request {
                id: QuestionId(name_of(&line.id)),
                context: line.context.clone(),
                continuation: line.continuation.clone(),
                bos: args.bos,
            })
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(CommandError::input)?;
    let mut out = Lines::create(&args.out, lines.len(), context.progress)?;
    let scored = model.score(&requests, &mut |index, result| {
        let line = ScoreLine {
            id: &lines[index].id,
            log_prob: Some(result.log_prob).filter(|value| value.is_finite()),
            tokens: result.tokens,
            is_greedy: result.is_greedy,
            error: result.error,
        };
        out.put(index, &line);
    });
    scored.map_err(CommandError::internal)?;
    let count = out.finish()?;
    writeln!(context.out, "{count} scores in {}", args.out.display())?;
    Ok(())
}
