//! `medharness train`: fine-tune a checkpoint as a recipe says.

mod dry_run;
mod watch;

use std::path::{Path, PathBuf};

use super::{CommandError, Context, fetch::fetched, note::note};
use crate::{
    models::hub::{HubSpec, Parts},
    store::StoreError,
    train::{
        Counts, Ending, LINEAGE, METRICS, Outcome, Prepared, Recipe, Request, Session, TrainError,
        available_memory, peak_memory,
    },
};
pub(super) use watch::Bar;

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The recipe: a TOML file, or the name of one of the program's own
    #[arg(long, value_name = "RECIPE")]
    pub recipe: String,
    /// The base model: a folder in Hugging Face's layout, or `hf:org/name[@revision]`
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Training rows: JSON, JSON lines or Parquet of {instruction, input, output}
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The folder to write: new, or that of the same training to be continued
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Refuse to train on questions of this exam; may be given several times
    #[arg(long, value_name = "PATH")]
    pub exam: Vec<PathBuf>,
    /// Train although questions of the exam stand in the rows; it is recorded
    #[arg(long)]
    pub allow_overlap: bool,
    /// Make only this many updates; the learning rate falls to its end within them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    /// Threads to compute on; changes nothing but speed. Default: all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Begin although the memory estimate exceeds what is free
    #[arg(long)]
    pub ignore_memory: bool,
    /// Train nothing: print counts, steps, memory and three examples with what is learnt of them
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 if exam questions stand in the rows or an update is bad, 2 for bad input or a folder
/// that cannot be used, 3 if something fails inside, 130 if interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let mut recipe = Recipe::open(&args.recipe).map_err(CommandError::input)?;
    if args.max_steps.is_some() {
        recipe.schedule.max_steps = args.max_steps;
    }
    let prepared = prepare(args, &recipe, context.progress)?;
    if args.dry_run {
        return dry_run::print(&recipe, &prepared, context);
    }
    let out = args.out.as_deref().expect("required unless it is a dry run");
    let need = prepared.estimate.total();
    if let Some(free) = available_memory()
        && need > free
        && !args.ignore_memory
    {
        let gib = |bytes: u64| bytes as f64 / (1_u64 << 30) as f64;
        let text = format!("needs {:.1} GiB of memory, {:.1} GiB are free", gib(need), gib(free));
        let hint = if out.join(LINEAGE).exists() {
            "set weights.recompute in the recipe, which changes no bit, or free memory; with another \
             weights.base or batch.micro it is another training, for another --out"
        } else {
            "set weights.recompute, a narrower weights.base or a smaller batch.micro in the recipe"
        };
        return Err(CommandError::input(text).with_hint(hint));
    }
    say_what_is_not_trained_on(&recipe, &prepared);
    let network = prepared.network().map_err(CommandError::input)?;
    let session = Session::open(out, &prepared.lineage, &recipe, &prepared.dataset, &network);
    let session = session.map_err(|error| failed(error, out))?;
    if session.progress().step > 0 {
        note(format_args!("continuing after update {}", session.progress().step));
    }
    let mut bar = Bar::new(context.progress)?;
    let outcome = session.run(&mut bar);
    bar.finish();
    let outcome = outcome.map_err(|error| failed(error, out))?;
    if outcome.ending == Ending::Interrupted {
        let step = outcome.progress.step;
        let hint = match step {
            0 => "no update was finished; the same command begins again",
            _ => "the same command continues from its checkpoint",
        };
        let text = format!("interrupted after update {step}");
        return Err(CommandError::interrupted(text).with_hint(hint));
    }
    let written = prepared.write_beside(out, &outcome, peak_memory());
    written.map_err(|error| failed(error, out))?;
    let Outcome { progress, .. } = &outcome;
    let best = progress.best.map(|best| format!(", best validation loss {:.4}", best.loss));
    writeln!(
        context.out,
        "{} updates in {:.1} s{}; result in {}",
        progress.made,
        progress.wall_s,
        best.unwrap_or_default(),
        out.display()
    )?;
    Ok(())
}

