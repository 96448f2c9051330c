//! Text to token ids and back, exactly as the model was trained with.
//!
//! `tokenizer.json` goes through the tokenizers library; `tokenizer.model` (SentencePiece BPE, the
//! only file in MedAlpaca's repositories) is converted to the same library's BPE model. Where a
//! folder holds both, `tokenizer.json` is used and [`Tokenizer::notes`] says so.
//!
//! A prompt is text: `</s>` inside a question is four characters, not the end of the text.
//! [`Tokenizer::encode`] therefore finds no special tokens, [`Tokenizer::encode_special`] does,
//! as transformers does by default. Tokens added to the vocabulary that are not special are found
//! by both. What stands in front is said by [`Bos`]; nothing is ever appended or cut off.
//!
//! Where transformers 5 and SentencePiece differ on a `.model` file, SentencePiece is followed:
//! transformers 5.23 drops a leading space (` Hello`), joins spaces in another order
//! (`Hi  Hello`), and adds no BOS unless `tokenizer_config.json` asks for it.

mod check;
mod config;
mod error;
mod guard;
mod json;
mod learn;
mod merges;
mod proto;
mod sentence;
mod stream;

use std::{
    fmt,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{protocol::Bos, store::FileIdentity};

pub use error::TokenizerError;
pub use learn::{learn, learnt_config};
pub use stream::TextStream;

/// Largest tokenizer file that is read. The largest published ones have about 35 MB.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// More tokens than any vocabulary has; a bound on what a stray id can make us allocate.
const MAX_TOKENS: usize = 1 << 20;

/// Texts a thread encodes before it takes the next ones.
const BATCH_CHUNK: usize = 16;

/// The file a tokenizer is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `tokenizer.json`.
    Json,
    /// `tokenizer.model`.
    SentencePiece,
}

impl Source {
    /// Returns the file's usual name.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Json => "tokenizer.json",
            Self::SentencePiece => "tokenizer.model",
        }
    }
}

/// What decoding does with special tokens such as `</s>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// They leave no trace.
    Skip,
    /// They are written out.
    Keep,
}

/// A model's tokenizer.
pub struct Tokenizer {
    backend: Backend,
    source: Source,
    bos: Option<u32>,
    eos: Option<u32>,
    unk: Option<u32>,
    pad: Option<u32>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    file: FileIdentity,
    beside: Vec<FileIdentity>,
    notes: Vec<String>,
}

enum Backend {
    Json(Box<json::Json>),
    SentencePiece(Box<sentence::SentencePiece>),
}

impl Tokenizer {
    /// Opens the tokenizer in `folder`, `tokenizer.json` before `tokenizer.model`.
    ///
    /// # Errors
    ///
    /// If there is neither, or it cannot be used; see [`TokenizerError`].
    pub fn from_dir(folder: &Path) -> Result<Self, TokenizerError> {
        let path = |source: Source| folder.join(source.file_name());
        let (json, model) = (path(Source::Json), path(Source::SentencePiece));
        if !json.is_file() && !model.is_file() {
            return Err(TokenizerError::Missing { folder: folder.to_owned() });
        }
        if !json.is_file() {
            return Self::from_file(&model);
        }
        let mut tokenizer = Self::from_file(&json)?;
        if model.is_file() {
            tokenizer.notes.push("tokenizer.json is used, tokenizer.model beside it is not".into());
        }
        Ok(tokenizer)
    }

