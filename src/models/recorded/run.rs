//! The attempts of a run directory as recorded answers.

use std::{collections::BTreeMap, fs, path::Path};

use super::{Mark, Options, Recorded, RecordedError, Shape, Transcript};
use crate::{
    exam::Question,
    protocol::{Decoding, Outcome},
    store::{AttemptRecord, FileIdentity, Run, file},
};

impl Transcript {
    /// Reads every attempt of the run at `folder`, complete or not.
    ///
    /// Of a reply, the part is taken that the run's protocol reads. Its mark is whether the run
    /// counts it as right.
    ///
    /// # Errors
    ///
    /// [`RecordedError::Run`] if it is no run or damaged, [`RecordedError::Scored`] if its protocol
    /// asks for no reply, [`RecordedError::Empty`] without an answered question.
    pub fn of_run(folder: &Path) -> Result<Self, RecordedError> {
        let run = Run::open(folder)?;
        if matches!(run.protocol.decoding, Decoding::LogLikelihood { .. }) {
            let (path, protocol) = (folder.to_owned(), run.protocol.id);
            return Err(RecordedError::Scored { path, protocol });
        }
        let answered: Vec<_> = run.answered().collect();
        if answered.is_empty() {
            return Err(RecordedError::Empty { path: folder.to_owned() });
        }
        let recorded = |(question, attempts): &(&Question, &[AttemptRecord])| {
            attempts.iter().map(|attempt| recorded(&run, question, attempt)).collect::<Vec<_>>()
        };
        let answers: Vec<Recorded> = answered.iter().flat_map(recorded).collect();
        let open = run.asked().skip(answered.len()).map(|question| question.id.clone()).collect();
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        let bytes = fs::metadata(folder.join(file::ATTEMPTS)).map(|file| file.len());
        let bytes =
            bytes.map_err(|source| RecordedError::Read { path: folder.to_owned(), source })?;
        Ok(Self {
            shape: Shape::Run,
            file: FileIdentity { name, sha256: run.attempts_sha256.clone(), bytes },
            answers,
            assumed_letters: None,
            notes: run.torn.iter().map(ToString::to_string).collect(),
            not_recorded: open,
        })
    }
}

fn recorded(run: &Run, question: &Question, attempt: &AttemptRecord) -> Recorded {
    let labels = question.step.map(|step| ("step".to_owned(), step.to_string()));
    Recorded {
        id: question.id.0.clone(),
        attempt: attempt.attempt,
        question: question.clone(),
        gold: Some(question.answer),
        options: Options::Texts,
        reply: match &attempt.error {
            Some(error) => Err(error.clone()),
            None => Ok(run.protocol.part_read(&attempt.text).to_owned()),
        },
        finish_reason: attempt.finish_reason,
        mark: Some(Mark::Right(attempt.outcome == Outcome::Correct)),
        labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
    }
}
