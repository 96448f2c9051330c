//! The loop: a window of questions in flight, appended in exam order as they are settled.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    Choice, EvalError,
    asking::{Turn, attempt},
};
use crate::{
    exam::{Exam, Question, QuestionId},
    models::Model,
    protocol::{Outcome, Protocol},
    stats::Seed,
    store::{
        AttemptRecord, ExamIdentity, FORMAT_VERSION, FileIdentity, Machine, Manifest,
        ProtocolIdentity, RunWriter, Summary, Timing, ToolIdentity, TornLine,
    },
};

/// What to ask, and how.
#[derive(Debug, Clone)]
pub struct Evaluation<'a> {
    /// The exam.
    pub exam: &'a Exam,
    /// Files it was read from, for the record.
    pub exam_files: Vec<FileIdentity>,
    /// The protocol.
    pub protocol: &'a Protocol,
    /// Fixes every draw, with question id and attempt.
    pub seed: Seed,
    /// Which questions.
    pub choice: Choice,
    /// Questions in flight at once, at least 1; `None` leaves it to the model. Changes nothing
    /// but speed.
    pub batch: Option<usize>,
    /// Folder of the model's files, for the record.
    pub model_path: Option<PathBuf>,
    /// Folder of the adapter's files, likewise.
    pub adapter_path: Option<PathBuf>,
    /// Arguments of the command, for the record.
    pub command_line: Vec<String>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Questions of the run.
    pub asked: usize,
    /// Of these, answered, in this session or before.
    pub answered: usize,
    /// Of these, answered before this session.
    pub resumed: usize,
    /// Of the answered, correct.
    pub correct: usize,
    /// Since this session began.
    pub elapsed: Duration,
    /// Torn lines of an interrupted write that were cut.
    pub torn: &'a [TornLine],
}

/// How an evaluation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// Every question has its answer.
    Complete(Box<Summary>),
    /// It was told to stop; the same call continues it.
    Stopped {
        /// Questions answered.
        answered: usize,
        /// Questions of the run.
        asked: usize,
    },
}

/// A question under way.
struct InFlight<'a> {
    question: &'a Question,
    attempts: Vec<AttemptRecord>,
    timings: Vec<Timing>,
}

impl InFlight<'_> {
    fn is_settled(&self) -> bool {
        self.attempts.last().is_some_and(|attempt| attempt.is_final)
    }

    fn next_attempt(&self) -> u32 {
        u32::try_from(self.attempts.len() + 1).expect("a protocol's attempts fit 32 bits")
    }
}

impl<'a> Evaluation<'a> {
    /// Returns an evaluation of the whole exam with seed 0.
    pub fn new(exam: &'a Exam, protocol: &'a Protocol) -> Self {
        Self {
            exam,
            exam_files: Vec::new(),
            protocol,
            seed: Seed(0),
            choice: Choice::default(),
            batch: None,
            model_path: None,
            adapter_path: None,
            command_line: Vec::new(),
        }
    }

