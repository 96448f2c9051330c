//! `medharness corpus audit`: what is wrong with training rows, for machines and for people.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{CommandError, Context, unreadable};
use crate::{
    cli::note::note,
    corpus::{
        Audit, AuditSettings, Auditor, Encoding, Template,
        audit::{Judged, ROWS_A_SOURCE, Sheet, SheetError},
        each_row,
    },
    llama::tokenizer::Tokenizer,
    protocol::Bos,
    reports,
    stats::Seed,
    train::Recipe,
};

/// Arguments of `corpus audit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Training rows: JSON, JSON lines or Parquet of {instruction, input, output}; source, id and
    /// licence where known
    #[arg(value_name = "FILE", required_unless_present = "judged")]
    data: Vec<PathBuf>,
    /// Count tokens with this tokenizer.json, tokenizer.model, or model folder
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// Cut and mask as this recipe does: a TOML file, or the name of one of the program's own
    #[arg(long, value_name = "RECIPE", requires = "tokenizer",
        conflicts_with_all = ["max_length", "template"])]
    recipe: Option<String>,
    /// Longest sequence of the recipe; MedAlpaca trained with 256 by default, Alpaca with 512
    #[arg(long, value_name = "TOKENS", default_value_t = 512, requires = "tokenizer")]
    max_length: usize,
    /// Prompt format of the recipe
    #[arg(long, value_enum, default_value = "medalpaca", requires = "tokenizer")]
    template: TemplateName,
    /// Share of equal MinHash minima from which a row is a near duplicate; the report says how many
    /// such rows are found, 92 % at 0.8 and 5 % at 0.5
    #[arg(long, value_name = "SHARE", default_value_t = AuditSettings::default().near)]
    near: f64,
    /// Write a sample of each source to this CSV file, for people to judge; a file that is there is
    /// not written over
    #[arg(long, value_name = "FILE", requires = "data")]
    sheet: Option<PathBuf>,
    /// Rows of each source on the sheet; 385 give 5 points at 95 %
    #[arg(long, value_name = "ROWS", default_value_t = ROWS_A_SOURCE, requires = "sheet")]
    per_source: usize,
    /// Seed of the sample
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sheet")]
    seed: u64,
    /// Read a sheet with verdicts: `ok` or `error` in the columns verdict and second_verdict, and in
    /// settled_verdict where the two differed
    #[arg(long, value_name = "FILE")]
    judged: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: AuditFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Prompt format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum TemplateName {
    /// Every header always stands
    Medalpaca,
    /// Stanford's: no input header without an input
    Alpaca,
    /// As alpaca, but the prompt ends in a line break
    AlpacaLora,
}

/// Form of an audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum AuditFormat {
    /// A screen of text
    Text,
    /// JSON with documented, stable fields
    Json,
    /// Markdown, for a comment or a page
    Markdown,
    /// One self-contained page with plots
    Html,
}

/// The result as JSON.
#[derive(Serialize)]
struct Result_<'a> {
    audit: Option<&'a Audit>,
    judged: Option<&'a Judged>,
}

/// Audits and prints.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if !(args.near > 0.0 && args.near <= 1.0) {
        return Err(CommandError::input("--near must lie above 0 and not above 1"));
    }
    let judged = args.judged.as_ref().map(read_sheet).transpose()?;
    let audit = if args.data.is_empty() { None } else { Some(audit(args)?) };
    let (audit, judged) = (audit.as_ref(), judged.as_ref());
    let text = match args.format {
        AuditFormat::Text => reports::corpus::text(audit, judged),
        AuditFormat::Markdown => reports::corpus::markdown(audit, judged),
        AuditFormat::Json => {
            let result = Result_ { audit, judged };
            serde_json::to_string_pretty(&result).map_err(CommandError::internal)? + "\n"
        }
        AuditFormat::Html => {
            let audit = audit.ok_or_else(|| CommandError::input("a page needs training rows"))?;
            reports::corpus::html(audit, judged).map_err(CommandError::internal)?
        }
    };
    match &args.out {
        None => Ok(context.out.write_all(text.as_bytes())?),
        Some(path) => fs::write(path, text).map_err(|error| {
            CommandError::input(format!("cannot write `{}`: {error}", path.display()))
        }),
    }
}

