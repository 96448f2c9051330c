//! `medharness sweep`: which settings of a recipe move a row of the miniature.

use std::path::{Path, PathBuf};

use super::{
    CommandError, Context,
    note::note,
    reproduce::{Bars, failed},
    workers,
};
use crate::study::{
    mini::{Record, Study, lay_out},
    sweep::{GRIDS, Grid, Sweep, SweepResult, sweep_text, write_sweep},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The grid: a TOML file, or one that is part of the program: mini-lora (how LoRA's settings move
    /// its row) or mini-full (how few updates full fine-tuning needs)
    #[arg(long, value_name = "FILE", default_value = GRIDS[0].0)]
    pub grid: PathBuf,
    /// Another miniature: a study.toml with its files beside it
    #[arg(long, value_name = "FILE")]
    pub definition: Option<PathBuf>,
    /// Where trainings and run directories go. Default: `runs/sweep/` and the grid's name
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
    /// Where the report goes: index.html, report.md, points.csv, sweep.json. Default: `report` below
    /// the runs
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Train and ask nothing: write the report of this record, e.g. `golden/baselines/mini-lora.json`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["jobs", "dry_run"])]
    pub from: Option<PathBuf>,
    /// Make so many points at the same time, each in a process of its own; changes nothing but time
    /// and memory. Default: as many as there are processors; with --definition, 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Train nothing: print the points
    #[arg(long)]
    pub dry_run: bool,
    /// Be one of those processes: make the point of --only with --seed and say on standard output
    /// what is done, until standard input ends
    #[arg(long, hide = true, requires_all = ["only", "seed", "definition"])]
    pub worker: bool,
    /// That point
    #[arg(long, hide = true, requires = "worker")]
    pub only: Option<String>,
    /// Its seed
    #[arg(long, hide = true, requires = "worker")]
    pub seed: Option<u64>,
}

/// Runs the command.
///
/// # Errors
///
/// Exit code 1 if exam questions stand in the training rows or a training does not hold (a loss that is
/// not finite, an adapter without effect), 2 for bad input, a split that is not apart from the exam
/// included, 3 if a model fails or a file cannot be written, 130 if it was interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let grid = Grid::find(&args.grid).map_err(failed)?;
    let runs = args.runs.clone().unwrap_or_else(|| Path::new("runs/sweep").join(&grid.name));
    let definition = match &args.definition {
        Some(path) => path.clone(),
        None => lay_out(&runs.join("materials"), &mut |text| note(text)).map_err(failed)?,
    };
    let study = Study::open(&definition).map_err(failed)?;
    let sweep = Sweep::new(grid, study).map_err(failed)?;
    if args.dry_run {
        for point in &sweep.points {
            writeln!(context.out, "{}", point.id)?;
        }
        let (points, seeds) = (sweep.points.len(), sweep.grid.seeds.len());
        writeln!(context.out, "{points} points, {seeds} seeds each")?;
        return Ok(());
    }
    if let (true, Some(point), Some(seed)) = (args.worker, &args.only, args.seed) {
        return workers::work(&mut |watch| sweep.make_point(point, seed, &runs, watch));
    }
    let record = match &args.from {
        Some(path) => sweep.record(path).map_err(failed)?,
        None => make(args, &sweep, &runs, &definition, context)?,
    };
    let result = SweepResult::of(&sweep, &record)
        .ok_or_else(|| CommandError::internal("a point has no answers"))?;
    let out = args.out.clone().unwrap_or_else(|| runs.join("report"));
    let page = write_sweep(&sweep, &result, &record, &out).map_err(failed)?;
    Ok(context.out.write_all(sweep_text(&sweep, &result, &page).as_bytes())?)
}

fn make(
    args: &Args,
    sweep: &Sweep,
    runs: &Path,
    definition: &Path,
    context: &Context<'_>,
) -> Result<Record, CommandError> {
    let command = vec!["sweep".into(), "--grid".into(), args.grid.clone().into()];
    let is_own = args.definition.is_some();
    let workers = workers::of(command, args.jobs, is_own, runs, definition)?;
    let mut bars = Bars::new(context.progress)?;
    let record = sweep.run(runs, Some(&workers), &mut bars);
    bars.finish();
    record.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was made is kept")
            .with_hint("the same command continues the sweep")
    })
}
