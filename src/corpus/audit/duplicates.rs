//! Rows seen before: byte for byte, word for word, nearly, or with another answer.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::{
    Check,
    minhash::{Leaders, MinHash},
};
use crate::corpus::{
    Row,
    words::{folded, words},
};

type Key = [u8; 16];

/// What was seen so far.
pub(super) struct Seen {
    near: f64,
    exact: HashMap<Key, usize>,
    worded: HashMap<Key, usize>,
    questions: HashMap<Key, (usize, Key)>,
    leaders: Leaders,
}

impl Seen {
    pub(super) fn new(near: f64) -> Self {
        let (exact, worded, questions) = Default::default();
        Self { near, exact, worded, questions, leaders: Leaders::default() }
    }

    /// Returns the kinds of duplicate that row `number` is, each with the earlier row. A row counts
    /// once as a duplicate: exact, else same words, else near.
    pub(super) fn add(&mut self, number: usize, row: &Row) -> Vec<(Check, usize)> {
        let mut found = Vec::new();
        let texts = [&row.instruction, &row.input, &row.output].map(|field| folded(field));
        let worded = key(texts.iter().map(|text| words(text).collect::<Vec<_>>().join(" ")));
        let question = key(texts[..2].iter().map(|text| words(text).collect::<Vec<_>>().join(" ")));
        let answer = key([words(&texts[2]).collect::<Vec<_>>().join(" ")].into_iter());
        match self.questions.get(&question) {
            Some((first, other)) if *other != answer => found.push((Check::Conflicting, *first)),
            Some(_) => {}
            None => drop(self.questions.insert(question, (number, answer))),
        }
        let exact = key([&row.instruction, &row.input, &row.output].into_iter().cloned());
        if let Some(first) = self.exact.get(&exact) {
            found.push((Check::ExactDuplicate, *first));
            return found;
        }
        self.exact.insert(exact, number);
        if let Some(first) = self.worded.get(&worded) {
            found.push((Check::SameWords, *first));
            return found;
        }
        self.worded.insert(worded, number);
        // The instruction is often the same for a whole source, and would make all rows alike.
        let compared = if row.input.trim().is_empty() { [0, 2] } else { [1, 2] };
        let signature = MinHash::of(compared.iter().flat_map(|field| words(&texts[*field])));
        let first = signature.and_then(|it| self.leaders.find_or_keep(number, it, self.near));
        found.extend(first.map(|first| (Check::NearDuplicate, first)));
        found
    }
}

/// A digest of texts that keeps them apart.
fn key(texts: impl Iterator<Item = String>) -> Key {
    let mut digest = Sha256::new();
    for text in texts {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text.as_bytes());
    }
    let mut key = Key::default();
    key.copy_from_slice(&digest.finalize()[..16]);
    key
}
