//! `medharness tokenize`: the pieces and ids a text becomes.

use std::{io::Read, path::PathBuf};

use serde::Serialize;

use super::{CommandError, Context, fetch::fetched, note::note};
use crate::{
    llama::tokenizer::{Tokenizer, TokenizerError},
    models::hub::{HubSpec, Parts},
    protocol::Bos,
    store::FileIdentity,
};

/// Show the token pieces and ids of a text
///
/// The text is taken as it is: special tokens written in it are plain text unless --special is
/// given. Nothing is appended or cut off.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tokenizer.json, a tokenizer.model (SentencePiece), a model's folder, or hf:org/name
    #[arg(long, value_name = "PATH")]
    pub tokenizer: String,
    /// What stands in front: nothing, what the model's own configuration says, or this token id
    #[arg(long, value_name = "none|model|ID", default_value = "model", value_parser = bos)]
    pub bos: Bos,
    /// The text; `-` reads it from stdin, its last line break included
    #[arg(long, allow_hyphen_values = true)]
    pub text: String,
    /// Find special tokens such as `</s>` in the text, as transformers does
    #[arg(long)]
    pub special: bool,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    pub format: Form,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One line a token: its id and its piece
    Text,
    /// `{"ids": […], "pieces": […], "vocab_size": N, "tokenizer": {"name", "sha256", "bytes"}}`
    Json,
}

#[derive(Serialize)]
struct Tokenized<'a> {
    ids: &'a [u32],
    pieces: Vec<String>,
    vocab_size: usize,
    tokenizer: &'a FileIdentity,
}

/// Reads `none`, `model` or a token id.
pub(super) fn bos(text: &str) -> Result<Bos, String> {
    match text {
        "none" => Ok(Bos::None),
        "model" => Ok(Bos::Model),
        id => id.parse().map(Bos::Id).map_err(|_| "expected none, model or a token id".into()),
    }
}

/// Writes the tokens of the text.
///
/// # Errors
///
/// If the tokenizer or the text cannot be used.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let path = if HubSpec::is_meant(&args.tokenizer) {
        fetched(&args.tokenizer, Parts::Tokenizer, context.progress)?.dir
    } else {
        PathBuf::from(&args.tokenizer)
    };
    let opened =
        if path.is_dir() { Tokenizer::from_dir(&path) } else { Tokenizer::from_file(&path) };
    let tokenizer = opened.map_err(explained)?;
    for text in tokenizer.notes() {
        note(format_args!("note: {text}"));
    }
    let mut text = args.text.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().lock().read_to_string(&mut text).map_err(|error| {
            CommandError::input(error).with_hint("--text - reads UTF-8 from stdin")
        })?;
    }
    let ids = if args.special {
        tokenizer.encode_special(&text, args.bos)
    } else {
        tokenizer.encode(&text, args.bos)
    }
    .map_err(explained)?;
    let pieces = ids.iter().map(|&id| tokenizer.piece(id).unwrap_or_default()).collect();
    match args.format {
        Form::Text => {
            for (id, piece) in ids.iter().zip::<Vec<String>>(pieces) {
                writeln!(context.out, "{id:>8}  {}", piece.escape_debug())?;
            }
        }
        Form::Json => {
            let tokenized = Tokenized {
                ids: &ids,
                pieces,
                vocab_size: tokenizer.vocab_size(),
                tokenizer: tokenizer.file(),
            };
            let text = serde_json::to_string(&tokenized).map_err(CommandError::internal)?;
            writeln!(context.out, "{text}")?;
        }
    }
    Ok(())
}

/// Says what the reader can do about a tokenizer that cannot be used.
fn explained(error: TokenizerError) -> CommandError {
    let hint = match &error {
        TokenizerError::Missing { .. } | TokenizerError::Read { .. } => {
            Some("give a tokenizer.json, a tokenizer.model, or the folder of one")
        }
        TokenizerError::Unsupported { .. } => {
            Some("a tokenizer.json of the same model may be usable")
        }
        TokenizerError::UnknownId { .. } => {
            Some("give --bos none, model, or an id below that size")
        }
        _ => None,
    };
    let error = CommandError::input(error);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
