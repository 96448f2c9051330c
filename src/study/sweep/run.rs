//! Every point of a grid trained, and asked the validation split; never the exam.

use std::path::Path;

use super::{Grid, Point, SweepResult};
use crate::{
    claims::runs::Outcomes,
    corpus::{OverlapSearch, OverlapSettings, Row},
    exam::{Exam, normalized},
    protocol::Protocol,
    store::{Machine, ProtocolIdentity, RunLock},
    study::{
        StudyError,
        mini::{
            ExamRecord, Record, RowDefinition, RowRecord, RunRecord, SeedRecord, Study, Watch,
            Workers,
            ask::Asking,
            definition::taught,
            run::{forget_other_builds, open, patiently},
            train::Training,
            workers::{Job, make_ahead},
        },
    },
};

/// A grid with its points, checked, before anything is trained.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The grid.
    pub grid: Grid,
    /// The study it is about.
    pub study: Study,
    /// The row whose recipe is the centre.
    pub row: RowDefinition,
    /// What points are compared on.
    pub validation: Exam,
    /// The protocol.
    pub protocol: Protocol,
    /// Every point, the centre first.
    pub points: Vec<Point>,
}

impl Sweep {
    /// Puts a grid and its study together.
    ///
    /// # Errors
    ///
    /// [`StudyError`]: the study has no such row or the row no recipe; the grid does not fit the
    /// recipe; [`StudyError::NotApart`] if the validation split is the exam or shares a question with it.
    pub fn new(grid: Grid, study: Study) -> Result<Self, StudyError> {
        let row = study.row(&grid.row)?.clone();
        let Some(recipe) = study.recipe(&row, 0)? else {
            let problem = format!("row `{}` is a base model: it has no recipe to vary", row.id);
            return Err(StudyError::Definition { path: "grid".into(), problem });
        };
        let validation = Exam::load(&study.folder.join(&grid.validation))?;
        for exam in std::iter::once(&study.exam).chain(&study.vignettes) {
            apart(&validation, exam)?;
        }
        let protocol = Protocol::find(&grid.protocol)?;
        let points = grid.points(&recipe)?;
        Ok(Self { grid, study, row, validation, protocol, points })
    }

    /// Reads the record of this sweep.
    ///
    /// # Errors
    ///
    /// [`StudyError::Record`] if it is none, or one of other points or seeds, another split or another
    /// protocol, or answers are missing.
    pub fn record(&self, path: &Path) -> Result<Record, StudyError> {
        let record = Record::open(path)?;
        let own: Vec<&str> = self.points.iter().map(|point| &*point.id).collect();
        let recorded: Vec<&str> = record.rows.iter().map(|row| &*row.id).collect();
        let seeds = |row: &RowRecord| row.seeds.iter().map(|seed| seed.seed).collect::<Vec<_>>();
        let exam = record.exams.first().map(|exam| &*exam.sha256);
        let protocol = record.protocols.first().map(|protocol| &*protocol.sha256);
        let problem = if own != recorded {
            format!("its points are {}, the grid's {}", recorded.join(", "), own.join(", "))
        } else if exam != Some(&*self.validation.sha256()) {
            format!("its points were asked another split than `{}`", self.validation.name)
        } else if protocol != Some(self.protocol.sha256()) {
            format!("its points were asked under another protocol than `{}`", self.protocol.id)
        } else if record.rows.iter().any(|row| seeds(row) != self.grid.seeds) {
            format!("its seeds are not {:?}", self.grid.seeds)
        } else if SweepResult::of(self, &record).is_none() {
            "a point has no answers".to_owned()
        } else {
            return Ok(record);
        };
        Err(StudyError::Record { path: path.to_owned(), problem })
    }

    /// Trains and asks every point; `None` if `watch` stopped it, and the same call continues.
    ///
    /// The record's rows are the points, its exam is the validation split. `workers` make points
    /// ahead, each in a process of its own; without them every point is made here.
    ///
    /// # Errors
    ///
    /// [`StudyError`] with the point; what was made before it is kept.
    pub fn run(
        &self,
        runs: &Path,
        workers: Option<&Workers>,
        watch: &mut dyn Watch,
    ) -> Result<Option<Record>, StudyError> {
        std::fs::create_dir_all(runs).map_err(|source| StudyError::File {
            what: "create",
            path: runs.to_owned(),
            source,
        })?;
        let _lock = RunLock::take(runs)?;
        forget_other_builds(runs, watch)?;
        let exam = self.exam()?;
        let mut record =
            Record::new(format!("Sweep {}", self.grid.name), self.grid.about.clone(), vec![exam]);
        record.protocols = vec![ProtocolIdentity {
            id: self.protocol.id.clone(),
            sha256: self.protocol.sha256().to_owned(),
        }];
        let machine = Machine::this();
        record.machine = format!("{}, {} threads", machine.cpu, machine.threads);
        if let Some(workers) = workers
            && make_ahead(workers, &self.jobs(), watch)
        {
            return Ok(None);
        }
        for point in &self.points {
            let mut seeds = Vec::new();
            for seed in &self.grid.seeds {
                let made = self.make(point, *seed, runs, &record.exams[0], watch)?;
                let Some((made, kernel_set)) = made else { return Ok(None) };
                record.kernel_set = kernel_set;
                seeds.push(made);
            }
            let RowDefinition { size, family, method, .. } = self.row.clone();
            let id = point.id.clone();
            let label = id.clone();
            record.rows.push(RowRecord { id, label, size, family, method, mirrors: None, seeds });
        }
        let path = runs.join(Record::FILE);
        record.keep_machine(&path);
        record.write(&path)?;
        Ok(Some(record))
    }

