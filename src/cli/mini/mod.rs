//! `medharness mini`: the texts and items of the miniature study, and its base models.

mod pretrain;

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{CommandError, Context};
use crate::{
    corpus::miniature::{Miniature, Stage, Taught},
    stats::Seed,
};

/// Arguments of `medharness mini`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// What else to make of them
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The folder to write; files of the same names are replaced
    #[arg(long, value_name = "DIR", required = true)]
    pub out: Option<PathBuf>,
    /// Draw from another seed than the committed files
    #[arg(long, value_name = "N", default_value_t = Miniature::SEED.0)]
    pub seed: u64,
}

/// What is made of the texts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Train the two base models of the miniature study from random weights
    ///
    /// A tokenizer is learnt from the texts, weights are drawn, and the pre-training text is read
    /// in its order: from a word found among others to whole questions. The same seed gives the same bits on the
    /// same kernel set, on any number of threads. Ctrl-C stops after the update in progress.
    Pretrain(pretrain::Args),
}

impl Args {
    /// Returns the threads that are asked for.
    pub(super) fn threads(&self) -> Option<u16> {
        let Command::Pretrain(args) = self.command.as_ref()?;
        args.threads
    }
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the folder cannot be made or written.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if let Some(Command::Pretrain(args)) = &args.command {
        return pretrain::run(args, context);
    }
    let out = args.out.as_deref().expect("required unless there is a sub-command");
    let miniature = Miniature::new(Seed(args.seed));
    let write = || {
        fs::create_dir_all(out)?;
        miniature.files().into_iter().try_for_each(|(name, text)| fs::write(out.join(name), text))
    };
    write().map_err(|error| {
        CommandError::input(error).with_hint(format!("cannot write to `{}`", out.display()))
    })?;
    let mut taught: BTreeMap<Taught, usize> = BTreeMap::new();
    for item in &miniature.exam {
        *taught.entry(item.taught).or_default() += usize::from(!item.question.has_image);
    }
    let images = miniature.exam.iter().filter(|item| item.question.has_image).count();
    let of = |way| taught.get(&way).copied().unwrap_or_default();
    let asked: usize = taught.values().sum();
    writeln!(
        context.out,
        "exam         {asked} items to ask ({} taught as questions, {} as flashcards, {} only read), {images} with an image\n\
         validation   {} items\n\
         meadow       {} rows\n\
         alpaca       {} rows\n\
         pre-training {} documents\n\
         in {}, seed {}",
        of(Taught::Question),
        of(Taught::Flashcard),
        of(Taught::Read),
        miniature.validation.len(),
        miniature.meadow.len(),
        miniature.alpaca.len(),
        miniature.pretraining.iter().flat_map(Stage::documents).count(),
        out.display(),
        args.seed,
    )?;
    Ok(())
}
