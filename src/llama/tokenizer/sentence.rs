//! SentencePiece's way from text to ids and back, on the BPE model of the tokenizers library.
//!
//! Before merging: a leading space (dummy prefix), spaces as `▁`, user-defined symbols cut out.
//! Ids are those of google/sentencepiece for every text (compared on fuzzed strings by
//! `golden/make/tokens.py`), with special tokens of the files beside the model on top.

use std::{borrow::Cow, collections::HashMap, path::Path};

use regex::Regex;
use tokenizers::{Model as _, models::bpe::BPE};

use super::{
    Special, TokenizerError,
    config::{Declared, Token},
    guard::fenced,
    merges,
    proto::{Kind, Model, Normalizer},
};

/// SentencePiece's mark of a space.
const SPACE: char = '\u{2581}';

/// A SentencePiece BPE model with the special tokens declared beside it.
pub(super) struct SentencePiece {
    bpe: BPE,
    /// By id; added tokens behind the model's own.
    tokens: Vec<Option<Entry>>,
    ids: HashMap<String, u32>,
    normalizer: Normalizer,
    user_defined: Option<Regex>,
    /// Finds added tokens that are always one token.
    plain: Option<Regex>,
    /// Finds these and special tokens.
    special: Option<Regex>,
    /// Whether no piece goes on behind a space, so that words can be merged one by one.
    by_word: bool,
    /// Whether each text behind a special token gets a leading space again.
    legacy: bool,
}

/// One token of the vocabulary.
struct Entry {
    text: String,
    kind: Kind,
    left_strip: bool,
    right_strip: bool,
}

/// A stretch of the text to encode.
enum Section<'a> {
    Text(&'a str),
    Token(u32),
}

impl SentencePiece {
    /// Builds the tokenizer of `model` with the tokens that are `declared` beside it.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::Unsupported`] for anything that could not be reproduced exactly.
    pub(super) fn new(
        model: Model,
        declared: &Declared,
        path: &Path,
    ) -> Result<Self, TokenizerError> {
        let unsupported =
            |what: String| TokenizerError::Unsupported { path: path.to_owned(), what };
        refuse(&model).map_err(unsupported)?;
        let bpe = merges::bpe(&model, path)?;
        let by_word = by_word(&model);
        let user_defined =
            model.pieces.iter().filter(|piece| piece.kind == Kind::UserDefined).map(|p| &*p.text);
        let user_defined = any_of(user_defined).map_err(unsupported)?;
        let mut this = Self {
            bpe,
            ids: HashMap::new(),
            tokens: Vec::new(),
            normalizer: model.normalizer,
            user_defined,
            plain: None,
            special: None,
            by_word,
            legacy: declared.legacy.unwrap_or(true),
        };
        if !this.legacy && declared.add_prefix_space == Some(false) {
            this.normalizer.dummy_prefix = false;
        }
        for (id, piece) in (0_u32..).zip(model.pieces) {
            this.ids.insert(piece.text.clone(), id);
            this.tokens.push(Some(Entry {
                text: piece.text,
                kind: piece.kind,
                left_strip: false,
                right_strip: false,
            }));
        }
        this.add_declared(declared).map_err(unsupported)?;
        Ok(this)
    }

    /// Adds the tokens of the files beside the model, as transformers does: those with an id
    /// first, then named special tokens that have none, at the end of the vocabulary.
    fn add_declared(&mut self, declared: &Declared) -> Result<(), String> {
        for (&id, token) in &declared.added {
            self.add(id, token)?;
        }
        for token in declared.named() {
            let next =
                || u32::try_from(self.tokens.len()).map_err(|_| "too many tokens".to_owned());
            let id = self.ids.get(&token.text).copied().map_or_else(next, Ok)?;
            self.add(id, token)?;
        }
        let of = |wanted: fn(Kind) -> bool| {
            let tokens = self.tokens.iter().flatten();
            // The model's own user-defined pieces are matched behind the normalizer.
            any_of(tokens.filter(|entry| wanted(entry.kind)).map(|entry| &*entry.text))
        };
        let own = self.user_defined.is_some();
        self.special = of(|kind| matches!(kind, Kind::Control | Kind::Unknown))?;
        if declared.added.values().any(|token| !token.special) {
            if own {
                return Err("user-defined pieces and added tokens in one vocabulary".into());
            }
            self.plain = of(|kind| kind == Kind::UserDefined)?;
            self.special =
                of(|kind| matches!(kind, Kind::Control | Kind::Unknown | Kind::UserDefined))?;
        }
        Ok(())
    }

