//! The project's own LLaMA network as a model.
//!
//! Texts in, texts out: prompts are tokenised here and nothing is ever cut off. A prompt that does
//! not fit the context is an item with an error, beside which the others run.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::{
    Capabilities, Completion, LogLikelihood, Model, ModelError, Prompt, Request, WeightFormat,
    adapter::{LINEAGE, ReadAdapter},
    candle::CandleDecoder,
    decode::Decode,
    format,
};
use crate::{
    exam::QuestionId,
    kernels,
    llama::{
        Checkpoint, Config, Decoder, Hold, NetworkError, PairError,
        checkpoint::stop_tokens,
        decoder::{Continue, Limits, Reply, Score},
        defects, encode_pair,
        tokenizer::{Special, Tokenizer, TokenizerError},
    },
    lora::Attach,
    protocol::{Bos, FinishReason, Sampling},
    stats::Seed,
    store::{FileIdentity, ModelIdentity, identify_file},
};

/// A checkpoint ready to answer.
pub struct LlamaModel {
    identity: ModelIdentity,
    /// Name of the adapter.
    adapter: Option<String>,
    tokenizer: Tokenizer,
    config: Config,
    decoder: Box<dyn Decode>,
    stop: Vec<u32>,
    notes: Vec<String>,
    kernel_set: String,
}

/// Which implementation of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Own,
    Candle,
}

impl LlamaModel {
    /// Opens a checkpoint folder: weights, tokenizer, generation settings, known defects.
    ///
    /// `format` is the one to hold the weights in; `None` keeps the widest they are stored in, which
    /// loses nothing, and int8 where they are stored so.
    ///
    /// # Errors
    ///
    /// [`ModelError::Load`] if a file is missing, damaged or does not fit the others.
    pub fn open(folder: &Path, format: Option<WeightFormat>) -> Result<Self, ModelError> {
        Self::open_adapted(folder, format, None)
    }

    /// Opens a checkpoint folder and puts the adapter of another folder on it.
    ///
    /// # Errors
    ///
    /// As [`LlamaModel::open`], or if the adapter cannot be read or does not fit.
    pub fn open_adapted(
        folder: &Path,
        format: Option<WeightFormat>,
        adapter: Option<&Path>,
    ) -> Result<Self, ModelError> {
        Self::open_with(folder, format, Network::Own, adapter)
    }

    /// Opens a checkpoint folder with candle_transformers' network in f32, to check ours against.
    ///
    /// # Errors
    ///
    /// As [`LlamaModel::open`], and for configurations that network computes otherwise.
    pub fn open_candle(folder: &Path) -> Result<Self, ModelError> {
        Self::open_with(folder, Some(WeightFormat::F32), Network::Candle, None)
    }

