//! `tokenizer.json` through the tokenizers library, fenced in.
//!
//! The file's truncation and padding are left out: a prompt is never cut, and transformers sets
//! both anew for each call as well.

use std::{path::Path, sync::OnceLock};

use tokenizers::{AddedToken, Tokenizer};

use super::{Special, TokenizerError, check, config::Declared, guard::fenced};

/// A tokenizer read from JSON.
pub(super) struct Json {
    /// Takes special tokens in a text as plain text.
    plain: Tokenizer,
    /// Finds them; made when first asked for.
    parsing: OnceLock<Tokenizer>,
    vocab_size: usize,
}

impl Json {
    /// Reads the `bytes` of the file at `path` and adds the tokens `declared` beside it.
    ///
    /// # Errors
    ///
    /// If the file is no tokenizer, or one on which the library would fail later.
    pub(super) fn new(
        bytes: &[u8],
        declared: &Declared,
        path: &Path,
    ) -> Result<Self, TokenizerError> {
        let parts: check::Parts = serde_json::from_slice(bytes)
            .map_err(|source| TokenizerError::Json { path: path.to_owned(), source })?;
        let unsound = |(field, why)| TokenizerError::Unsound { path: path.to_owned(), field, why };
        check::check(&parts).map_err(unsound)?;
        drop(parts);
        let mut plain = fenced("load the file", || Tokenizer::from_bytes(bytes))?;
        fenced("load the file", || plain.with_truncation(None).map(|_| ()))?;
        plain.with_padding(None);
        add_declared(&mut plain, declared).map_err(unsound)?;
        plain.set_encode_special_tokens(true);
        let ids = plain.get_vocab(true).into_values();
        let vocab_size = ids.max().map_or(0, |id| id as usize + 1);
        Ok(Self { plain, parsing: OnceLock::new(), vocab_size })
    }

    /// Returns the largest id plus one.
    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the id of a token written as `text`.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.plain.token_to_id(text)
    }

    /// Returns the token with this id as it stands in the vocabulary.
    pub(super) fn piece(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    /// Encodes `text` without the file's own additions in front and behind.
    pub(super) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizerError> {
        let tokenizer = if special { self.parsing() } else { &self.plain };
        fenced("encode", || Ok(tokenizer.encode_fast(text, false)?.get_ids().to_vec()))
    }

    /// Returns what the file's post-processor puts in front of a text and behind it.
    pub(super) fn additions(&self) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
        const PROBE: &str = "a";
        let bare = self.encode(PROBE, false)?;
        let full =
            fenced("encode", || Ok(self.plain.encode_fast(PROBE, true)?.get_ids().to_vec()))?;
        let at = (0..=full.len()).find(|&at| full[at..].starts_with(&bare)).unwrap_or(0);
        let behind = full.get(at + bare.len()..).unwrap_or_default();
        Ok((full[..at].to_vec(), behind.to_vec()))
    }

    /// Returns the text of `ids`.
    pub(super) fn decode(&self, ids: &[u32], special: Special) -> Result<String, TokenizerError> {
        fenced("decode", || self.plain.decode(ids, special == Special::Skip))
    }

    fn parsing(&self) -> &Tokenizer {
        self.parsing.get_or_init(|| {
            let mut parsing = self.plain.clone();
            parsing.set_encode_special_tokens(false);
            parsing
        })
    }
}

/// Adds what the files beside declare and the file itself lacks, as transformers does.
fn add_declared(tokenizer: &mut Tokenizer, declared: &Declared) -> Result<(), check::Fault> {
    let with_ids = declared.added.iter().map(|(&id, token)| (Some(id), token));
    for (wanted, token) in with_ids.chain(declared.named().map(|token| (None, token))) {
        let id = match tokenizer.token_to_id(&token.text) {
            Some(id) => id,
            None => {
                let added = AddedToken::from(token.text.clone(), token.special)
                    .lstrip(token.left_strip)
                    .rstrip(token.right_strip)
                    .single_word(token.single_word);
                fenced("add a token", || tokenizer.add_tokens([added]))
                    .map_err(|error| ("added_tokens", error.to_string()))?;
                tokenizer.token_to_id(&token.text).unwrap_or(u32::MAX)
            }
        };
        if let Some(wanted) = wanted.filter(|&wanted| wanted != id) {
            let why = format!("`{}` gets the id {id}, the files beside say {wanted}", token.text);
            return Err(("added_tokens", why));
        }
    }
    Ok(())
}
