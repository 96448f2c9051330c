//! A tokenizer learnt from texts: byte-pair encoding in the layout of LLaMA's `tokenizer.json`.
//!
//! Pairs are counted within words: a word is a run of letters, a digit or another sign, each with
//! the space before it; so no merge crosses a border of words, and the file needs no rule that
//! splits a text. A line break is a byte of the fallback, as in LLaMA. The same texts give the same
//! file on every machine: of pairs equally frequent the one of the smaller ids is merged first, as
//! the tokenizers library does (golden: `golden/tokenizer/learnt.json`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Tokens before those that are learnt: `<unk>`, `<s>`, `</s>` and 256 bytes.
const RESERVED: usize = 3 + 256;

/// Occurrences that a pair needs to be merged.
const FEWEST: u64 = 3;

/// What LLaMA writes for a space.
const SPACE: char = '▁';

/// Learns `vocab_size` tokens, or as many as the texts give, and returns `tokenizer.json`.
///
/// The first 259 are LLaMA's: `<unk>`, `<s>`, `</s>` and a token for each byte, which anything
/// unseen falls back to; then the characters of the texts in the order of Unicode, then the merges.
///
/// # Examples
///
/// ```
/// use medharness::llama::tokenizer::learn;
///
/// let file = learn(["a pear, a pear and a pear"], 300);
/// assert_eq!(file["model"]["vocab"]["<s>"], 1);
/// assert!(file["model"]["vocab"]["▁pear"].is_u64());
/// ```
pub fn learn<T: AsRef<str>>(texts: impl IntoIterator<Item = T>, vocab_size: usize) -> Value {
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for text in texts {
        for line in text.as_ref().lines() {
            let line = format!("{SPACE}{}", line.replace(' ', &SPACE.to_string()));
            for word in split(&line) {
                *words.entry(word.to_owned()).or_default() += 1;
            }
        }
    }
    let alphabet: BTreeSet<char> = words.keys().flat_map(|word| word.chars()).collect();
    let mut pieces: Vec<String> = alphabet.iter().map(char::to_string).collect();
    let places: BTreeMap<char, usize> = alphabet.iter().copied().zip(0..).collect();
    let mut words: Vec<(Vec<usize>, u64)> = words
        .iter()
        .map(|(word, count)| (word.chars().map(|c| places[&c]).collect(), *count))
        .collect();
    let mut merges: Vec<[String; 2]> = Vec::new();
    let mut pairs: Pairs = BTreeMap::new();
    words.iter().for_each(|(word, count)| tally(word, |total| *total += count, &mut pairs));
    while RESERVED + pieces.len() < vocab_size {
        // Of equals the first: `max_by_key` would take the last.
        let best = pairs.iter().rev().max_by_key(|(_, count)| **count);
        let best = best.filter(|(_, count)| **count >= FEWEST);
        let Some(&(left, right)) = best.map(|(pair, _)| pair) else { break };
        let joined = format!("{}{}", pieces[left], pieces[right]);
        merges.push([pieces[left].clone(), pieces[right].clone()]);
        // Two pairs may spell the same piece.
        let place = pieces.iter().position(|piece| *piece == joined).unwrap_or_else(|| {
            pieces.push(joined);
            pieces.len() - 1
        });
        for (word, count) in &mut words {
            if word.windows(2).any(|pair| pair == [left, right]) {
                tally(word, |total| *total -= *count, &mut pairs);
                merge(word, (left, right), place);
                tally(word, |total| *total += *count, &mut pairs);
            }
        }
    }
    file(&pieces, &merges)
}

/// How often pairs of pieces stand side by side.
type Pairs = BTreeMap<(usize, usize), u64>;

/// Changes the counts of a word's pairs.
fn tally(word: &[usize], change: impl Fn(&mut u64), pairs: &mut Pairs) {
    for pair in word.windows(2) {
        change(pairs.entry((pair[0], pair[1])).or_default());
    }
}

/// Returns the words of a line in which spaces are [`SPACE`].
fn split(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let space = if rest.starts_with(SPACE) { SPACE.len_utf8() } else { 0 };
        let body = &rest[space..];
        let first = body.chars().next().filter(|c| *c != SPACE);
        let len = match first {
            Some(c) if c.is_alphabetic() => {
                body.find(|c: char| !c.is_alphabetic()).unwrap_or(body.len())
            }
            Some(c) => c.len_utf8(),
            None => 0,
        };
        let (word, behind) = rest.split_at(space + len);
        words.push(word);
        rest = behind;
    }
    words
}

/// Replaces every `pair` of a word by `joined`, from the left.
fn merge(word: &mut Vec<usize>, pair: (usize, usize), joined: usize) {
    let mut at = 0;
    while at + 1 < word.len() {
        if (word[at], word[at + 1]) == pair {
            word[at] = joined;
            word.remove(at + 1);
        }
        at += 1;
    }
}

/// Source of the layout: `tokenizer.json` that transformers writes for `LlamaTokenizer`.
fn file(pieces: &[String], merges: &[[String; 2]]) -> Value {
    const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
    let bytes = (0..=u8::MAX).map(|byte| format!("<0x{byte:02X}>"));
    let all = SPECIAL.map(str::to_owned).into_iter().chain(bytes).chain(pieces.iter().cloned());
    let vocabulary: serde_json::Map<String, Value> =
        all.zip(0_u32..).map(|(piece, id)| (piece, json!(id))).collect();
    let special = |(id, text): (usize, &&str)| {
        json!({
            "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    let added: Vec<Value> = SPECIAL.iter().enumerate().map(special).collect();
    let bos = |kind: u8| json!({ "SpecialToken": { "id": "<s>", "type_id": kind } });
    let text = |id: &str, kind: u8| json!({ "Sequence": { "id": id, "type_id": kind } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": SPACE },
            { "type": "Replace", "pattern": { "String": " " }, "content": SPACE },
        ] },
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos(0), text("A", 0)],
            "pair": [bos(0), text("A", 0), bos(1), text("B", 1)],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } },
        },
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": SPACE }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ] },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": "<unk>",
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": true,
            "byte_fallback": true,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    })
}

/// Returns `tokenizer_config.json` beside the file: LLaMA's BOS, EOS and unknown token; padding is
/// the unknown token, as MedAlpaca's script and alpaca-lora set it (id 0).
pub fn learnt_config(context: usize) -> Value {
    json!({
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
        "add_bos_token": true,
        "add_eos_token": false,
        "legacy": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": context,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_the_space_before_them() {
        assert_eq!(split("▁a▁5-HT▁▁(b)"), ["▁a", "▁5", "-", "HT", "▁", "▁(", "b", ")"]);
    }

    #[test]
    fn a_run_is_merged_from_the_left() {
        let mut word = vec![1, 1, 1, 2];
        merge(&mut word, (1, 1), 9);
        assert_eq!(word, [9, 1, 2]);
    }

    #[test]
    fn of_equally_frequent_pairs_the_smaller_ids_are_merged_first() {
        let file = learn(["ab cd ab cd ab cd"], 259 + 5 + 1);
        assert_eq!(file["model"]["merges"], json!([["a", "b"]]));
    }
}