    /// Gives the model another name than its folder's; that of an adapter stays behind it.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.identity.name = match &self.adapter {
            Some(adapter) => format!("{name}+{adapter}"),
            None => name,
        };
        self
    }

    fn open_with(
        folder: &Path,
        format: Option<WeightFormat>,
        network: Network,
        adapter_folder: Option<&Path>,
    ) -> Result<Self, ModelError> {
        let load = |source: Box<dyn std::error::Error + Send + Sync>| ModelError::Load {
            path: folder.display().to_string(),
            source,
        };
        let config_file = |name| folder.join(name).is_file();
        if config_file("adapter_config.json") && !config_file("config.json") {
            return Err(load("it holds an adapter, to be put on a base model".into()));
        }
        let mut checkpoint = Checkpoint::open(folder).map_err(|error| load(error.into()))?;
        let adapter = adapter_folder.map(ReadAdapter::open).transpose()?;
        let tokenizer = Tokenizer::from_dir(folder).map_err(|error| load(error.into()))?;
        let mut stop = stop_tokens(folder, checkpoint.config()).map_err(|e| load(e.into()))?;
        let mut notes = [checkpoint.notes(), tokenizer.notes()].concat();
        if let (Some(adapter), Some(path)) = (&adapter, adapter_folder) {
            notes.extend(adapter.notes(path, folder));
        }
        for defect in defects::found(folder).map_err(|error| load(error.into()))? {
            notes.push(format!("{} ({})", defect.says, defect.source));
            stop.extend(&defect.stop);
        }
        stop.sort_unstable();
        stop.dedup();
        let hold = WeightFormat::hold(format, &checkpoint);
        if checkpoint.is_int8() && matches!(hold, Hold::Frozen(_)) {
            notes.push("the weights are stored as int8 and dequantised".into());
        }
        let mut identity = identity(folder, &checkpoint, &tokenizer, hold)?;
        let (mut config, mut adapter_name) = (checkpoint.config().clone(), None);
        let decoder: Box<dyn Decode> = match network {
            Network::Own => {
                let loaded = checkpoint.load(hold);
                let mut network = loaded.map_err(|error| load(error.into()))?;
                if let (Some(read), Some(path)) = (adapter, adapter_folder) {
                    let attached = network.attach(&read.adapter, Attach::Frozen);
                    attached.map_err(|source| ModelError::Load {
                        path: path.display().to_string(),
                        source: Box::new(source),
                    })?;
                    identity.name = format!("{}+{}", identity.name, read.name);
                    adapter_name = Some(read.name);
                    identity.adapter_sha256 = Some(read.sha256);
                    identity.adapter_files = read.files;
                    // The vocabulary may have been enlarged.
                    config = network.config().clone();
                }
                Box::new(Decoder::new(network, Limits::default()))
            }
            Network::Candle if checkpoint.is_int8() => {
                return Err(load("candle_transformers' network has no int8 weights".into()));
            }
            Network::Candle => {
                identity.backend = "candle".into();
                Box::new(CandleDecoder::load(&mut checkpoint).map_err(load)?)
            }
        };
        let vocab_size = config.vocab_size;
        if tokenizer.vocab_size() > vocab_size {
            let pieces = tokenizer.vocab_size();
            notes.push(format!(
                "the tokenizer has {pieces} tokens, the network {vocab_size}: a prompt with one of \
                 the others is refused"
            ));
        }
        Ok(Self {
            config,
            identity,
            adapter: adapter_name,
            tokenizer,
            decoder,
            stop,
            notes,
            kernel_set: kernels::set_name(),
        })
    }

    /// Returns what a reader should know of the files: defects, what was left aside.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the network's sizes and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Returns the tokens that end a reply.
    pub fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }

    /// Encodes a prompt; an empty one is the token that begins a text.
    ///
    /// # Errors
    ///
    /// [`ModelError`] if it does not fit the context or has no token.
    pub fn encode(&self, prompt: &Prompt, bos: Bos) -> Result<Vec<u32>, ModelError> {
        let mut ids = self
            .tokenizer
            .encode(&prompt.text, bos)
            .map_err(|error| Self::text_error(&prompt.id, error))?;
        if ids.is_empty() {
            ids.extend(self.tokenizer.bos_id().or(self.tokenizer.eos_id()));
        }
        if ids.is_empty() {
            return Err(Self::text_error(&prompt.id, PairError::NoContext));
        }
        self.check(&prompt.id, &ids, 0)?;
        Ok(ids)
    }

    /// Encodes a request as lm-eval does; see [`encode_pair`].
    ///
    /// # Errors
    ///
    /// [`ModelError`] if it does not fit the context or a side has no token.
    pub fn encode_request(&self, request: &Request) -> Result<Score, ModelError> {
        let Request { id, context, continuation, bos } = request;
        let score = encode_pair(&self.tokenizer, context, continuation, *bos)
            .map_err(|error| Self::text_error(id, error))?;
        // The last token is only predicted, not fed.
        self.check(id, &score.context, score.continuation.len() - 1)?;
        self.check(id, &score.continuation, 0)?;
        Ok(score)
    }

    /// Continues encoded prompts and calls `done` with index, tokens and completion as each ends.
    ///
    /// # Errors
    ///
    /// [`ModelError::Backend`] if the network fails.
    pub fn reply(
        &mut self,
        requests: &[Continue],
        sampling: &Sampling,
        done: &mut dyn FnMut(usize, Vec<u32>, Completion),
    ) -> Result<(), ModelError> {
        let Self { tokenizer, decoder, stop, .. } = self;
        let mut broken: Option<TokenizerError> = None;
        let is_complete = |ids: &[u32]| {
            !sampling.stop.is_empty()
                && tokenizer
                    .decode(ids, Special::Skip)
                    .is_ok_and(|text| stop_at(&text, &sampling.stop).is_some())
        };
        let mut finish = |index: usize, reply: Reply| match completion(
            tokenizer,
            &requests[index].prompt,
            &reply,
            sampling,
        ) {
            Ok(completion) => done(index, reply.ids, completion),
            Err(error) => broken = Some(error),
        };
        let result = decoder.generate(requests, sampling, stop, &is_complete, &mut finish);
        match (result, broken) {
            (Err(error), _) => Err(self.failed("generating", error)),
            (_, Some(error)) => Err(self.failed("decoding", error.into())),
            (Ok(()), None) => Ok(()),
        }
    }

    /// Scores encoded requests and calls `done` with index and result, in order.
    ///
    /// # Errors
    ///
    /// [`ModelError::Backend`] if the network fails.
    pub fn score(
        &mut self,
        requests: &[Score],
        done: &mut dyn FnMut(usize, LogLikelihood),
    ) -> Result<(), ModelError> {
        let mut finish = |index: usize, scored: crate::llama::decoder::Scored| {
            let Score { context, continuation } = &requests[index];
            let is_number = scored.log_prob.is_finite();
            done(
                index,
                LogLikelihood {
                    log_prob: scored.log_prob,
                    tokens: continuation.len(),
                    is_greedy: scored.is_greedy,
                    prompt_ids: context.clone(),
                    error: (!is_number).then(|| NO_DISTRIBUTION.to_owned()),
                },
            );
        };
        let result = self.decoder.score(requests, &mut finish);
        result.map_err(|error| self.failed("scoring", error))
    }

    /// Refuses tokens that, with `more` behind them, do not fit the context, or that the network
    /// does not have.
    fn check(&self, id: &QuestionId, tokens: &[u32], more: usize) -> Result<(), ModelError> {
        let (got, limit) = (tokens.len() + more, self.config.context);
        if got > limit {
            let (model, id) = (self.identity.name.clone(), id.clone());
            return Err(ModelError::ContextExceeded { model, id, got, limit });
        }
        let vocab_size = self.config.vocab_size;
        match tokens.iter().find(|token| usize::try_from(**token).is_ok_and(|t| t >= vocab_size)) {
            Some(token) => {
                Err(Self::text_error(id, NetworkError::Token { token: *token, vocab_size }))
            }
            None => Ok(()),
        }
    }

    fn failed(
        &self,
        stage: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> ModelError {
        ModelError::Backend { model: self.identity.name.clone(), stage, source }
    }

    fn text_error(
        id: &QuestionId,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> ModelError {
        ModelError::Text { id: id.clone(), source: Box::new(source) }
    }
}

impl Model for LlamaModel {
    fn identity(&self) -> &ModelIdentity {
        &self.identity
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { generate: true, log_likelihood: true, tokens: true }
    }

    fn generate(
        &mut self,
        prompts: &[Prompt],
        sampling: &Sampling,
    ) -> Result<Vec<Completion>, ModelError> {
        let mut completions: Vec<Option<Completion>> = vec![None; prompts.len()];
        let (mut requests, mut places) = (Vec::new(), Vec::new());
        for (place, prompt) in prompts.iter().enumerate() {
            match self.encode(prompt, sampling.bos) {
                Ok(ids) => {
                    let seed = Seed(sampling.seed).derive(&prompt.id.0, prompt.attempt);
                    requests.push(Continue { prompt: ids, seed });
                    places.push(place);
                }
                Err(error) => completions[place] = Some(unanswered(&error)),
            }
        }
        self.reply(&requests, sampling, &mut |index, _, completion| {
            completions[places[index]] = Some(completion);
        })?;
        let all = completions.into_iter().map(|c| c.expect("each prompt was answered or refused"));
        Ok(all.collect())
    }

    fn log_likelihood(&mut self, requests: &[Request]) -> Result<Vec<LogLikelihood>, ModelError> {
        let mut results: Vec<Option<LogLikelihood>> = vec![None; requests.len()];
        let (mut scores, mut places) = (Vec::new(), Vec::new());
        for (place, request) in requests.iter().enumerate() {
            match self.encode_request(request) {
                Ok(score) => {
                    scores.push(score);
                    places.push(place);
                }
                Err(error) => {
                    results[place] = Some(LogLikelihood {
                        log_prob: f64::NAN,
                        tokens: 0,
                        is_greedy: false,
                        prompt_ids: Vec::new(),
                        error: Some(chain(&error)),
                    });
                }
            }
        }
        self.score(&scores, &mut |index, result| results[places[index]] = Some(result))?;
        Ok(results.into_iter().map(|r| r.expect("each request was scored or refused")).collect())
    }

    fn preferred_batch(&self) -> usize {
        Limits::default().sequences
    }

    fn kernel_set(&self) -> &str {
        &self.kernel_set
    }
}

/// What an item says where the logits hold no distribution.
const NO_DISTRIBUTION: &str = "the network gave NaN instead of a distribution over tokens";

/// Returns where the first of the stop strings begins.
fn stop_at(text: &str, stop: &[String]) -> Option<usize> {
    stop.iter().filter_map(|stop| text.find(&**stop)).min()
}

fn completion(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    reply: &Reply,
    sampling: &Sampling,
) -> Result<Completion, TokenizerError> {
    let new = match (reply.finish_reason, reply.ids.split_last()) {
        (FinishReason::EndOfText, Some((_, before))) => before,
        _ => &reply.ids,
    };
    let mut text = tokenizer.decode(new, Special::Skip)?;
    if let Some(at) = stop_at(&text, &sampling.stop) {
        text.truncate(at);
    }
    Ok(Completion {
        text,
        finish_reason: reply.finish_reason,
        prompt_ids: prompt.to_vec(),
        completion_tokens: reply.ids.len(),
        error: reply.failed.then(|| NO_DISTRIBUTION.to_owned()),
    })
}

fn unanswered(error: &ModelError) -> Completion {
    Completion {
        text: String::new(),
        finish_reason: FinishReason::Unknown,
        prompt_ids: Vec::new(),
        completion_tokens: 0,
        error: Some(chain(error)),
    }
}

/// Returns an error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Hashes every file the model's numbers depend on.
fn identity(
    folder: &Path,
    checkpoint: &Checkpoint,
    tokenizer: &Tokenizer,
    hold: Hold,
) -> Result<ModelIdentity, ModelError> {
    let load = |path: &Path, error: crate::store::StoreError| ModelError::Load {
        path: path.display().to_string(),
        source: Box::new(error),
    };
    let weights: Vec<PathBuf> = checkpoint.files().map(Path::to_owned).collect();
    let identify = |path: &PathBuf| identify_file(path).map_err(|error| load(path, error));
    let weights: Vec<FileIdentity> = weights.par_iter().map(identify).collect::<Result<_, _>>()?;
    let mut files = weights.clone();
    for name in ["config.json", "generation_config.json", LINEAGE] {
        let path = folder.join(name);
        if path.is_file() {
            files.push(identify(&path)?);
        }
    }
    files.extend(tokenizer.files().cloned());
    let named = folder.canonicalize().ok();
    let name = named.as_deref().unwrap_or(folder).file_name();
    Ok(ModelIdentity {
        name: name.map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into()),
        backend: "llama".into(),
        sha256: Some(together(&weights)),
        adapter_sha256: None,
        tokenizer_sha256: Some(tokenizer.file().sha256.clone()),
        dtype: Some(format::name(hold)),
        files,
        adapter_files: Vec::new(),
    })
}

/// The digest of what `sha256sum` prints for the files, in their order.
pub(super) fn together(files: &[FileIdentity]) -> String {
    let mut digest = Sha256::new();
    for FileIdentity { name, sha256, .. } in files {
        digest.update(format!("{sha256}  {name}\n"));
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
