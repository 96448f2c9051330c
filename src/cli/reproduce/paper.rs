//! `medharness reproduce --study paper`: the printed table beside what can be measured, with its audit.

use std::{fs, ops::ControlFlow, path::Path, sync::atomic::Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Args, CommandError, Context, failed, note, stop_on_interrupt};
use crate::{
    claims::Table,
    exam::Exam,
    protocol::Protocol,
    stats::Seed,
    study::{self, Mapping, Plan, Reproduction, RowProgress, StudyError, Weights},
};

/// Protocols asked under where none is named.
const PROTOCOLS: [&str; 2] = ["paper-2023-04", "strict-v1"];

/// Runs the study.
pub(super) fn run(args: &Args, context: &mut Context<'_>) -> Result<(), CommandError> {
    let table = Table::paper();
    if let Some(path) = &args.write_models_template {
        return write_template(path, &table, context);
    }
    let named = args.protocol.iter().map(String::as_str);
    let ids: Vec<&str> =
        if args.protocol.is_empty() { PROTOCOLS.to_vec() } else { named.collect() };
    let protocols = ids
        .into_iter()
        .map(Protocol::find)
        .collect::<Result<Vec<_>, _>>()
        .map_err(CommandError::input)?;
    if let Some(twice) = repeated(&protocols) {
        return Err(CommandError::input(format!("protocol `{twice}` is given twice")));
    }
    let mapping = match &args.models {
        Some(path) => Mapping::read(path, &table).map_err(failed)?,
        None => Mapping::default(),
    };
    let runs = run_models(args, &mapping, &protocols, context)?;
    let study = Reproduction::of_paper(protocols, &runs);
    let out = args.out.as_deref().unwrap_or(Path::new("reports/paper"));
    let page = study::write(&study, out).map_err(failed)?;
    let runs_page = study::write_runs(&study, runs, out).map_err(failed)?;
    context.out.write_all(study::text(&study, &page).as_bytes())?;
    match runs_page {
        Some(page) => Ok(writeln!(context.out, "runs      {}", page.display())?),
        None => Ok(()),
    }
}

fn repeated(protocols: &[Protocol]) -> Option<&str> {
    let before = |place: usize| &protocols[..place];
    let (_, protocol) = protocols
        .iter()
        .enumerate()
        .find(|(place, protocol)| before(*place).iter().any(|other| other.id == protocol.id))?;
    Some(&protocol.id)
}

fn run_models(
    args: &Args,
    mapping: &Mapping,
    protocols: &[Protocol],
    context: &Context<'_>,
) -> Result<study::Runs, CommandError> {
    if mapping.rows.is_empty() {
        return Ok(study::Runs::new());
    }
    let Some(exam) = &args.exam else {
        return Err(failed(StudyError::NoExam { rows: mapping.rows.len() })
            .with_hint("name one with --exam PATH"));
    };
    let path = exam.display();
    let exam = Exam::load(exam).map_err(CommandError::input)?;
    if !exam.findings.is_empty() {
        let findings = exam.findings.len();
        note(format_args!("{findings} finding(s) in the exam; see `medharness exam check {path}`"));
    }
    let folder = args.runs.as_deref().unwrap_or(Path::new("runs/paper"));
    let plan = Plan { mapping, exam: &exam, protocols, folder, seed: Seed(args.seed) };
    let stopped = stop_on_interrupt()?;
    let bar = bar(context.progress);
    let runs = study::run_rows(&plan, &mut |progress| {
        show(&bar, progress);
        match stopped.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    bar.finish_and_clear();
    runs.map_err(failed)?.ok_or_else(|| {
        CommandError::interrupted("interrupted: what was answered is kept")
            .with_hint("the same command continues the study")
    })
}

fn write_template(
    path: &Path,
    table: &Table,
    context: &mut Context<'_>,
) -> Result<(), CommandError> {
    let failed = |what| {
        let path = path.to_owned();
        move |source| CommandError::input(StudyError::File { what, path, source })
    };
    let text = study::template(table, &Weights::paper());
    let mut file = fs::File::create_new(path).map_err(failed("create"))?;
    std::io::Write::write_all(&mut file, text.as_bytes()).map_err(failed("write"))?;
    Ok(writeln!(context.out, "{}: name a model for each row you have", path.display())?)
}

fn bar(shown: bool) -> ProgressBar {
    if !shown {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} ETA {eta}");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, progress: &RowProgress<'_>) {
    let RowProgress { row, protocol, run, notes } = progress;
    if run.answered == run.resumed {
        for remark in *notes {
            note(format_args!("note: {row}: {remark}"));
        }
        bar.set_prefix(format!("{row} · {protocol}"));
        bar.set_length(run.asked as u64);
        bar.reset_eta();
    }
    bar.set_position(run.answered as u64);
}
