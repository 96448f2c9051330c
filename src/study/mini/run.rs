//! The whole study: every row trained and asked, in the order of the table.
//!
//! | below the runs' folder | what |
//! |---|---|
//! | `seed-N/trained/ROW/` | the training: weights, checkpoints, metrics, lineage |
//! | `seed-N/trained/ROW.json` | what it cost, and the digest of each of its files |
//! | `seed-N/ROW/PROTOCOL/` | the run directory under a protocol |
//! | `seed-N/ROW/vignettes/` | that of the set apart, under the headline's protocol |
//! | `record.json` | what came of it all: the [`Record`], written last |
//! | `program.sha256` | digest of the executable that made them |
//!
//! Killed at any moment and called again, it goes on where it was; what is finished and unchanged is
//! used again, unless another build of the program made it.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    ExamRecord, Method, Record, RowDefinition, RowRecord, RunRecord, SeedRecord, Study,
    ask::{Asked, Asking},
    definition::{TRAINED, VIGNETTES},
    train::Training,
    watch::Watch,
    workers::{Job, Workers, make_ahead},
};
use crate::{
    claims::runs::Outcomes,
    eval::EvalError,
    models::{self, OpenOptions, Opened},
    protocol::Protocol,
    store::{
        Machine, ProtocolIdentity, RunLock, StoreError, identify_file, remove_folder, write_whole,
    },
    study::StudyError,
    train::TrainError,
};

/// Name of the file with the executable's digest.
const PROGRAM: &str = "program.sha256";

/// How long a worker waits for files that another process still holds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where and how often.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The folder of trainings and runs.
    pub runs: &'a Path,
    /// Each row is made once with each.
    pub seeds: &'a [u64],
    /// Ids or sizes of the rows to make; empty for all.
    pub only: &'a [String],
    /// Processes that make rows ahead, each with a peak of memory of its own; without them every row
    /// is made here.
    pub workers: Option<&'a Workers>,
}

/// Makes every row that is asked for; `None` if `watch` stopped it, and the same call continues.
///
/// # Errors
///
/// [`StudyError`] with the row; what was made before it is kept.
pub fn run(
    study: &Study,
    options: &Options<'_>,
    watch: &mut dyn Watch,
) -> Result<Option<Record>, StudyError> {
    let rows = chosen(study, options.only)?;
    std::fs::create_dir_all(options.runs).map_err(|source| StudyError::File {
        what: "create",
        path: options.runs.to_owned(),
        source,
    })?;
    let _lock = RunLock::take(options.runs)?;
    forget_other_builds(options.runs, watch)?;
    let mut record = Record::new(study.title.clone(), study.about.clone(), exams(study));
    record.protocols = study.protocols.iter().map(identity).collect();
    let is_chosen = |id: &String| rows.iter().any(|row| row.id == *id);
    record.left_out =
        study.rows.iter().map(|row| row.id.clone()).filter(|id| !is_chosen(id)).collect();
    let machine = Machine::this();
    record.machine = format!("{}, {} threads", machine.cpu, machine.threads);
    // Those that take longest begin, so that none is left over in the end.
    let mut longest = rows.clone();
    longest.sort_by_key(|row| std::cmp::Reverse(work(study, row)));
    let jobs: Vec<Job<'_>> = longest
        .iter()
        .flat_map(|row| options.seeds.iter().map(|&seed| Job { row: &row.id, seed }))
        .collect();
    if let Some(workers) = options.workers
        && make_ahead(workers, &jobs, watch)
    {
        return Ok(None);
    }
    for row in rows {
        let mut seeds = Vec::with_capacity(options.seeds.len());
        for seed in options.seeds {
            let made = make(study, row, *seed, options.runs, &record.exams, watch)?;
            let Some((made, kernel_set)) = made else { return Ok(None) };
            record.kernel_set = kernel_set;
            seeds.push(made);
        }
        let RowDefinition { id, label, size, family, method, mirrors, .. } = row.clone();
        record.rows.push(RowRecord { id, label, size, family, method, mirrors, seeds });
    }
    let path = options.runs.join(Record::FILE);
    record.keep_machine(&path);
    record.write(&path)?;
    Ok(Some(record))
}