    /// Opens one file: SentencePiece if its name ends in `.model`, JSON otherwise.
    ///
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` in its folder
    /// are read with it.
    ///
    /// # Errors
    ///
    /// If it cannot be used; see [`TokenizerError`].
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        let mut declared = config::read(&path.parent().map(Path::to_owned).unwrap_or_default())?;
        let bytes = read_capped(path)?;
        let source = match path.extension() {
            Some(extension) if extension == "model" => Source::SentencePiece,
            _ => Source::Json,
        };
        let mut defaults = [None, None, None, None];
        let mut notes = Vec::new();
        let (backend, added) = match source {
            Source::Json => {
                let json = json::Json::new(&bytes, &declared, path)?;
                let added = json.additions()?;
                (Backend::Json(Box::new(json)), added)
            }
            Source::SentencePiece => {
                let model = proto::read(&bytes, path)?;
                let control = |text: &str| {
                    let mut pieces = model.pieces.iter();
                    let of = |kind| kind == proto::Kind::Control;
                    pieces
                        .any(|piece| piece.text == text && of(piece.kind))
                        .then(|| text.to_owned())
                };
                let mut pieces = model.pieces.iter();
                let unknown = pieces.find(|piece| piece.kind == proto::Kind::Unknown);
                defaults = [
                    control(&model.trainer.bos),
                    control(&model.trainer.eos),
                    unknown.map(|piece| piece.text.clone()),
                    control(&model.trainer.pad),
                ];
                let model = sentence::SentencePiece::new(model, &declared, path)?;
                (Backend::SentencePiece(Box::new(model)), (Vec::new(), Vec::new()))
            }
        };
        let mut tokenizer = Self {
            backend,
            source,
            bos: None,
            eos: None,
            unk: None,
            pad: None,
            prefix: added.0,
            suffix: added.1,
            file: identity(path, &bytes),
            beside: Vec::new(),
            notes: Vec::new(),
        };
        let [bos, eos, unk, pad] = defaults;
        tokenizer.unk = tokenizer.named(&declared.unk, unk, "unk_token", &mut notes);
        tokenizer.bos = tokenizer.named(&declared.bos, bos, "bos_token", &mut notes);
        tokenizer.eos = tokenizer.named(&declared.eos, eos, "eos_token", &mut notes);
        tokenizer.pad = tokenizer.named(&declared.pad, pad, "pad_token", &mut notes);
        tokenizer.notes = notes;
        tokenizer.beside = std::mem::take(&mut declared.files);
        tokenizer.settle_additions(&declared);
        Ok(tokenizer)
    }

    /// Returns the id of a declared token, of the model's own where none is declared.
    fn named(
        &self,
        declared: &Option<config::Token>,
        own: Option<String>,
        field: &str,
        notes: &mut Vec<String>,
    ) -> Option<u32> {
        match declared {
            Some(token) if token.text.is_empty() => {
                notes.push(format!(
                    "`{field}` is empty; as in transformers it stands for the unknown token"
                ));
                self.unk
            }
            Some(token) => self.id(&token.text),
            None => self.id(&own?),
        }
    }

    /// Decides what [`Bos::Model`] puts in front: what `add_bos_token` says, then the post-processor
    /// of a `tokenizer.json`, then (for a `.model` alone) BOS, the default of `LlamaTokenizer`.
    fn settle_additions(&mut self, declared: &config::Declared) {
        let plain = self.source == Source::SentencePiece;
        if let Some(add) = declared.add_bos.or(plain.then_some(true)) {
            self.prefix = self.bos.filter(|_| add).into_iter().collect();
            if add && self.bos.is_none() {
                self.notes.push("a BOS token is asked for, but none is defined".into());
            }
        }
        if let Some(add) = declared.add_eos {
            self.suffix = self.eos.filter(|_| add).into_iter().collect();
        }
        if let ([bos], None) = (&*self.prefix, self.bos) {
            self.bos = Some(*bos);
        }
        if let ([eos], None) = (&*self.suffix, self.eos) {
            self.eos = Some(*eos);
        }
    }

    /// Encodes `text` as plain text; special tokens written in it are not found.
    ///
    /// The result begins with what `bos` says; nothing is appended. An empty text gives `bos` alone.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownId`] if `bos` is no token; otherwise only for a hostile
    /// `tokenizer.json`, on which the library fails.
    pub fn encode(&self, text: &str, bos: Bos) -> Result<Vec<u32>, TokenizerError> {
        self.encode_as(text, bos, false)
    }

    /// Encodes `text` and finds special tokens written in it, as transformers does by default.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_special(&self, text: &str, bos: Bos) -> Result<Vec<u32>, TokenizerError> {
        self.encode_as(text, bos, true)
    }

    /// Encodes `text` as [`Tokenizer::encode_special`] does if `special`, else as
    /// [`Tokenizer::encode`].
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`].
    pub fn encode_as(
        &self,
        text: &str,
        bos: Bos,
        special: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.prefix(bos)?;
        ids.extend(match &self.backend {
            Backend::Json(json) => json.encode(text, special),
            Backend::SentencePiece(model) => model.encode(text, special),
        }?);
        Ok(ids)
    }

    /// Encodes each text as [`Tokenizer::encode`] does, on all threads of the pool; in order.
    ///
    /// # Errors
    ///
    /// As [`Tokenizer::encode`], of the first text that fails.
    pub fn encode_batch<T: AsRef<str> + Sync>(
        &self,
        texts: &[T],
        bos: Bos,
    ) -> Result<Vec<Vec<u32>>, TokenizerError> {
        let texts = texts.par_iter().with_min_len(BATCH_CHUNK);
        let encoded: Vec<_> = texts.map(|text| self.encode(text.as_ref(), bos)).collect();
        encoded.into_iter().collect()
    }

    /// Returns the ids that `bos` puts in front of a text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownId`] if it names no token.
    pub fn prefix(&self, bos: Bos) -> Result<Vec<u32>, TokenizerError> {
        match bos {
            Bos::None => Ok(Vec::new()),
            Bos::Model => Ok(self.prefix.clone()),
            Bos::Id(id) if self.piece(id).is_some() => Ok(vec![id]),
            Bos::Id(id) => Err(TokenizerError::UnknownId { id, vocab_size: self.vocab_size() }),
        }
    }

    /// Returns the text of `ids`; ids without a token (rows that pad an embedding) have none.
    ///
    /// A leading space is removed, since encoding adds one. Bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// Only for a hostile `tokenizer.json`, on which the library fails.
    pub fn decode(&self, ids: &[u32], special: Special) -> Result<String, TokenizerError> {
        match &self.backend {
            Backend::Json(json) => json.decode(ids, special),
            Backend::SentencePiece(model) => Ok(model.decode(ids, special)),
        }
    }

    /// Returns the token with this id as it stands in the vocabulary, e.g. `▁Hello` or `<0x0A>`.
    pub fn piece(&self, id: u32) -> Option<String> {
        match &self.backend {
            Backend::Json(json) => json.piece(id),
            Backend::SentencePiece(model) => model.piece(id).map(str::to_owned),
        }
    }

    /// Returns the id of the token that stands in the vocabulary as `piece`.
    pub fn id(&self, piece: &str) -> Option<u32> {
        match &self.backend {
            Backend::Json(json) => json.id(piece),
            Backend::SentencePiece(model) => model.id(piece),
        }
    }

    /// Returns the largest id plus one, added tokens included.
    pub fn vocab_size(&self) -> usize {
        match &self.backend {
            Backend::Json(json) => json.vocab_size(),
            Backend::SentencePiece(model) => model.vocab_size(),
        }
    }

    /// Returns the token that begins a text, `None` where none is defined.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Returns the token that ends a text, `None` where none is defined.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// Returns the token for what the vocabulary lacks, `None` where none is defined.
    pub fn unk_id(&self) -> Option<u32> {
        self.unk
    }

    /// Returns the token that fills up a batch, `None` where none is defined.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Returns whether the configuration asks for an end token behind each text. [`Tokenizer::encode`]
    /// never adds one: behind a prompt it would end the reply before it begins.
    pub fn adds_eos(&self) -> bool {
        !self.suffix.is_empty()
    }

    /// Returns which file is used.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns the file that decides the ids, with its sha256.
    pub fn file(&self) -> &FileIdentity {
        &self.file
    }

    /// Returns every file read: that one, and the configuration beside it.
    pub fn files(&self) -> impl Iterator<Item = &FileIdentity> {
        std::iter::once(&self.file).chain(&self.beside)
    }

    /// Returns what a reader should know: which of two files is used, defects of the configuration.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("source", &self.source)
            .field("vocab_size", &self.vocab_size())
            .field("prefix", &self.prefix)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

fn identity(path: &Path, bytes: &[u8]) -> FileIdentity {
    FileIdentity {
        name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        sha256: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: bytes.len() as u64,
    }
}

/// Reads a file of at most [`MAX_FILE_BYTES`].
fn read_capped(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    let failed = |source| TokenizerError::Read { path: PathBuf::from(path), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge { path: path.to_owned(), limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}
