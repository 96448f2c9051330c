//! `medharness sweep`: which settings of a recipe move a row of the miniature.

use std::path::PathBuf;

use super::{
    CommandError, Context,
    note::note,
    reproduce::{Bars, failed},
    workers,
};
use crate::study::{
    mini::{Study, lay_out},
    sweep::{Grid, MINI_LORA, Sweep, SweepResult, sweep_text, write_sweep},
};

/// Arguments of the command.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The grid: a TOML file. Default: `benchmarks/sweeps/mini-lora.toml`, which is part of the
    /// program
    #[arg(long, value_name = "FILE")]
    pub grid: Option<PathBuf>,
    /// Another miniature: a study.toml with its files beside it
    #[arg(long, value_name = "FILE")]
    pub definition: Option<PathBuf>,
    /// Where trainings and run directories go
    #[arg(long, value_name = "DIR", default_value = "runs/sweep")]
    pub runs: PathBuf,
    /// Where the report goes: index.html, report.md, points.csv, sweep.json
    #[arg(long, value_name = "DIR", default_value = "reports/sweep")]
    pub out: PathBuf,
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
/// Exit code 1 if exam questions stand in the training rows, 2 for bad input, a split that is not
/// apart from the exam included, 3 if a model fails, 130 if it was interrupted.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let grid = match &args.grid {
        Some(path) => Grid::open(path),
        None => Grid::parse(MINI_LORA, "mini-lora".as_ref()),
    };
    let definition = match &args.definition {
        Some(path) => path.clone(),
        None => lay_out(&args.runs.join("materials"), &mut |text| note(text)).map_err(failed)?,
    };
    let study = Study::open(&definition).map_err(failed)?;
    let sweep = Sweep::new(grid.map_err(failed)?, study).map_err(failed)?;
    if args.dry_run {
        for point in &sweep.points {
            writeln!(context.out, "{}", point.id)?;
        }
        let (points, seeds) = (sweep.points.len(), sweep.grid.seeds.len());
        writeln!(context.out, "{points} points, {seeds} seeds each")?;
        return Ok(());
    }
    if let (true, Some(point), Some(seed)) = (args.worker, &args.only, args.seed) {
        return workers::work(&mut |watch| sweep.make_point(point, seed, &args.runs, watch));
    }
    let mut command = vec!["sweep".into()];
    if let Some(grid) = &args.grid {
        command.extend(["--grid".into(), grid.into()]);
    }
    let own = args.definition.is_some();
    let workers = workers::of(command, args.jobs, own, &args.runs, &definition)?;
    let mut bars = Bars::new(context.progress)?;
    let record = sweep.run(&args.runs, Some(&workers), &mut bars);
    bars.finish();
    let record = record.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was made is kept")
            .with_hint("the same command continues the sweep")
    })?;
    let result = SweepResult::of(&sweep, &record)
        .ok_or_else(|| CommandError::internal("a point has no answers"))?;
    let page = write_sweep(&sweep, &result, &record, &args.out).map_err(failed)?;
    Ok(context.out.write_all(sweep_text(&sweep, &result, &page).as_bytes())?)
}
