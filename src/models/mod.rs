//! What the harness asks of a model, and nothing else.
//!
//! A backend implements [`Model`]; the evaluator knows only this trait, so canned replies drive
//! the same code as a 13B checkpoint. Prompts come rendered, replies are read elsewhere.

mod adapter;
mod candle;
mod decode;
mod format;
pub mod hub;
mod llama;
mod merge;
mod recorded;
mod replay;
mod stub;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::hub::{HubSpec, Parts, Settings};
pub use adapter::{adapter_folder, base_difference};
pub use format::WeightFormat;
pub use llama::LlamaModel;
pub use merge::{Change, Direction, MergeBase, MergeError, MergedPart, Merging, bytes_in};
pub use recorded::{Mark, Options, Recorded, RecordedError, Shape, Transcript};
pub use replay::{RecordedAnswer, Replay, ReplayError};
pub use stub::{Behaviour, Stub};

use crate::{
    exam::{Exam, QuestionId},
    protocol::FinishReason,
};
pub use crate::{
    protocol::{Bos, Sampling},
    store::{FileIdentity, ModelIdentity},
};

/// What a backend can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Model::generate`] works.
    pub generate: bool,
    /// [`Model::log_likelihood`] works.
    pub log_likelihood: bool,
    /// Token counts and prompt ids are real.
    pub tokens: bool,
}

/// A rendered prompt and which attempt at which question it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The question asked. Together with `attempt` and the run's seed it fixes the randomness.
    pub id: QuestionId,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The whole text.
    pub text: String,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The new text, without the prompt.
    pub text: String,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Token ids of the prompt as fed, BOS included; empty without a tokenizer.
    pub prompt_ids: Vec<u32>,
    /// New tokens, the end token included; 0 where unknown.
    pub completion_tokens: usize,
    /// Set where this item has no reply: its prompt does not fit, or the logits are NaN.
    pub error: Option<String>,
}

impl Completion {
    /// Returns a reply of a model without tokens that ended by itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            finish_reason: FinishReason::EndOfText,
            prompt_ids: Vec::new(),
            completion_tokens: 0,
            error: None,
        }
    }
}

/// A continuation to score after a context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The question it belongs to; requests of one question share their context.
    pub id: QuestionId,
    /// Text before.
    pub context: String,
    /// Text whose probability is asked.
    pub continuation: String,
    /// What stands before the context's first token.
    pub bos: Bos,
}

/// The probability of a continuation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLikelihood {
    /// Sum of natural-log probabilities of the continuation's tokens.
    pub log_prob: f64,
    /// Number of those tokens.
    pub tokens: usize,
    /// Whether greedy decoding would have produced exactly these tokens.
    pub is_greedy: bool,
    /// Token ids of the context as fed, BOS included; empty without a tokenizer.
    pub prompt_ids: Vec<u32>,
    /// Set where this item has no score: it does not fit the context, or the logits are NaN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A language model the harness can question.
///
/// Implementations are deterministic: equal arguments give equal results, whatever the batch,
/// the thread count or the order of calls.
pub trait Model {
    /// Returns who answers; written into every run.
    fn identity(&self) -> &ModelIdentity;

    /// Returns what this backend can do.
    fn capabilities(&self) -> Capabilities;

    /// Continues each prompt; the result has one completion per prompt, in order.
    ///
    /// A prompt that does not fit the context is never truncated: its completion has an error.
    ///
    /// # Errors
    ///
    /// [`ModelError::Unsupported`] if the backend cannot generate, others if it fails as a whole.
    fn generate(
        &mut self,
        prompts: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        let _ = (prompts, sampling);
        Err(ModelError::Unsupported {
            model: self.identity().name.clone(),
            what: "generate replies",
        })
    }

    /// Scores each request; the result has one entry per request, in order.
    ///
    /// A request that does not fit the context is never truncated: its entry has an error.
    ///
    /// # Errors
    ///
    /// As [`Model::generate`].
    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        let _ = requests;
        Err(ModelError::Unsupported {
            model: self.identity().name.clone(),
            what: "score continuations",
        })
    }

    /// Returns how many questions it likes to be given at once; results do not depend on it.
    fn preferred_batch(&self) -> usize {
        1
    }

    /// Returns the name of the kernel set its numbers come from; `none` without a network.
    fn kernel_set(&self) -> &str {
        "none"
    }
}

/// What [`open`] may need besides the name of a model.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenOptions<'a> {
    /// The exam it will be asked; canned and recorded answers refer to its questions.
    pub exam: Option<&'a Exam>,
    /// The number format to hold a checkpoint's weights in; `None` keeps the stored one.
    pub format: Option<WeightFormat>,
    /// A LoRA adapter to put on a checkpoint: a folder, or `hf:ORG/NAME[@REVISION]`.
    pub adapter: Option<&'a str>,
}

