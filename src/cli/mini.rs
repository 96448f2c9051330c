//! `medharness mini`: the texts and items of the miniature study.

use std::{collections::BTreeMap, fs, path::PathBuf};

use super::{CommandError, Context};
use crate::{
    corpus::miniature::{Miniature, Taught},
    stats::Seed,
};

/// Arguments of `medharness mini`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder to write; files of the same names are replaced
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Draw from another seed than the committed files
    #[arg(long, value_name = "N", default_value_t = Miniature::SEED.0)]
    pub seed: u64,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 if the folder cannot be made or written.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let miniature = Miniature::new(Seed(args.seed));
    let write = || {
        fs::create_dir_all(&args.out)?;
        miniature
            .files()
            .into_iter()
            .try_for_each(|(name, text)| fs::write(args.out.join(name), text))
    };
    write().map_err(|error| {
        CommandError::input(error).with_hint(format!("cannot write to `{}`", args.out.display()))
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
        miniature.pretraining.len(),
        args.out.display(),
        args.seed,
    )?;
    Ok(())
}
