//! Rows of a file as tokens: split, encoded, counted.

use std::sync::Mutex;

use rayon::prelude::*;

use super::{Begin, Data, Item, Layout, MicroBatch, Sampler, Split, Text, TrainError, recipe::End};
use crate::{
    corpus::{Encoding, Example, IGNORED, Row, Truncation, miniature::Document},
    llama::tokenizer::Tokenizer,
    protocol::Bos,
};

/// Rows of a validation batch.
///
/// Source: transformers' default.
const VALIDATION_ROWS: usize = 8;

/// Rows to train on and rows held out, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    /// To train on, in the order of the shuffled file.
    pub train: Vec<Item>,
    /// Held out.
    pub validation: Vec<Item>,
}

/// What the length limit did to some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Rows.
    pub rows: usize,
    /// Tokens.
    pub tokens: usize,
    /// Tokens that enter the loss in one pass.
    pub learnt: usize,
    /// Rows of which nothing is learnt.
    pub fully_masked: usize,
    /// Rows whose answer was cut.
    pub answer_cut: usize,
    /// Rows whose prompt was cut.
    pub prompt_cut: usize,
    /// Rows that fit, without their end token.
    pub end_cut: usize,
    /// Tokens of the longest row.
    pub longest: usize,
}

impl Dataset {
    /// Splits and encodes `rows`.
    ///
    /// # Errors
    ///
    /// [`TrainError::Row`] names the first row that has no tokens, [`TrainError::NoRows`] says that
    /// none is left to train on, [`TrainError::Tokenizer`] that the tokenizer failed.
    pub fn prepare(
        rows: &[Row],
        data: &Data,
        encoding: &Encoding,
        tokenizer: &Tokenizer,
    ) -> Result<Self, TrainError> {
        let none = TrainError::NoRows { rows: rows.len() };
        let split = Split::new(rows.len(), data.validation, data.seed).ok_or(none)?;
        let failure = Mutex::new(None);
        let tokenise = |text: &str| {
            tokenizer.encode_as(text, Bos::None, encoding.special_tokens).unwrap_or_else(|error| {
                failure.lock().expect("no thread panics here").get_or_insert(error);
                Vec::new()
            })
        };
        let encode = |row: &usize| {
            let example = encoding.encode(&rows[*row], tokenise);
            let example = example.map_err(|source| TrainError::Row { row: *row, source })?;
            Ok(Item { row: *row, example })
        };
        let encode = |places: &[usize]| {
            let found: Result<Vec<Item>, TrainError> = places.par_iter().map(encode).collect();
            match failure.lock().expect("no thread panics here").take() {
                Some(error) => Err(TrainError::Tokenizer(Box::new(error))),
                None => found,
            }
        };
        Ok(Self { train: encode(&split.train)?, validation: encode(&split.validation)? })
    }

    /// Encodes documents of which parts are learnt: BOS in front, and EOS, learnt as well, behind one
    /// that is learnt to its end. None is held out; `documents` are rows by their places.
    ///
    /// A token is learnt if the last of its bytes is.
    ///
    /// # Errors
    ///
    /// [`TrainError::Tokenizer`] that the tokenizer failed, [`TrainError::Token`] that it has no BOS or
    /// EOS, [`TrainError::Spelling`] that its tokens do not spell a document.
    pub fn of_documents(
        documents: &[&Document],
        tokenizer: &Tokenizer,
    ) -> Result<Self, TrainError> {
        let bos = tokenizer.bos_id().ok_or(TrainError::Token { what: "BOS" })?;
        let eos = tokenizer.eos_id().ok_or(TrainError::Token { what: "EOS" })?;
        let lens: Vec<usize> = (0..tokenizer.vocab_size())
            .map(|id| tokenizer.piece(u32::try_from(id).ok()?).map(|piece| spelt_bytes(&piece)))
            .map(Option::unwrap_or_default)
            .collect();
        let encode = |(row, document): (usize, &&Document)| {
            let Document { text, learnt } = *document;
            let failed = |error| TrainError::Tokenizer(Box::new(error));
            let mut ids = tokenizer.encode(text, Bos::Id(bos)).map_err(failed)?;
            let mut labels = vec![IGNORED; ids.len()];
            // The space that LLaMA's layout puts in front of a text counts for none of its bytes.
            let mut end = 0;
            for (label, id) in labels.iter_mut().zip(&ids).skip(1) {
                end += lens[*id as usize];
                let last = end.saturating_sub(2);
                if learnt.iter().any(|part| part.contains(&last)) {
                    *label = i64::from(*id);
                }
            }
            if end != text.len() + 1 {
                return Err(TrainError::Spelling { row });
            }
            if learnt.last().is_some_and(|part| part.end == text.len()) {
                ids.push(eos);
                labels.push(i64::from(eos));
            }
            Ok(Item { row, example: Example { ids, labels, truncation: Truncation::None } })
        };
        let train: Result<_, TrainError> = documents.par_iter().enumerate().map(encode).collect();
        Ok(Self { train: train?, validation: Vec::new() })
    }

