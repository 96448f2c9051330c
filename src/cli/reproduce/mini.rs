//! `medharness reproduce`: the miniature, trained, asked and reported.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Args, CommandError, Context, failed, note, stop_on_interrupt};
use crate::study::mini::{
    Doing, Options, Record, Study, Watch, lay_out, run as run_study, text, write_report,
};

/// Runs the study.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
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
    let options = Options { runs: &runs, seeds: &seeds, only: &args.only };
    let mut bars = Bars::new(context.progress)?;
    let record = run_study(&study, &options, &mut bars);
    bars.finish();
    record.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was made is kept")
            .with_hint("the same command continues the study")
    })
}

/// A bar a row, with what is being done for it; those of finished rows stay.
pub(in crate::cli) struct Bars {
    shown: bool,
    row: String,
    bar: ProgressBar,
    stopped: Arc<AtomicBool>,
}

impl Bars {
    pub(in crate::cli) fn new(shown: bool) -> Result<Self, CommandError> {
        let (row, bar) = (String::new(), ProgressBar::hidden());
        Ok(Self { shown, row, bar, stopped: stop_on_interrupt()? })
    }

    pub(in crate::cli) fn finish(&self) {
        if !self.bar.is_finished() {
            self.bar.finish();
        }
    }
}

impl Watch for Bars {
    fn begin(&mut self, row: &str, doing: Doing<'_>, done: u64, total: u64) {
        if row != self.row {
            self.finish();
            row.clone_into(&mut self.row);
            if self.shown {
                let style = ProgressStyle::with_template(
                    "{prefix:<28} {wide_bar} {pos}/{len} ETA {eta}  {msg}",
                );
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bar = ProgressBar::no_length().with_style(style).with_prefix(row.to_owned());
            }
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        self.bar.reset_eta();
        self.bar.set_message(doing.to_string());
    }

    fn at(&mut self, done: u64) {
        self.bar.set_position(done);
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| note(text));
    }

    fn stop(&mut self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