/// A model ready to answer.
pub struct Opened {
    /// The model.
    pub model: Box<dyn Model>,
    /// Folder of its files, `None` where it has none.
    pub path: Option<PathBuf>,
    /// Folder of the adapter's files, `None` without one.
    pub adapter_path: Option<PathBuf>,
    /// What a reader should know of its files, e.g. known defects.
    pub notes: Vec<String>,
}

/// Opens the model named by `spec`:
///
/// - `replay:FILE`: recorded answers, one [`RecordedAnswer`] a line;
/// - `stub:BEHAVIOUR`: canned replies, see [`Behaviour`];
/// - `candle:FOLDER`: a checkpoint, computed by candle_transformers in f32;
/// - `hf:ORG/NAME[@REVISION]`: a checkpoint on the hub, named after its commit;
/// - a folder: a checkpoint.
///
/// # Errors
///
/// [`ModelError::Load`] says what is wrong with the name or the file.
pub fn open(spec: &str, options: &OpenOptions<'_>) -> Result<Opened, ModelError> {
    let load = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Load {
        path: spec.to_owned(),
        source,
    };
    let canned = ["stub:", "replay:", "candle:"].iter().any(|kind| spec.starts_with(kind));
    if canned && options.adapter.is_some() {
        return Err(load("an adapter can only be put on a checkpoint".into()));
    }
    if let Some(behaviour) = spec.strip_prefix("stub:") {
        let exam = options.exam.ok_or_else(|| load("a stub needs an exam".into()))?;
        let model = Box::new(Stub::parse(behaviour, exam).map_err(|error| load(error.into()))?);
        return Ok(Opened { model, path: None, adapter_path: None, notes: Vec::new() });
    }
    if let Some(file) = spec.strip_prefix("replay:") {
        let file = Path::new(file);
        let model = Box::new(Replay::open(file, options.exam)?);
        let path = file.parent().map(Path::to_owned);
        return Ok(Opened { model, path, adapter_path: None, notes: Vec::new() });
    }
    let adapter_path = options.adapter.map(adapter_folder).transpose()?;
    let adapter = adapter_path.as_deref();
    if HubSpec::is_meant(spec) {
        let found = HubSpec::parse(spec)
            .and_then(|name| hub::resolve(&name, Parts::All, &Settings::from_env()?, &mut |_| ()));
        let found = found.map_err(|error| load(error.into()))?;
        let name = format!("{}@{}", found.repository, &found.commit[..12]);
        let model = LlamaModel::open_adapted(&found.dir, options.format, adapter)?.named(name);
        let notes = model.notes().to_vec();
        let path = Some(found.dir);
        return Ok(Opened { model: Box::new(model), path, adapter_path, notes });
    }
    let (folder, model) = match spec.strip_prefix("candle:") {
        Some(folder) => match options.format {
            None | Some(WeightFormat::F32) => {
                (Path::new(folder), LlamaModel::open_candle(Path::new(folder))?)
            }
            Some(_) => return Err(load("candle_transformers' network is run in f32 alone".into())),
        },
        None => {
            let folder = Path::new(spec);
            (folder, LlamaModel::open_adapted(folder, options.format, adapter)?)
        }
    };
    let notes = model.notes().to_vec();
    let path = Some(folder.to_owned());
    Ok(Opened { model: Box::new(model), path, adapter_path, notes })
}

/// Why a model gave no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The prompt alone, or with its continuation, does not fit the context window.
    #[error("prompt of question `{id}` has {got} tokens, the context of `{model}` holds {limit}")]
    ContextExceeded {
        /// Name of the model.
        model: String,
        /// The question.
        id: QuestionId,
        /// Prompt length in tokens.
        got: usize,
        /// Context length in tokens.
        limit: usize,
    },
    /// A text has no tokens to ask or to score.
    #[error("question `{id}` cannot be put into tokens")]
    Text {
        /// The question.
        id: QuestionId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The backend lacks this ability.
    #[error("`{model}` cannot {what}")]
    Unsupported {
        /// Name of the model.
        model: String,
        /// The ability, e.g. `score continuations`.
        what: &'static str,
    },
    /// Recorded answers hold none for this attempt.
    #[error("`{model}` has no recorded answer to question `{id}`, attempt {attempt}")]
    NotRecorded {
        /// Name of the model.
        model: String,
        /// The question.
        id: QuestionId,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// The model or its files cannot be used.
    #[error("cannot load `{path}`")]
    Load {
        /// What was opened.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The backend failed.
    #[error("`{model}` failed in {stage}")]
    Backend {
        /// Name of the model.
        model: String,
        /// What was being done, e.g. `prefill`.
        stage: &'static str,
        /// The backend's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