/// Removes what another build of the program made: its code may compute something else under the
/// same version. Without its mark, folders of this name are somebody else's and are refused.
pub(in crate::study) fn forget_other_builds(
    runs: &Path,
    watch: &mut dyn Watch,
) -> Result<(), StudyError> {
    let path = runs.join(PROGRAM);
    let this = std::env::current_exe().map_err(|source| StudyError::File {
        what: "find",
        path: "the program".into(),
        source,
    })?;
    let this = identify_file(&this)?.sha256;
    if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == this) {
        return Ok(());
    }
    let seeds: Vec<PathBuf> = std::fs::read_dir(runs)
        .map_err(|source| StudyError::File { what: "list", path: runs.to_owned(), source })?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let seed = name.strip_prefix("seed-").map(str::parse::<u64>);
            path.is_dir() && matches!(seed, Some(Ok(_)))
        })
        .collect();
    let record = runs.join(Record::FILE);
    let foreign = seeds.first().cloned().or_else(|| record.exists().then(|| record.clone()));
    if let Some(folder) = foreign.filter(|_| !path.exists()) {
        return Err(StudyError::Foreign { folder });
    }
    // Nobody is to judge its answers as this build's.
    match std::fs::remove_file(&record) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(StudyError::File { what: "remove", path: record, source });
        }
        _ => {}
    }
    for folder in seeds {
        watch.note(&format!(
            "`{}` was made by another build of the program: made anew",
            folder.display()
        ));
        remove_folder(&folder)?;
    }
    Ok(write_whole(&path, format!("{this}\n").as_bytes())?)
}

/// What a row takes beside others, in no unit: the bytes of its base times those of its data.
fn work(study: &Study, row: &RowDefinition) -> u64 {
    let bytes = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
    let base = std::fs::read_dir(study.folder.join(&row.base)).into_iter().flatten().flatten();
    let base: u64 = base.map(|file| bytes(file.path())).sum();
    let data = row.data.as_ref().map_or(0, |data| bytes(study.folder.join(data)));
    base.saturating_mul(data.max(1))
}

fn identity(protocol: &Protocol) -> ProtocolIdentity {
    ProtocolIdentity { id: protocol.id.clone(), sha256: protocol.sha256().to_owned() }
}

/// The rows of these ids and sizes; an unknown one is refused.
fn chosen<'a>(study: &'a Study, only: &[String]) -> Result<Vec<&'a RowDefinition>, StudyError> {
    let is = |row: &RowDefinition, name: &String| row.id == *name || row.size == *name;
    if let Some(name) = only.iter().find(|name| !study.rows.iter().any(|row| is(row, name))) {
        return Err(study.no_such_row(name));
    }
    let wanted = |row: &&RowDefinition| only.is_empty() || only.iter().any(|name| is(row, name));
    Ok(study.rows.iter().filter(wanted).collect())
}

/// Makes one row with one seed below the folder of a study that is being made: a worker's part.
///
/// Says whether it was made; if not, `watch` stopped it. The study's own lock is its caller's; if
/// another process still holds the row's files, as a worker of a killed study does for a moment, they
/// are waited for.
///
/// # Errors
///
/// As [`run()`].
pub fn make_row(
    study: &Study,
    row: &str,
    seed: u64,
    runs: &Path,
    watch: &mut dyn Watch,
) -> Result<bool, StudyError> {
    let row = study.row(row)?;
    let exams = exams(study);
    let made = patiently(watch, &mut |watch| make(study, row, seed, runs, &exams, watch))?;
    Ok(made.is_some())
}

