//! `medharness corpus build`: training rows from raw sources, by a recipe.

use std::path::PathBuf;

use super::{CommandError, Context};
use crate::{
    cli::{Format, note::note, page::Page},
    corpus::build::{self, BuildError, Built, BuiltSource, Endpoint, FILES, Meadow, RephraseError},
    stats::Seed,
};

/// Arguments of `corpus build`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe; the paper's own mix without it
    #[arg(value_name = "MEADOW.TOML")]
    recipe: Option<PathBuf>,
    /// Folder of the raw files that the recipe names
    #[arg(long, value_name = "DIR", required_unless_present = "print_recipe")]
    raw: Option<PathBuf>,
    /// Folder to write meadow.jsonl and build.json to
    #[arg(long, value_name = "DIR", required_unless_present = "print_recipe")]
    out: Option<PathBuf>,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Take what is there for enough: exit code 0 though sources are missing or short
    #[arg(long)]
    partial: bool,
    /// Print the recipe of the paper's mix, to be changed
    #[arg(long, conflicts_with_all = ["recipe", "raw", "out"])]
    print_recipe: bool,
    /// Rephrase the sources marked so with a model behind this OpenAI-compatible endpoint, e.g.
    /// http://localhost:8000/v1; their texts are sent there
    #[arg(long, value_name = "URL", requires = "rephrase_model")]
    rephrase_url: Option<String>,
    /// The model to ask
    #[arg(long, value_name = "NAME", requires = "rephrase_url")]
    rephrase_model: Option<String>,
    /// Environment variable that holds the endpoint's key
    #[arg(long, value_name = "NAME", default_value = "OPENAI_API_KEY")]
    rephrase_key_env: String,
    /// Folder of replies, to ask nothing twice; `rephrased` in OUT without it
    #[arg(long, value_name = "DIR", requires = "rephrase_url")]
    rephrase_cache: Option<PathBuf>,
    /// Form of the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Builds and prints what became of each source.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let (Some(raw), Some(out)) = (&args.raw, &args.out) else {
        return Ok(context.out.write_all(Meadow::paper_text().as_bytes())?);
    };
    let meadow = match &args.recipe {
        None => Meadow::paper(),
        Some(path) => Meadow::read(path).map_err(|error| {
            CommandError::input(error)
                .with_hint("`medharness corpus build --print-recipe` shows the form")
        })?,
    };
    let endpoint = args.rephrase_url.as_ref().zip(args.rephrase_model.as_ref());
    let endpoint = endpoint.map(|(url, model)| {
        let key = std::env::var(&args.rephrase_key_env).ok().filter(|key| !key.is_empty());
        let cache = args.rephrase_cache.clone().unwrap_or_else(|| out.join("rephrased"));
        Endpoint::new(url, model, key, &cache)
    });
    let mut begin = |name: &str| {
        if context.progress {
            note(format_args!("reading {name}"));
        }
    };
    let built = build::build(&meadow, raw, out, Seed(args.seed), endpoint.as_ref(), &mut begin);
    let built = built.map_err(failed)?;
    if let Some(endpoint) = &endpoint {
        let (asked, cached) = endpoint.requests();
        note(format_args!("rephrased: {asked} replies asked for, {cached} at hand"));
    }
    note(format_args!("wrote {} rows to `{}`", built.rows, out.join(FILES[0]).display()));
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&built).map_err(CommandError::internal)? + "\n"
        }
        Format::Text => page(&built, false),
        Format::Markdown => page(&built, true),
    };
    context.out.write_all(text.as_bytes())?;
    let incomplete = built.sources.iter().filter(|source| !source.is_complete()).count();
    if incomplete > 0 && !args.partial {
        let text = format!("{incomplete} of {} sources are missing or short", built.sources.len());
        return Err(CommandError::check(text)
            .with_hint("get what is listed, or take what is there for enough with --partial"));
    }
    Ok(())
}

fn failed(error: BuildError) -> CommandError {
    match &error {
        BuildError::Rephrase { source: RephraseError::Refused { .. }, .. } => {
            CommandError::internal(error).with_hint(
                "check the address, the model's name and the key in the variable that \
                 --rephrase-key-env names; replies so far are kept",
            )
        }
        BuildError::Rephrase { source: RephraseError::Cache { .. }, .. } => {
            CommandError::internal(error)
                .with_hint("make the folder of replies writable, or name another: --rephrase-cache")
        }
        BuildError::Rephrase { .. } => CommandError::internal(error)
            .with_hint("replies so far are kept, and this one is not: the same command asks again"),
        _ => CommandError::input(error),
    }
}

fn page(built: &Built, markdown: bool) -> String {
    let mut page = Page::new(markdown);
    page.heading(1, &format!("{}: {} rows", built.name, built.rows));
    page.facts([
        ("seed", built.seed.to_string()),
        ("sha256", built.sha256.clone()),
        ("recipe", format!("sha256 {}", built.recipe_sha256)),
        (
            "rephrased",
            built.rephrased.as_ref().map_or_else(
                || "no".into(),
                |by| format!("{} replies of {} at {}", by.replies, by.model, by.url),
            ),
        ),
    ]);
    page.heading(2, "Sources");
    page.table(
        &["source", "files", "records", "rows", "printed", "to take", "taken", "state"],
        built.sources.iter().map(line),
    );
    let rejects: Vec<String> = built.sources.iter().flat_map(rejects).collect();
    if !rejects.is_empty() {
        page.heading(2, "Records that gave no row");
        page.list(rejects);
    }
    let missing: Vec<&BuiltSource> =
        built.sources.iter().filter(|source| !source.missing.is_empty()).collect();
    if !missing.is_empty() {
        page.heading(2, "Missing, and where to get it");
        page.list(missing.iter().map(|source| {
            let files: Vec<String> =
                source.missing.iter().map(|path| path.display().to_string()).collect();
            format!("{}: {} from {}", source.name, files.join(", "), source.get)
        }));
    }
    let empty: Vec<&BuiltSource> =
        built.sources.iter().filter(|source| !source.empty.is_empty()).collect();
    if !empty.is_empty() {
        page.heading(2, "Files without a record for their reader");
        page.list(empty.iter().flat_map(|source| {
            source.empty.iter().map(|path| format!("{}: {}", source.name, path.display()))
        }));
    }
    page.finish()
}

fn line(source: &BuiltSource) -> Vec<String> {
    let or_dash = |number: Option<usize>| number.map_or_else(|| "-".into(), |n| n.to_string());
    let state = match (source.missing.is_empty(), source.is_complete()) {
        (false, _) => "missing",
        (true, false) => "short",
        (true, true) => "complete",
    };
    vec![
        source.name.clone(),
        source.files.len().to_string(),
        source.counts.records.to_string(),
        source.counts.rows.to_string(),
        or_dash(source.printed),
        source.take.map_or_else(|| "all".into(), |take| take.to_string()),
        source.taken.to_string(),
        state.into(),
    ]
}

fn rejects(source: &BuiltSource) -> Vec<String> {
    let counted = source.counts.rejected.iter();
    let mut lines: Vec<String> = counted
        .map(|(reason, count)| format!("{}: {count} {}", source.name, reason.words()))
        .collect();
    if source.not_rephrased > 0 {
        lines.push(format!("{}: {} not rephrased", source.name, source.not_rephrased));
    }
    lines
}
