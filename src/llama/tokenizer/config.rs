//! The small files beside a tokenizer: which tokens are special, and what stands before a text.
//!
//! `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` are read as
//! transformers reads them; where two name the same thing, the first in this list wins.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, de::DeserializeOwned};

use super::{TokenizerError, identity, read_capped};
use crate::store::FileIdentity;

/// What the files beside a tokenizer declare. A missing file declares nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) bos: Option<Token>,
    pub(super) eos: Option<Token>,
    pub(super) unk: Option<Token>,
    pub(super) pad: Option<Token>,
    /// Further special tokens, in order.
    pub(super) others: Vec<Token>,
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
    pub(super) add_prefix_space: Option<bool>,
    pub(super) legacy: Option<bool>,
    /// Tokens with an id of their own.
    pub(super) added: BTreeMap<u32, Token>,
    /// The files that were there.
    pub(super) files: Vec<FileIdentity>,
}

/// A token as the files write it: a text, or a text with its manners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) special: bool,
    /// Swallows white space before it.
    pub(super) left_strip: bool,
    /// Swallows white space after it.
    pub(super) right_strip: bool,
    pub(super) single_word: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Full {
        content: String,
        #[serde(default)]
        special: bool,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
    },
}

impl Written {
    fn token(self, named_special: bool) -> Token {
        match self {
            Self::Text(text) => Token {
                text,
                special: named_special,
                left_strip: false,
                right_strip: false,
                single_word: false,
            },
            Self::Full { content, special, lstrip, rstrip, single_word } => Token {
                text: content,
                special: special || named_special,
                left_strip: lstrip,
                right_strip: rstrip,
                single_word,
            },
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamedTokens {
    bos_token: Option<Written>,
    eos_token: Option<Written>,
    unk_token: Option<Written>,
    pad_token: Option<Written>,
    sep_token: Option<Written>,
    cls_token: Option<Written>,
    mask_token: Option<Written>,
    additional_special_tokens: Option<Vec<Written>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    #[serde(flatten)]
    named: NamedTokens,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    add_prefix_space: Option<bool>,
    legacy: Option<bool>,
    added_tokens_decoder: BTreeMap<u32, Written>,
}

/// Reads the files beside a tokenizer in `folder`.
///
/// # Errors
///
/// If one is there but cannot be read or is not of its form.
pub(super) fn read(folder: &Path) -> Result<Declared, TokenizerError> {
    let mut files = Vec::new();
    let config: TokenizerConfig = optional(&folder.join("tokenizer_config.json"), &mut files)?;
    let map: NamedTokens = optional(&folder.join("special_tokens_map.json"), &mut files)?;
    let added: BTreeMap<String, u32> = optional(&folder.join("added_tokens.json"), &mut files)?;
    let NamedTokens { sep_token, cls_token, mask_token, additional_special_tokens, .. } = map;
    let first = |ours: Option<Written>, theirs: Option<Written>| {
        ours.or(theirs).map(|written| written.token(true))
    };
    let named = config.named;
    let mut declared = Declared {
        bos: first(named.bos_token, map.bos_token),
        eos: first(named.eos_token, map.eos_token),
        unk: first(named.unk_token, map.unk_token),
        pad: first(named.pad_token, map.pad_token),
        others: [
            first(named.sep_token, sep_token),
            first(named.cls_token, cls_token),
            first(named.mask_token, mask_token),
        ]
        .into_iter()
        .flatten()
        .collect(),
        add_bos: config.add_bos_token,
        add_eos: config.add_eos_token,
        add_prefix_space: config.add_prefix_space,
        legacy: config.legacy,
        added: config
            .added_tokens_decoder
            .into_iter()
            .map(|(id, t)| (id, t.token(false)))
            .collect(),
        files,
    };
    let more = named.additional_special_tokens.or(additional_special_tokens);
    declared.others.extend(more.into_iter().flatten().map(|written| written.token(true)));
    for (text, id) in added {
        let special = declared.named().any(|token| token.text == text);
        declared.added.entry(id).or_insert_with(|| Written::Text(text).token(special));
    }
    Ok(declared)
}

impl Declared {
    /// Returns every token that is named special, in the order transformers would add them.
    pub(super) fn named(&self) -> impl Iterator<Item = &Token> {
        let main = [&self.bos, &self.eos, &self.unk, &self.pad].into_iter().flatten();
        main.chain(&self.others).filter(|token| !token.text.is_empty())
    }
}

fn optional<T: Default + DeserializeOwned>(
    path: &Path,
    files: &mut Vec<FileIdentity>,
) -> Result<T, TokenizerError> {
    if !path.exists() {
        return Ok(T::default());
    }
    let bytes = read_capped(path)?;
    files.push(identity(path, &bytes));
    serde_json::from_slice(&bytes)
        .map_err(|source| TokenizerError::Json { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn both_ways_to_write_a_token_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "tokenizer_config.json",
            r#"{"bos_token": {"content": "<s>", "lstrip": true}, "eos_token": "</s>", "unk_token": null,
                "add_bos_token": true, "added_tokens_decoder": {"7": {"content": "x"}}, "other": [1]}"#,
        );
        write("special_tokens_map.json", r#"{"eos_token": "<e>", "pad_token": "[PAD]"}"#);
        write("added_tokens.json", r#"{"[PAD]": 9, "y": 7}"#);
        let declared = read(folder.path()).unwrap();
        let text = |token: &Option<Token>| token.as_ref().map(|token| token.text.clone());
        assert_eq!(text(&declared.bos).as_deref(), Some("<s>"));
        assert!(declared.bos.as_ref().unwrap().left_strip);
        assert_eq!(text(&declared.eos).as_deref(), Some("</s>"));
        assert_eq!(text(&declared.unk), None);
        assert_eq!(text(&declared.pad).as_deref(), Some("[PAD]"));
        assert_eq!(declared.add_bos, Some(true));
        assert_eq!(declared.added[&7].text, "x");
        assert!(declared.added[&9].special, "named as pad_token");
    }

    #[test]
    fn an_absent_file_declares_nothing_and_a_broken_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Declared::default());
        fs::write(folder.path().join("added_tokens.json"), "[1]").unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("added_tokens.json"), "{error}");
    }
}