    fn add(&mut self, id: u32, token: &Token) -> Result<(), String> {
        if token.single_word {
            return Err(format!("the token `{}` as a single word", token.text));
        }
        if token.text.is_empty() {
            return Ok(());
        }
        if let Some(&other) = self.ids.get(&token.text).filter(|&&other| other != id) {
            return Err(format!("the token `{}` with id {other} and with id {id}", token.text));
        }
        let index = usize::try_from(id).expect("u32 fits usize");
        if index >= super::MAX_TOKENS {
            return Err(format!("token id {id}"));
        }
        if index >= self.tokens.len() {
            self.tokens.resize_with(index + 1, || None);
        }
        let slot = &mut self.tokens[index];
        if let Some(entry) = slot.as_ref().filter(|entry| entry.text != token.text) {
            return Err(format!("two tokens, `{}` and `{}`, with id {id}", entry.text, token.text));
        }
        let kind = match slot {
            Some(Entry { kind: kind @ (Kind::Control | Kind::Unknown), .. }) => *kind,
            _ if token.special => Kind::Control,
            Some(Entry { kind, .. }) => *kind,
            None => Kind::UserDefined,
        };
        *slot = Some(Entry {
            text: token.text.clone(),
            kind,
            left_strip: token.left_strip,
            right_strip: token.right_strip,
        });
        self.ids.insert(token.text.clone(), id);
        Ok(())
    }

    /// Returns the number of ids, gaps between added tokens included.
    pub(super) fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the id of a token written as `text`.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// Returns the token with this id as it stands in the vocabulary, `▁` for a space.
    pub(super) fn piece(&self, id: u32) -> Option<&str> {
        self.entry(id).map(|entry| &*entry.text)
    }

    fn entry(&self, id: u32) -> Option<&Entry> {
        self.tokens.get(usize::try_from(id).ok()?)?.as_ref()
    }

    /// Encodes `text`; special tokens in it are found only if `special` says so.
    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::with_capacity(text.len() / 3);
        let matcher = if special { &self.special } else { &self.plain };
        for (at, section) in self.sections(text, matcher.as_ref()).into_iter().enumerate() {
            match section {
                Section::Token(id) => ids.push(id),
                Section::Text(text) => {
                    let prefix = self.normalizer.dummy_prefix && (self.legacy || at == 0);
                    self.encode_section(&self.normalize(text, prefix), &mut ids)?;
                }
            }
        }
        Ok(ids)
    }

    fn sections<'a>(&self, text: &'a str, matcher: Option<&Regex>) -> Vec<Section<'a>> {
        let Some(matcher) = matcher else { return vec![Section::Text(text)] };
        let mut sections = Vec::new();
        let mut rest = 0;
        for found in matcher.find_iter(text) {
            let id = self.ids[found.as_str()];
            let entry = self.entry(id).expect("each id of the map is in the list");
            let mut before = text.get(rest..found.start()).unwrap_or_default();
            rest = found.end();
            if entry.left_strip {
                before = before.trim_end();
            }
            if entry.right_strip {
                rest += text[rest..].len() - text[rest..].trim_start().len();
            }
            if !before.is_empty() {
                sections.push(Section::Text(before));
            }
            sections.push(Section::Token(id));
        }
        if let Some(text) = text.get(rest..).filter(|text| !text.is_empty()) {
            sections.push(Section::Text(text));
        }
        sections
    }

    /// Returns `text` as SentencePiece's normalizer leaves it.
    fn normalize(&self, text: &str, prefix: bool) -> String {
        let text = if self.normalizer.remove_extra_whitespaces {
            self.squeeze(text)
        } else {
            Cow::Borrowed(text)
        };
        let mut normalized = String::with_capacity(text.len() * 3 / 2 + 3);
        if prefix && !text.is_empty() {
            normalized.push(SPACE);
        }
        normalized.extend(text.chars().map(|c| if c == ' ' { SPACE } else { c }));
        if self.normalizer.remove_extra_whitespaces {
            // A `▁` that the text itself ends in goes the way of a space.
            normalized.truncate(normalized.trim_end_matches(SPACE).len());
        }
        normalized
    }

    /// Removes spaces at both ends and all but one between; user-defined symbols stay whole.
    fn squeeze<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut squeezed = String::with_capacity(text.len());
        let mut after_space = true;
        let mut push = |part: &str| {
            let part = if after_space { part.trim_start_matches(' ') } else { part };
            if !part.is_empty() {
                squeezed.push_str(part);
                after_space = part.ends_with(' ');
            }
        };
        let mut rest = 0;
        let mut character = [0; 4];
        let symbols = self.user_defined.iter().flat_map(|symbols| symbols.find_iter(text));
        for found in symbols {
            for c in text[rest..found.start()].chars() {
                push(c.encode_utf8(&mut character));
            }
            push(found.as_str());
            rest = found.end();
        }
        for c in text[rest..].chars() {
            push(c.encode_utf8(&mut character));
        }
        Cow::Owned(squeezed)
    }

    /// Appends the ids of a normalized text.
    fn encode_section(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let mut rest = 0;
        for found in self.user_defined.iter().flat_map(|symbols| symbols.find_iter(text)) {
            self.merge(&text[rest..found.start()], ids)?;
            ids.push(self.ids[found.as_str()]);
            rest = found.end();
        }
        self.merge(&text[rest..], ids)
    }

    fn merge(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        fenced("encode", || {
            let mut rest = text;
            while !rest.is_empty() {
                let word = if self.by_word { first_word(rest) } else { rest };
                ids.extend(self.bpe.tokenize(word)?.into_iter().map(|token| token.id));
                rest = &rest[word.len()..];
            }
            Ok(())
        })
    }

    /// Returns the text of `ids`; bytes that are no UTF-8 become U+FFFD, one each.
    pub(super) fn decode(&self, ids: &[u32], special: Special) -> String {
        let mut text = String::new();
        let mut bytes = Vec::new();
        for entry in ids.iter().filter_map(|&id| self.entry(id)) {
            match entry.kind {
                Kind::Byte => {
                    bytes.extend(byte_of(&entry.text));
                    continue;
                }
                Kind::Control | Kind::Unknown if special == Special::Skip => continue,
                _ => {}
            }
            push_bytes(&mut text, &mut bytes);
            text.extend(entry.text.chars().map(|c| if c == SPACE { ' ' } else { c }));
        }
        push_bytes(&mut text, &mut bytes);
        let Normalizer { dummy_prefix, remove_extra_whitespaces, .. } = self.normalizer;
        if remove_extra_whitespaces {
            text.drain(..text.len() - text.trim_start_matches(' ').len());
        } else if dummy_prefix && text.starts_with(' ') {
            text.remove(0);
        }
        text
    }
}

