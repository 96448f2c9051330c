//! `medharness diverge`: where two runs part.

use std::path::PathBuf;

use super::{CommandError, Context, Format, page::Page};
use crate::{
    eval::{Divergence, Parting, diverge},
    store::Run,
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first run directory
    #[arg(value_name = "RUN_A")]
    pub a: PathBuf,
    /// The second
    #[arg(value_name = "RUN_B")]
    pub b: PathBuf,
    /// Form of the result; JSON is `null` if they do not part
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if a run cannot be read or they have no question in common.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let a = Run::open(&args.a).map_err(CommandError::input)?;
    let b = Run::open(&args.b).map_err(CommandError::input)?;
    let common = a.common_with(&b);
    if common == 0 {
        return Err(CommandError::input("the runs have answered no question in common"));
    }
    let found = diverge(&a, &b);
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&found).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(found.as_ref(), common, false),
        Format::Markdown => page(found.as_ref(), common, true),
    };
    Ok(context.out.write_all(text.as_bytes())?)
}

fn page(found: Option<&Divergence>, common: usize, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    let Some(found) = found else {
        page.line(format_args!("The runs do not part: {common} questions are the same."));
        return page.finish();
    };
    let Divergence { question_id, attempt, same_before, differing, .. } = found;
    page.heading(1, &format!("The runs part at question {question_id}, attempt {attempt}"));
    page.facts([
        ("before", format!("{same_before} questions are the same")),
        ("differing", format!("{differing} of {common} questions")),
    ]);
    match &found.at {
        Parting::Prompt { a, b } => {
            page.line("They were asked differently.");
            page.facts([("A", a.clone()), ("B", b.clone())]);
        }
        Parting::Text { character, word, before, a, b } => {
            page.line(format_args!("at character {character}, in word {word}"));
            page.facts([
                ("both", format!("{before:?}")),
                ("A", format!("{a:?}")),
                ("B", format!("{b:?}")),
            ]);
        }
        Parting::Scores { largest_difference, margin_a, margin_b } => page.facts([
            ("scores", format!("differ by up to {largest_difference:e}")),
            ("A", format!("the best option leads by {margin_a:e}")),
            ("B", format!("the best option leads by {margin_b:e}")),
        ]),
        Parting::Record { a, b } => page.facts([("A", a.clone()), ("B", b.clone())]),
        Parting::Attempts { a, b } => {
            page.line(format_args!("{a} attempts in A, {b} in B"));
        }
    }
    page.finish()
}
