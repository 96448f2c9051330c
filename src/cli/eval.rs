//! `medharness eval`: ask a model an exam under a protocol.

use std::{
    collections::BTreeSet,
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    CommandError, Context, Format,
    network::{Dtype, pinned},
    note::note,
    page::{percent, range},
    summary,
};
use crate::{
    eval::{Choice, Ended, EvalError, Evaluation, Progress},
    exam::{Exam, QuestionId},
    models::{self, OpenOptions, hub::Parts},
    protocol::Protocol,
    stats::Seed,
    store::{FileIdentity, Proportion, Run, Shard, StoreError},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model: `replay:FILE` (recorded answers), `stub:NAME` (canned replies: gold, longest,
    /// always-X, letter-X, noisy, empty, loop, error), or a checkpoint: its folder, or
    /// `hf:org/name[@revision]`
    #[arg(long, value_name = "SPEC")]
    pub model: String,
    /// A LoRA adapter to put on the checkpoint: its folder, or `hf:org/name[@revision]`
    #[arg(long, value_name = "ADAPTER")]
    pub adapter: Option<String>,
    /// The exam: a file or folder in any layout that `exam check` reads
    #[arg(long, value_name = "PATH")]
    pub exam: PathBuf,
    /// The protocol: an id, or a protocol's TOML file
    #[arg(long, value_name = "ID")]
    pub protocol: String,
    /// The run directory, new or to be continued
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// Fixes every random draw, together with question and attempt
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Ask only the first N questions
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Ask only these questions
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    pub questions: Vec<String>,
    /// Ask only part i of n: of the questions to ask, counted from 0, those at i-1, i-1+n, …
    #[arg(long, value_name = "i/n")]
    pub shard: Option<Shard>,
    /// Questions in flight at once; changes nothing but speed. Default: as the model prefers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub batch: Option<u16>,
    /// Number format to hold a checkpoint's weights in. Default: as stored
    #[arg(long, value_enum)]
    pub dtype: Option<Dtype>,
    /// Form of the result; JSON is `summary.json`
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 2 for bad input or a run directory that cannot be used, 3 if the model fails, 130 if
/// it was interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let exam = Exam::load(&args.exam).map_err(CommandError::input)?;
    if !exam.findings.is_empty() {
        let (path, findings) = (args.exam.display(), exam.findings.len());
        note(format_args!("{findings} finding(s) in the exam; see `medharness exam check {path}`"));
    }
    let protocol = Protocol::find(&args.protocol).map_err(CommandError::input)?;
    let model = pinned(&args.model, Parts::All, context.progress)?;
    let adapter = args.adapter.as_deref();
    let adapter = adapter.map(|name| pinned(name, Parts::Adapter, context.progress)).transpose()?;
    let options = OpenOptions {
        exam: Some(&exam),
        format: args.dtype.map(Into::into),
        adapter: adapter.as_deref(),
    };
    let opened = models::open(&model, &options).map_err(CommandError::input)?;
    for remark in &opened.notes {
        note(format_args!("note: {remark}"));
    }
    let mut model = opened.model;
    let evaluation = Evaluation {
        exam_files: exam.files.iter().map(file).collect(),
        seed: Seed(args.seed),
        choice: choice(args),
        batch: args.batch.map(usize::from),
        // Absolute, so that `verify` finds the files from anywhere.
        model_path: opened.path.and_then(|path| std::path::absolute(path).ok()),
        adapter_path: opened.adapter_path.and_then(|path| std::path::absolute(path).ok()),
        command_line: std::env::args().collect(),
        ..Evaluation::new(&exam, &protocol)
    };
    let stopped = stop_on_interrupt()?;
    let bar = bar(context.progress);
    let ended = evaluation.run(&mut *model, &args.out, &mut |progress| {
        show(&bar, progress);
        if stopped.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    bar.finish_and_clear();
    match ended.map_err(failed)? {
        Ended::Complete(summary) => {
            let run = Run::open(&args.out).map_err(CommandError::input)?;
            summary::write(&run.manifest, &summary, args.format, context)
        }
        Ended::Stopped { answered, asked } => {
            let text = format!("interrupted: {answered} of {asked} questions answered");
            Err(CommandError::interrupted(text).with_hint("the same command continues the run"))
        }
    }
}

fn choice(args: &Args) -> Choice {
    let ids: BTreeSet<_> = args.questions.iter().cloned().map(QuestionId).collect();
    Choice { questions: (!ids.is_empty()).then_some(ids), limit: args.limit, shard: args.shard }
}

fn file(file: &crate::exam::ExamFile) -> FileIdentity {
    let crate::exam::ExamFile { name, sha256, bytes } = file.clone();
    FileIdentity { name, sha256, bytes }
}

/// Who can repair it, and how.
fn failed(error: EvalError) -> CommandError {
    let hint = match &error {
        EvalError::Model(_) | EvalError::WrongCount { .. } => {
            "what was answered is kept; the same command continues the run"
        }
        EvalError::Store(StoreError::OtherRun { .. }) => {
            "choose another --out, or repeat the command that began the run"
        }
        EvalError::Store(StoreError::Changed { .. }) => {
            "`medharness verify RUN` lists what differs"
        }
        _ => return by_whom(&error)(error),
    };
    by_whom(&error)(error).with_hint(hint)
}

/// Returns who can repair it: the caller, except where the model or the program failed.
pub(super) fn by_whom<E>(error: &EvalError) -> fn(E) -> CommandError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match error {
        EvalError::Model(_)
        | EvalError::WrongCount { .. }
        | EvalError::Store(StoreError::Ledger { .. }) => CommandError::internal,
        _ => CommandError::input,
    }
}

/// Returns a flag that the first Ctrl-C raises; the second ends the process.
pub(super) fn stop_on_interrupt() -> Result<Arc<AtomicBool>, CommandError> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "asked for twice; a run survives any end")]
            std::process::exit(i32::from(CommandError::INTERRUPTED));
        }
        note("stopping after the work in flight; press Ctrl-C again to stop at once");
    })
    .map_err(CommandError::internal)?;
    Ok(flag)
}

fn bar(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {per_sec} ETA {eta}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}

fn show(bar: &ProgressBar, progress: &Progress<'_>) {
    if progress.answered == progress.resumed {
        bar.set_length(progress.asked as u64);
        // The rate is of this session.
        bar.set_position(progress.resumed as u64);
        bar.reset_eta();
        for torn in progress.torn {
            note(format_args!("{torn}; cut, the question is asked again"));
        }
        if progress.resumed > 0 {
            let Progress { resumed, asked, .. } = progress;
            note(format_args!("continuing: {resumed} of {asked} questions were answered before"));
        }
    }
    bar.set_position(progress.answered as u64);
    if let Some(share) = Proportion::of(progress.correct, progress.answered) {
        let (value, interval) = (percent(Some(share.value)), range(share.wilson));
        bar.set_message(format!("{value} % right [{interval}]"));
    }
}