/// Reads everything the training needs; a model on the hub is fetched.
fn prepare(args: &Args, recipe: &Recipe, progress: bool) -> Result<Prepared, CommandError> {
    let (folder, name) = match HubSpec::is_meant(&args.model) {
        true => {
            let found = fetched(&args.model, Parts::All, progress)?;
            (found.dir, found.repository)
        }
        false => (PathBuf::from(&args.model), args.model.clone()),
    };
    let request = Request {
        recipe,
        base: &folder,
        base_name: &name,
        data: &args.data,
        exams: &args.exam,
        allow_overlap: args.allow_overlap,
    };
    let prepared = Prepared::read(&request).map_err(|error| match error {
        TrainError::Overlap(error) => CommandError::check(error)
            .with_hint("take them out (`medharness corpus overlap`), or --allow-overlap"),
        error @ TrainError::Context { .. } => {
            CommandError::input(error).with_hint("lower it in the recipe")
        }
        error @ TrainError::Int8Base { .. } => CommandError::input(error).with_hint(
            "train an adapter on it ([lora] in the recipe), or take the model's folder in floats",
        ),
        error @ TrainError::Vocabulary { .. } => CommandError::input(error).with_hint(
            "tokenizer and weights are of two models: take the tokenizer's files of the model whose \
             weights these are",
        ),
        error => CommandError::input(error),
    })?;
    for remark in &prepared.notes {
        note(format_args!("note: {remark}"));
    }
    Ok(prepared)
}

/// What a person should know before hours of training.
fn say_what_is_not_trained_on(recipe: &Recipe, prepared: &Prepared) {
    let counts = Counts::of(&prepared.dataset.train);
    if let Some(cut) = counts.cut() {
        let limit = recipe.text.max_length;
        note(format_args!(
            "note: of {} rows, with a limit of {limit} tokens, were cut {cut}",
            counts.rows
        ));
    }
    if prepared.lineage.overlap.is_empty() {
        note("note: no --exam is named, so that no exam's questions are looked for in the rows");
    }
}

/// Who can repair it, and how.
fn failed(error: TrainError, out: &Path) -> CommandError {
    let hint = match &error {
        TrainError::BadStep { .. } => {
            "set run.on_bad_step = \"skip\" in the recipe, and the same command leaves such updates out and \
             goes on from the newest checkpoint; or look at the rows and begin anew in another --out with a \
             lower optimizer.rate or a longer text.max_length"
        }
        TrainError::AllLeftOut { .. } => {
            "look at the rows named in metrics.jsonl, and begin anew in another --out with a lower \
             optimizer.rate or a longer text.max_length"
        }
        TrainError::NotFinite { .. } | TrainError::Validation { .. } => {
            "begin anew in another --out with a lower optimizer.rate or with optimizer.max_norm = \
             1.0; a checkpoint written before is intact, but the same recipe breaks again"
        }
        TrainError::EmptyAdapter { .. } => {
            "begin anew in another --out with more updates than schedule.warmup's first, whose rate is \
             0, with another optimizer.rate, or with run.keep_best = false"
        }
        TrainError::OtherTraining { .. } => {
            "choose another --out, or repeat the command that began the training"
        }
        TrainError::Finished { .. } => {
            "choose another --out to train again; or remove this file, and the same command trains \
             anew here"
        }
        TrainError::Damaged { path, .. } if path.starts_with(out) => damaged_hint(path),
        TrainError::Store(StoreError::NotEmpty { .. } | StoreError::Locked { .. }) => {
            "choose another --out"
        }
        // Nothing was begun.
        TrainError::Store(_) if !out.join(LINEAGE).exists() => return CommandError::input(error),
        TrainError::Store(_) | TrainError::Adapter(_) => {
            "the same command goes on from the newest checkpoint, which is intact, or, where there is none, \
             begins again"
        }
        _ => return by_whom(&error)(error),
    };
    by_whom(&error)(error).with_hint(hint)
}

/// Returns who can repair it: the caller, except where a check of the training did not hold, or the
/// disk or the program failed.
pub(super) fn by_whom<E>(error: &TrainError) -> fn(E) -> CommandError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match error {
        TrainError::BadStep { .. }
        | TrainError::AllLeftOut { .. }
        | TrainError::NotFinite { .. }
        | TrainError::Validation { .. }
        | TrainError::EmptyAdapter { .. }
        | TrainError::Overlap(_) => CommandError::check,
        TrainError::Store(StoreError::NotEmpty { .. } | StoreError::Locked { .. }) => {
            CommandError::input
        }
        TrainError::Store(_)
        | TrainError::Adapter(_)
        | TrainError::Network(_)
        | TrainError::Tensor(_)
        | TrainError::NoGradient { .. } => CommandError::internal,
        _ => CommandError::input,
    }
}

/// What to do about a file of a training that is not what was written.
fn damaged_hint(path: &Path) -> &'static str {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    if folder.to_string_lossy().starts_with("checkpoint-") {
        return "remove this checkpoint's folder and those of all later updates; the same command \
                continues from the one before, or, where none is left and the result is removed as \
                well, from the beginning, and makes them again";
    }
    match path.file_name().unwrap_or_default().to_str() {
        Some(METRICS) => {
            "remove every checkpoint folder, and the result, to begin anew here, or choose another \
             --out"
        }
        Some(LINEAGE) => "choose another --out",
        _ => "the same command writes it again from the newest checkpoint",
    }
}