    /// Asks what is not answered yet and writes the run to `folder`, new or begun before.
    ///
    /// `watch` is called first and after every question; it can stop the run there.
    ///
    /// # Errors
    ///
    /// [`EvalError`]; what was answered before it is kept, and the same call continues.
    pub fn run(
        &self,
        model: &mut dyn Model,
        folder: &Path,
        watch: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<Ended, EvalError> {
        self.check_abilities(model)?;
        let manifest = self.manifest(model)?;
        let mut writer =
            RunWriter::open(folder, manifest, self.exam, self.protocol.toml().as_bytes())?;
        let torn = writer.torn().to_vec();
        let questions: BTreeMap<&QuestionId, &Question> =
            self.exam.questions.iter().map(|question| (&question.id, question)).collect();
        let open: Vec<&Question> = writer.open_questions().iter().map(|id| questions[id]).collect();
        let resumed = writer.already().iter().filter(|attempt| attempt.is_final).count();
        let asked = resumed + open.len();
        let mut correct = writer.already().iter().filter(|attempt| is_right(attempt)).count();
        let mut answered = resumed;
        let started = Instant::now();
        let mut report = |answered, correct| {
            let elapsed = started.elapsed();
            watch(&Progress { asked, answered, resumed, correct, elapsed, torn: &torn })
        };
        if report(answered, correct).is_break() {
            return Ok(Ended::Stopped { answered, asked });
        }
        let batch = self.batch.unwrap_or_else(|| model.preferred_batch()).max(1);
        let mut waiting = open.into_iter();
        let mut window = VecDeque::new();
        loop {
            self.round(model, batch, &mut waiting, &mut window)?;
            if window.is_empty() {
                return Ok(Ended::Complete(Box::new(writer.finish()?)));
            }
            while window.front().is_some_and(InFlight::is_settled)
                && let Some(InFlight { attempts, timings, .. }) = window.pop_front()
            {
                writer.append(&attempts, &timings)?;
                answered += 1;
                correct += usize::from(attempts.iter().any(is_right));
                if report(answered, correct).is_break() {
                    return Ok(Ended::Stopped { answered, asked });
                }
            }
        }
    }

    /// Asks everything that is not answered yet, with nobody watching, and returns the summary.
    ///
    /// # Errors
    ///
    /// As [`Evaluation::run`].
    pub fn run_to_end(&self, model: &mut dyn Model, folder: &Path) -> Result<Summary, EvalError> {
        match self.run(model, folder, &mut |_| ControlFlow::Continue(()))? {
            Ended::Complete(summary) => Ok(*summary),
            Ended::Stopped { .. } => unreachable!("only `watch` stops a run"),
        }
    }

    /// Fills the window up to `batch` open questions and makes one attempt at each.
    fn round<'q>(
        &self,
        model: &mut dyn Model,
        batch: usize,
        waiting: &mut impl Iterator<Item = &'q Question>,
        window: &mut VecDeque<InFlight<'q>>,
    ) -> Result<(), EvalError> {
        let open = window.iter().filter(|question| !question.is_settled()).count();
        window.extend(waiting.take(batch - open).map(|question| InFlight {
            question,
            attempts: Vec::new(),
            timings: Vec::new(),
        }));
        let mut open: Vec<_> =
            window.iter_mut().filter(|question| !question.is_settled()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let turns: Vec<Turn<'_>> =
            open.iter().map(|in_flight| (in_flight.question, in_flight.next_attempt())).collect();
        let records = attempt(model, self.protocol, self.seed, &turns)?;
        for (in_flight, (record, timing)) in open.iter_mut().zip(records) {
            in_flight.attempts.push(record);
            in_flight.timings.push(timing);
        }
        Ok(())
    }

    fn check_abilities(&self, model: &dyn Model) -> Result<(), EvalError> {
        let can = model.capabilities();
        let (able, what) = match self.protocol.sampling(self.seed.0) {
            Some(_) => (can.generate, "generate replies"),
            None => (can.log_likelihood, "score options"),
        };
        if able {
            return Ok(());
        }
        let (model, protocol) = (model.identity().name.clone(), self.protocol.id.clone());
        Err(EvalError::Unsupported { model, what, protocol })
    }

    fn manifest(&self, model: &dyn Model) -> Result<Manifest, EvalError> {
        Ok(Manifest {
            format_version: FORMAT_VERSION,
            run_id: String::new(),
            model: model.identity().clone(),
            exam: ExamIdentity {
                name: self.exam.name.clone(),
                sha256: self.exam.sha256(),
                total: self.exam.questions.len(),
                files: self.exam_files.clone(),
            },
            protocol: ProtocolIdentity {
                id: self.protocol.id.clone(),
                sha256: self.protocol.sha256().to_owned(),
            },
            seed: self.seed.0,
            selection: self.choice.select(self.exam, self.protocol)?,
            kernel_set: model.kernel_set().to_owned(),
            tool: ToolIdentity::this(),
            machine: Machine::this(),
            model_path: self.model_path.clone(),
            adapter_path: self.adapter_path.clone(),
            started_at: jiff::Timestamp::now().to_string(),
            resumed_at: Vec::new(),
            ended_at: None,
            command_line: self.command_line.clone(),
        })
    }
}

/// Whether this attempt makes its question correct.
fn is_right(attempt: &AttemptRecord) -> bool {
    attempt.is_final && attempt.outcome == Outcome::Correct
}
