//! `medharness generate`: continue prompts with a checkpoint.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    CommandError, Context,
    lines::{Lines, name_of, read_lines},
    network::{ModelArgs, sampled_seed},
    tokenize::bos,
};
use crate::{
    exam::QuestionId,
    llama::decoder::Continue,
    models::{ModelError, Prompt},
    protocol::{Bos, FinishReason, Sampling},
};

/// Arguments of `medharness generate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The prompts, JSONL; other fields are ignored
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Where the replies go; overwritten
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Always take the most likely token, of equals the lowest id
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed"])]
    pub greedy: bool,
    /// Softmax temperature, above 0
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// Draw among the K most likely tokens and their equals; 0 keeps all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Draw among the most likely tokens that have this mass together; 1 keeps all
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = mass)]
    pub top_p: f64,
    /// Fixes every draw, together with the line's id
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Most new tokens a reply
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_new_tokens: usize,
    /// End a reply at this text; may be given more than once
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// What stands in front: nothing, what the model's own configuration says, or this token id
    #[arg(long, value_name = "none|model|ID", default_value = "model", value_parser = bos)]
    pub bos: Bos,
}

fn temperature(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && *value > 0.0);
    value.ok_or_else(|| "expected a number above 0".into())
}

fn mass(text: &str) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value| (0.0..=1.0).contains(value));
    value.ok_or_else(|| "expected a number from 0 to 1".into())
}

#[derive(Deserialize)]
struct PromptLine {
    id: Value,
    prompt: String,
}

#[derive(Serialize)]
struct ReplyLine<'a> {
    id: &'a Value,
    text: String,
    ids: Vec<u32>,
    finish_reason: FinishReason,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 for bad input, 3 if the network or the output fails.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let lines: Vec<PromptLine> = read_lines(&args.prompts, |line: &PromptLine| &line.id)?;
    let mut model = args.model.open(context.progress)?;
    let sampling = Sampling {
        greedy: args.greedy,
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        max_new_tokens: args.max_new_tokens,
        stop: args.stop.clone(),
        seed: args.seed,
        bos: args.bos,
    };
    let requests = lines
        .iter()
        .map(|line| {
            let id = QuestionId(name_of(&line.id));
            let seed = sampled_seed(args.seed, &id);
            let prompt = Prompt { id, attempt: 1, text: line.prompt.clone() };
            Ok(Continue { prompt: model.encode(&prompt, args.bos)?, seed })
        })
        .collect::<Result<Vec<_>, ModelError>>()
        .map_err(CommandError::input)?;
    let mut out = Lines::create(&args.out, lines.len(), context.progress)?;
    let replied = model.reply(&requests, &sampling, &mut |index, ids, completion| {
        let line = ReplyLine {
            id: &lines[index].id,
            text: completion.text,
            ids,
            finish_reason: completion.finish_reason,
            error: completion.error,
        };
        out.put(index, &line);
    });
    replied.map_err(CommandError::internal)?;
    let count = out.finish()?;
    writeln!(context.out, "{count} replies in {}", args.out.display())?;
    Ok(())
}