fn audit(args: &Args) -> Result<Audit, CommandError> {
    let tokenizer = args.tokenizer.as_ref().map(|path| {
        let opened =
            if path.is_dir() { Tokenizer::from_dir(path) } else { Tokenizer::from_file(path) };
        opened.map_err(CommandError::input)
    });
    let tokenizer = tokenizer.transpose()?;
    let encoding = tokenizer.as_ref().map(|tokenizer| match &args.recipe {
        Some(recipe) => {
            let recipe = Recipe::open(recipe).map_err(CommandError::input)?;
            recipe.text.encoding(tokenizer).map_err(CommandError::input)
        }
        None => Ok(Encoding {
            template: args.template.into(),
            max_length: args.max_length,
            // MedAlpaca's handler adds no BOS and closes with EOS.
            bos: None,
            eos: Some(end_token(tokenizer)?),
            train_on_inputs: false,
            special_tokens: false,
        }),
    });
    let encoding = encoding.transpose()?;
    let tokenise = |text: &str| -> Vec<u32> {
        let special = encoding.as_ref().is_some_and(|encoding| encoding.special_tokens);
        let ids = tokenizer.as_ref().map(|tokenizer| tokenizer.encode_as(text, Bos::None, special));
        ids.and_then(Result::ok).unwrap_or_default()
    };
    let settings = AuditSettings { near: args.near, encoding };
    let mut auditor = Auditor::new(settings, Some(&tokenise));
    if let Some(path) = args.sheet.as_ref().filter(|path| path.exists()) {
        return Err(is_there(path));
    }
    let mut sheet =
        args.sheet.as_ref().map(|path| (path, Sheet::new(args.per_source, Seed(args.seed))));
    for path in &args.data {
        let name = path.display().to_string();
        let (mut readable, mut first_reason) = (0, None);
        let rows = each_row(path, |number, row| match row {
            Ok(row) => {
                readable += 1;
                auditor.add(&name, number, &row);
                if let Some((_, sheet)) = &mut sheet {
                    sheet.add(&name, number, &row);
                }
            }
            Err(reason) => {
                first_reason.get_or_insert_with(|| reason.clone());
                auditor.reject(&name, number, reason);
            }
        })
        .map_err(unreadable)?;
        if let (0, Some(reason)) = (readable, first_reason) {
            let text = format!("none of {rows} rows of `{name}` can be read, the first: {reason}");
            return Err(CommandError::input(text).with_hint(
                "a row is {\"instruction\": …, \"input\": …, \"output\": …}, output at least",
            ));
        }
    }
    if let Some((path, sheet)) = sheet {
        let rows = write_sheet(path, sheet)?;
        note(format_args!("wrote {rows} rows to `{}`", path.display()));
    }
    Ok(auditor.finish())
}

/// The id that closes a text: what the tokenizer declares, else LLaMA's own.
fn end_token(tokenizer: &Tokenizer) -> Result<u32, CommandError> {
    tokenizer.eos_id().or_else(|| tokenizer.id("</s>")).ok_or_else(|| {
        CommandError::input("the tokenizer declares no end token, so cuts cannot be counted")
            .with_hint("name its folder, with tokenizer_config.json in it, or a --recipe")
    })
}

/// Writes the sheet whole or not at all, and never over another.
fn write_sheet(path: &Path, sheet: Sheet) -> Result<usize, CommandError> {
    let cannot = |error: &dyn std::fmt::Display| {
        CommandError::input(format!("cannot write `{}`: {error}", path.display()))
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let scratch = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
    let scratch = scratch.map_err(|error| cannot(&error))?;
    let rows = sheet.write(scratch.as_file()).map_err(|error| cannot(&error))?;
    scratch.persist_noclobber(path).map_err(|error| match error.error.kind() {
        std::io::ErrorKind::AlreadyExists => is_there(path),
        _ => cannot(&error.error),
    })?;
    Ok(rows)
}

fn is_there(path: &Path) -> CommandError {
    CommandError::input(format!("`{}` exists already", path.display())).with_hint(
        "verdicts may stand in it: read them with --judged, or name another file for a new sample",
    )
}

fn read_sheet(path: &PathBuf) -> Result<Judged, CommandError> {
    let file = File::open(path).map_err(|error| {
        CommandError::input(format!("cannot read `{}`: {error}", path.display()))
    })?;
    Judged::read(file).map_err(|error| match error {
        SheetError::Stats(_) => CommandError::internal(error),
        error => CommandError::input(error),
    })
}

impl From<TemplateName> for Template {
    fn from(name: TemplateName) -> Self {
        match name {
            TemplateName::Medalpaca => Self::Medalpaca,
            TemplateName::Alpaca => Self::Alpaca,
            TemplateName::AlpacaLora => Self::AlpacaLora,
        }
    }
}