/// Makes something, again for a while where another process still holds its files.
pub(in crate::study) fn patiently<T>(
    watch: &mut dyn Watch,
    make: &mut dyn FnMut(&mut dyn Watch) -> Result<T, StudyError>,
) -> Result<T, StudyError> {
    let patience = Instant::now() + PATIENCE;
    loop {
        match make(watch) {
            Err(error) if is_locked(&error) && Instant::now() < patience && !watch.stop() => {
                thread::sleep(Duration::from_millis(200));
            }
            made => return made,
        }
    }
}

fn is_locked(error: &StudyError) -> bool {
    matches!(
        error,
        StudyError::Train { source: TrainError::Store(StoreError::Locked { .. }), .. }
            | StudyError::Eval { source: EvalError::Store(StoreError::Locked { .. }), .. }
    )
}

fn exams(study: &Study) -> Vec<ExamRecord> {
    let mut exams = vec![ExamRecord::of(&study.exam, &study.taught)];
    exams.extend(study.vignettes.iter().map(|exam| ExamRecord {
        about: study.vignettes_about.clone(),
        ..ExamRecord::of(exam, &[].into())
    }));
    exams
}

/// Trains a row with a seed and asks it everything; returns what came of it, and the kernel set.
fn make(
    study: &Study,
    row: &RowDefinition,
    seed: u64,
    runs: &Path,
    exams: &[ExamRecord],
    watch: &mut dyn Watch,
) -> Result<Option<(SeedRecord, String)>, StudyError> {
    let place = runs.join(format!("seed-{seed}"));
    let trained = place.join(TRAINED).join(&row.id);
    let base = study.folder.join(&row.base);
    let training = match (study.recipe(row, seed)?, &row.data) {
        (Some(recipe), Some(data)) => {
            let training = Training {
                row: &row.id,
                recipe: &recipe,
                base: &base,
                base_name: &row.base,
                data: &study.folder.join(data),
                exams: &study.exam_files,
                out: &trained,
            };
            let Some(training) = training.run(watch)? else { return Ok(None) };
            Some(training)
        }
        _ => None,
    };
    let mut opened = open(row, &base, &trained)?;
    let kernel_set = opened.model.kernel_set().to_owned();
    let headline = study.protocols.first().expect("a study has a protocol");
    let asks = study.protocols.iter().map(|protocol| (&study.exam, protocol, &*protocol.id));
    let apart = study.vignettes.iter().map(|exam| (exam, headline, VIGNETTES));
    let mut runs = Vec::new();
    for (place_in_record, (exam, protocol, name)) in asks.chain(apart).enumerate() {
        let out = place.join(&row.id).join(name);
        let asking = Asking { row: &row.id, exam, protocol, seed, out: &out };
        let Some(asked) = asking.run(&mut opened, watch)? else { return Ok(None) };
        let exam = &exams[usize::from(place_in_record >= study.protocols.len())];
        runs.push(run_record(exam, protocol, &asked));
    }
    Ok(Some((SeedRecord { seed, training, runs }, kernel_set)))
}

fn run_record(exam: &ExamRecord, protocol: &Protocol, asked: &Asked) -> RunRecord {
    let outcomes = Outcomes::of(&asked.run);
    RunRecord {
        exam: exam.name.clone(),
        protocol: protocol.id.clone(),
        outcomes: exam.encode(&outcomes),
        run_id: outcomes.run_id,
        model: outcomes.model,
        wall_s: asked.wall_s,
        mem_peak: asked.mem_peak,
    }
}

/// Opens what a row is asked with: the base, the trained weights, or the base with the adapter.
pub(in crate::study) fn open(
    row: &RowDefinition,
    base: &Path,
    trained: &Path,
) -> Result<Opened, StudyError> {
    let adapter = trained.display().to_string();
    let (spec, adapter) = match row.method {
        Method::Base => (base, None),
        Method::Full => (trained, None),
        Method::Lora | Method::Lora8bit => (base, Some(&*adapter)),
    };
    let options = OpenOptions { exam: None, format: row.dtype, adapter };
    models::open(&spec.display().to_string(), &options)
        .map_err(|source| StudyError::Model { row: row.id.clone(), source })
}
