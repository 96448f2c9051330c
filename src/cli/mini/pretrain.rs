//! `medharness mini pretrain`: the base models of the miniature study.

use std::{fs, path::PathBuf};

use crate::{
    cli::{CommandError, Context, note::note, train::Bar},
    corpus::miniature::Miniature,
    kernels,
    llama::{Checkpoint, Hold, tokenizer::Tokenizer},
    stats::Seed,
    store::{identify_file, write_whole},
    train::{
        BaseSize, Ending, Lineage, Recipe, Session, curriculum, peak_memory, write_base,
        write_random,
    },
};

/// Tokens of the vocabulary, as far as the texts give as many.
///
/// Nearly every word of the miniature is one token: an answer has 2.3 of them on average, with
/// 2,048 it has 5.0.
const VOCABULARY: usize = 5120;

/// Arguments of `medharness mini pretrain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write; the models are put in `small` and `large` below it, which must not be there
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Folder of what is needed on the way: random weights, checkpoints, losses. Killed and called
    /// again, a training continues from there
    #[arg(long, value_name = "DIR")]
    pub work: PathBuf,
    /// Make this model alone: small or large
    #[arg(long, value_name = "SIZE", value_parser = ["small", "large"])]
    pub size: Option<String>,
    /// Another seed of weights and order than that of the committed models
    #[arg(long, value_name = "N", default_value_t = Miniature::SEED.0)]
    pub seed: u64,
    /// Make only this many updates; the learning rate falls to its end within them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    /// The recipe: a TOML file, or the name of one of the program's own. Default:
    /// `mini-pretrain-small` or `mini-pretrain-large`
    #[arg(long, value_name = "RECIPE")]
    pub recipe: Option<String>,
    /// Threads to compute on; changes nothing but speed. Default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 for a folder that cannot be used, 3 if something fails inside, 130 if interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let recipes = BaseSize::ALL.map(|size| (size, recipe(size, args)));
    let miniature = Miniature::new(Miniature::SEED);
    for (size, recipe) in recipes {
        if args.size.as_ref().is_none_or(|wanted| wanted == size.name()) {
            pretrain(size, args, &recipe?, &miniature, context)?;
        }
    }
    Ok(())
}

fn recipe(size: BaseSize, args: &Args) -> Result<Recipe, CommandError> {
    let own = format!("mini-pretrain-{}", size.name());
    let mut recipe =
        Recipe::open(args.recipe.as_deref().unwrap_or(&own)).map_err(CommandError::input)?;
    if args.max_steps.is_some() {
        recipe.schedule.max_steps = args.max_steps;
    }
    Ok(recipe)
}

fn pretrain(
    size: BaseSize,
    args: &Args,
    recipe: &Recipe,
    miniature: &Miniature,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    let out = args.out.join(size.name());
    if out.exists() {
        return Err(CommandError::input(format!("`{}` exists", out.display()))
            .with_hint("remove it, or choose another --out"));
    }
    let work = args.work.join(size.name());
    let (begun, trained) = (work.join("random"), work.join("training"));
    let seed = Seed(args.seed);
    if !begun.join("tokenizer_config.json").exists() {
        let _ = fs::remove_dir_all(&begun);
        write_random(size, miniature.tokenizer_texts(), VOCABULARY, seed, &begun)
            .map_err(CommandError::input)?;
    }
    let tokenizer = Tokenizer::from_dir(&begun).map_err(CommandError::internal)?;
    let dataset = curriculum(&miniature.pretraining, seed, &tokenizer);
    let dataset = dataset.map_err(CommandError::internal)?;
    let text = work.join("pretraining.txt");
    write_whole(&text, miniature.text().as_bytes()).map_err(CommandError::input)?;
    let identify = |path: PathBuf| identify_file(&path).map_err(CommandError::internal);
    let base = ["config.json", "model.safetensors", "tokenizer.json"];
    let lineage = Lineage {
        format_version: 1,
        recipe: recipe.clone(),
        base: base.into_iter().map(|name| identify(begun.join(name))).collect::<Result<_, _>>()?,
        base_folder: begun.display().to_string(),
        data: identify(text)?,
        rows: dataset.train.len(),
        overlap: Vec::new(),
        kernel_set: kernels::float::Kernels::get().name.to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut checkpoint = Checkpoint::open(&begun).map_err(CommandError::internal)?;
    let network = checkpoint.load(Hold::Trainable).map_err(CommandError::internal)?;
    let session = Session::open(&trained, &lineage, recipe, &dataset, &network);
    let session = session.map_err(CommandError::input)?;
    note(format_args!("{}: {} documents to read", size.name(), dataset.train.len()));
    let mut bar = Bar::new(context.progress)?;
    let outcome = session.run(&mut bar);
    bar.finish();
    let outcome = outcome.map_err(CommandError::internal)?;
    if outcome.ending == Ending::Interrupted {
        let text = format!("interrupted after update {}", outcome.progress.step);
        return Err(CommandError::interrupted(text)
            .with_hint("the same command continues from its checkpoint"));
    }
    write_base(&begun, &trained, &out).map_err(CommandError::internal)?;
    let memory = peak_memory().map_or(String::new(), |bytes| {
        format!(", at most {:.0} MiB of memory", bytes as f64 / (1 << 20) as f64)
    });
    writeln!(
        context.out,
        "{}: {} updates in {:.1} s{memory}; result in {}",
        size.name(),
        outcome.progress.made,
        outcome.progress.wall_s,
        out.display()
    )?;
    Ok(())
}