    /// Refuses a token beyond the vocabulary of a network.
    ///
    /// # Errors
    ///
    /// [`TrainError::Vocabulary`] names the first row and its token.
    pub fn require_vocabulary(&self, vocab_size: usize) -> Result<(), TrainError> {
        let is_beyond = |id: &u32| usize::try_from(*id).map_or(true, |id| id >= vocab_size);
        let beyond = |item: &Item| {
            let token = item.example.ids.iter().copied().find(is_beyond)?;
            Some(TrainError::Vocabulary { row: item.row, token, vocab_size })
        };
        let items = self.train.iter().chain(&self.validation);
        match items.filter_map(|item| Some((item.row, beyond(item)?))).min_by_key(|(row, _)| *row) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Returns the number of tokens of each training row.
    pub fn lengths(&self) -> Vec<usize> {
        self.train.iter().map(|item| item.example.ids.len()).collect()
    }

    /// Returns the training rows at `places` as one micro-batch.
    ///
    /// # Panics
    ///
    /// If there is no such place.
    pub fn micro_batch(&self, places: &[usize], layout: impl Into<Layout>) -> MicroBatch {
        MicroBatch::new(places.iter().map(|place| &self.train[*place]), layout)
    }

    /// Returns the rows held out in batches of 8, in order.
    pub fn validation_batches(&self, layout: impl Into<Layout>) -> Vec<MicroBatch> {
        let layout = layout.into();
        let batches = self.validation.chunks(VALIDATION_ROWS);
        batches.map(|items| MicroBatch::new(items, layout)).collect()
    }

    /// Returns the most tokens of a validation batch.
    pub(super) fn most_validation_tokens(&self, layout: impl Into<Layout>) -> usize {
        let batches = self.validation_batches(layout);
        batches.iter().map(MicroBatch::tokens).max().unwrap_or(0)
    }

    /// Returns the sampler of the training rows.
    pub fn sampler(&self, data: &Data, rows_of_update: usize) -> Sampler {
        let group = data.group_by_length.then_some(rows_of_update);
        Sampler { era: data.order, seed: data.seed, group }
    }
}

/// Returns the bytes of text that a piece in LLaMA's layout stands for.
fn spelt_bytes(piece: &str) -> usize {
    match piece.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>')) {
        Some(hex) if hex.len() == 2 => 1,
        _ => piece.replace('▁', " ").len(),
    }
}

impl Counts {
    /// Counts `items`.
    pub fn of(items: &[Item]) -> Self {
        let mut counts = Self { rows: items.len(), ..Self::default() };
        for Item { example, .. } in items {
            let learnt = example.learnt();
            counts.tokens += example.ids.len();
            counts.longest = counts.longest.max(example.ids.len());
            counts.learnt += learnt;
            counts.fully_masked += usize::from(learnt == 0);
            match example.truncation {
                Truncation::None => {}
                Truncation::EndToken => counts.end_cut += 1,
                Truncation::Answer => counts.answer_cut += 1,
                Truncation::Prompt => counts.prompt_cut += 1,
            }
        }
        counts
    }

    /// Returns in words what the limit took from the rows, and of how many nothing is learnt; `None` if
    /// neither.
    pub fn cut(&self) -> Option<String> {
        let Self { fully_masked, answer_cut, prompt_cut, end_cut, .. } = *self;
        if fully_masked + answer_cut + prompt_cut + end_cut == 0 {
            return None;
        }
        Some(format!(
            "{answer_cut} in the answer, {prompt_cut} in the prompt, {end_cut} of their end token; of \
             {fully_masked} nothing is learnt"
        ))
    }
}

impl Text {
    /// Returns how rows are encoded with this tokenizer.
    ///
    /// # Errors
    ///
    /// [`TrainError::Token`] if a token is asked for that it does not declare.
    pub fn encoding(&self, tokenizer: &Tokenizer) -> Result<Encoding, TrainError> {
        let bos = || tokenizer.bos_id().ok_or(TrainError::Token { what: "BOS" });
        let eos = || tokenizer.eos_id().ok_or(TrainError::Token { what: "EOS" });
        Ok(Encoding {
            template: self.template,
            max_length: self.max_length,
            bos: match self.bos {
                Begin::Declared(true) => Some(bos()?),
                Begin::Declared(false) => None,
                Begin::Id { id } => Some(id),
            },
            eos: match self.end {
                End::Tokenizer => Some(eos()?),
                End::None => None,
                End::Id(id) => Some(id),
            },
            train_on_inputs: self.train_on_inputs,
            special_tokens: self.special_tokens == Some(true),
        })
    }
}