    /// Every point with every seed; those of most epochs first, so that none is left over in the end.
    fn jobs(&self) -> Vec<Job<'_>> {
        let mut longest: Vec<&Point> = self.points.iter().collect();
        let epochs = |point: &Point| point.recipe.schedule.epochs;
        longest.sort_by(|a, b| epochs(b).total_cmp(&epochs(a)));
        let seeds = |point| self.grid.seeds.iter().map(move |seed| (point, *seed));
        let jobs = longest.into_iter().flat_map(seeds);
        jobs.map(|(point, seed): (&Point, u64)| Job { row: &point.id, seed }).collect()
    }

    fn exam(&self) -> Result<ExamRecord, StudyError> {
        let ways = match &self.grid.taught {
            Some(name) => taught(&self.study.folder.join(name), &self.validation)?,
            None => [].into(),
        };
        Ok(ExamRecord::of(&self.validation, &ways))
    }

    /// Makes one point with one seed below the folder of a sweep that is being made: a worker's part.
    ///
    /// Says whether it was made; if not, `watch` stopped it. Files that another process still holds
    /// are waited for.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub fn make_point(
        &self,
        id: &str,
        seed: u64,
        runs: &Path,
        watch: &mut dyn Watch,
    ) -> Result<bool, StudyError> {
        let Some(point) = self.points.iter().find(|point| point.id == id) else {
            let known: Vec<&str> = self.points.iter().map(|point| &*point.id).collect();
            return Err(StudyError::NoSuchRow { name: id.to_owned(), known: known.join(", ") });
        };
        let exam = self.exam()?;
        let made = patiently(watch, &mut |watch| self.make(point, seed, runs, &exam, watch))?;
        Ok(made.is_some())
    }

    /// Trains a point with a seed and asks it; returns what came of it, and the kernel set.
    fn make(
        &self,
        point: &Point,
        seed: u64,
        runs: &Path,
        exam: &ExamRecord,
        watch: &mut dyn Watch,
    ) -> Result<Option<(SeedRecord, String)>, StudyError> {
        let Self { study, row, validation, protocol, .. } = self;
        let place = runs.join(format!("seed-{seed}"));
        let mut recipe = point.recipe.clone();
        recipe.data.seed = recipe.data.seed.wrapping_add(seed);
        if let Some(lora) = &mut recipe.lora {
            lora.seed = lora.seed.wrapping_add(seed);
        }
        let mut exams = study.exam_files.clone();
        exams.push(study.folder.join(&self.grid.validation));
        let (base, trained) = (study.folder.join(&row.base), place.join("trained").join(&point.id));
        let data = study.folder.join(row.data.as_deref().unwrap_or_default());
        let training = Training {
            row: &point.id,
            recipe: &recipe,
            base: &base,
            base_name: &row.base,
            data: &data,
            exams: &exams,
            out: &trained,
        };
        let Some(training) = training.run(watch)? else { return Ok(None) };
        let mut opened = open(row, &base, &trained)?;
        let kernel_set = opened.model.kernel_set().to_owned();
        let out = place.join(&point.id);
        let asking = Asking { row: &point.id, exam: validation, protocol, seed, out: &out };
        let Some(asked) = asking.run(&mut opened, watch)? else { return Ok(None) };
        let outcomes = Outcomes::of(&asked.run);
        let run = RunRecord {
            exam: validation.name.clone(),
            protocol: protocol.id.clone(),
            outcomes: exam.encode(&outcomes),
            run_id: outcomes.run_id,
            model: outcomes.model,
            wall_s: asked.wall_s,
            mem_peak: asked.mem_peak,
        };
        let made = SeedRecord { seed, training: Some(training), runs: vec![run] };
        Ok(Some((made, kernel_set)))
    }
}

/// Checks that a split shares no question with an exam: neither a text with its options, nor 13
/// words in a row.
fn apart(validation: &Exam, exam: &Exam) -> Result<(), StudyError> {
    let refused = |shared: String| StudyError::NotApart {
        validation: validation.name.clone(),
        exam: exam.name.clone(),
        shared,
    };
    let whole = |question: &crate::exam::Question| {
        let mut options: Vec<String> =
            question.options.iter().map(|option| normalized(&option.text)).collect();
        options.sort();
        (normalized(&question.text), options)
    };
    let known: std::collections::BTreeSet<_> = exam.questions.iter().map(whole).collect();
    if let Some(same) = validation.questions.iter().find(|q| known.contains(&whole(q))) {
        return Err(refused(format!("question `{}`", same.id)));
    }
    let mut search = OverlapSearch::new(exam, OverlapSettings::default());
    for (number, question) in (1..).zip(&validation.questions) {
        let options: Vec<&str> = question.options.iter().map(|option| &*option.text).collect();
        let row =
            Row { instruction: question.text.clone(), input: options.join("\n"), ..Row::default() };
        search.add(&validation.name, number, &row);
    }
    search.finish().require_none().map_err(|error| refused(error.to_string()))
}