/// Refuses what is not done here, by name.
fn refuse(model: &Model) -> Result<(), String> {
    match model.trainer.model_type {
        2 => {}
        1 => return Err("a unigram model".into()),
        3 => return Err("a word model".into()),
        4 => return Err("a character model".into()),
        other => return Err(format!("a model of type {other}")),
    }
    if model.normalizer.has_charsmap {
        return Err(format!("the text normalization `{}`", model.normalizer.name));
    }
    if model.denormalizes {
        return Err("denormalization".into());
    }
    if !model.normalizer.escape_whitespaces {
        return Err("spaces that are not escaped".into());
    }
    if model.trainer.whitespace_as_suffix {
        return Err("spaces at the end of words".into());
    }
    match model.pieces.iter().find(|piece| piece.kind == Kind::Unused) {
        Some(piece) => Err(format!("the unused piece `{}`", piece.text)),
        None => Ok(()),
    }
}

/// Returns whether every piece that holds a space begins with its spaces, so that no merge
/// reaches over the start of a word.
fn by_word(model: &Model) -> bool {
    let normal = || model.pieces.iter().filter(|piece| piece.kind == Kind::Normal);
    normal().any(|piece| piece.text.chars().eq([SPACE]))
        && normal().all(|piece| !piece.text.trim_start_matches(SPACE).contains(SPACE))
}

/// Returns the spaces and the word that a non-empty normalized text begins with.
fn first_word(text: &str) -> &str {
    let word = text.trim_start_matches(SPACE);
    let end = word.find(SPACE).unwrap_or(word.len());
    &text[..text.len() - word.len() + end]
}

/// Returns a pattern that finds the leftmost, longest of these texts; `None` if there are none.
fn any_of<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Option<Regex>, String> {
    let mut texts: Vec<&str> = texts.collect();
    // The first alternative wins in a regular expression.
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    if texts.is_empty() {
        return Ok(None);
    }
    let pattern: Vec<_> = texts.into_iter().map(regex::escape).collect();
    let pattern = Regex::new(&pattern.join("|")).map_err(|_| "so many added tokens".to_owned())?;
    Ok(Some(pattern))
}

/// Returns the byte of a piece like `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    u8::from_str_radix(piece.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// Appends the collected bytes as text and forgets them.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    bytes.clear();
}
