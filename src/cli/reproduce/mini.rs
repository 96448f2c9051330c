//! `medharness reproduce`: the miniature, trained, asked and reported.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Args, CommandError, Context, failed, note, stop_on_interrupt};
use crate::{
    cli::workers,
    study::mini::{
        Doing, Options, Record, Study, Watch, Workers, lay_out, make_row, run as run_study, text,
        write_report,
    },
};

/// Runs the study.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    if args.worker {
        return work(args);
    }
    let record = match &args.from {
        Some(path) => Record::open(path).map_err(failed)?,
        None => make(args, context)?,
    };
    let out = args.out.clone().unwrap_or_else(|| runs(args).join("report"));
    let page = write_report(&record, &out).map_err(failed)?;
    Ok(context.out.write_all(text(&record, &page).as_bytes())?)
}

/// The folder of trainings and runs.
fn runs(args: &Args) -> PathBuf {
    args.runs.clone().unwrap_or_else(|| PathBuf::from("runs/mini"))
}

fn make(args: &Args, context: &Context<'_>) -> Result<Record, CommandError> {
    let runs = runs(args);
    let definition = match &args.definition {
        Some(path) => path.clone(),
        None => lay_out(&runs.join("materials"), &mut |text| note(text)).map_err(failed)?,
    };
    let study = Study::open(&definition).map_err(failed)?;
    let seeds: Vec<u64> = (args.seed..args.seed.saturating_add(u64::from(args.seeds))).collect();
    let workers = workers(args, &runs, &definition)?;
    let options = Options { runs: &runs, seeds: &seeds, only: &args.only, workers: Some(&workers) };
    let mut bars = Bars::new(context.progress)?;
    let record = run_study(&study, &options, &mut bars);
    bars.finish();
    record.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was made is kept")
            .with_hint("the same command continues the study")
    })
}

/// This program as a worker for one row.
fn workers(args: &Args, runs: &Path, definition: &Path) -> Result<Workers, CommandError> {
    let command = ["reproduce", "--study", "mini"].map(OsString::from);
    let own = args.definition.is_some();
    workers::of(command.into(), args.jobs, own, runs, definition)
}

/// Makes one row for a study that is being made.
fn work(args: &Args) -> Result<(), CommandError> {
    let (Some(definition), [row]) = (&args.definition, &args.only[..]) else {
        return Err(CommandError::input("--worker needs --definition and one row"));
    };
    let study = Study::open(definition).map_err(failed)?;
    workers::work(&mut |watch| make_row(&study, row, args.seed, &runs(args), watch))
}

/// A bar a row, with what is being done for it; those of finished rows stay.
pub(in crate::cli) struct Bars {
    all: MultiProgress,
    rows: HashMap<String, ProgressBar>,
    stopped: Arc<AtomicBool>,
}

impl Bars {
    pub(in crate::cli) fn new(shown: bool) -> Result<Self, CommandError> {
        let all = MultiProgress::new();
        if !shown {
            all.set_draw_target(ProgressDrawTarget::hidden());
        }
        Ok(Self { all, rows: HashMap::new(), stopped: stop_on_interrupt()? })
    }

    pub(in crate::cli) fn finish(&self) {
        self.rows.values().for_each(ProgressBar::abandon);
    }

    fn row(&mut self, row: &str) -> &ProgressBar {
        let all = &self.all;
        self.rows.entry(row.to_owned()).or_insert_with(|| {
            let style = ProgressStyle::with_template(
                "{prefix:<28} {wide_bar} {pos}/{len} ETA {eta}  {msg}",
            );
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            all.add(ProgressBar::no_length().with_style(style).with_prefix(row.to_owned()))
        })
    }
}

impl Watch for Bars {
    fn begin(&mut self, row: &str, doing: Doing<'_>, done: u64, total: u64) {
        let bar = self.row(row);
        bar.set_length(total);
        bar.set_position(done);
        bar.reset_eta();
        bar.set_message(doing.to_string());
    }

    fn at(&mut self, row: &str, done: u64) {
        self.row(row).set_position(done);
    }

    fn note(&mut self, text: &str) {
        self.all.suspend(|| note(text));
    }

    fn stop(&mut self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
