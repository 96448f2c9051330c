//! From text to token ids and labels: what enters the loss, and what does not.
//!
//! Follows MedAlpaca's `handler.py` (63448c5) by default: prompt and answer are tokenised as one
//! text, cut at `max_length`, closed with EOS if there is room; with `train_on_inputs` off, as many
//! leading labels are masked as the prompt alone has tokens, which is exact where the prompt's last
//! token cannot merge with the answer's first (a line break) and is counted from the same text in
//! any case.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Row, Template};

/// Label of a position that does not enter the loss.
pub const IGNORED: i64 = -100;

/// How rows become token ids and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// Prompt format.
    pub template: Template,
    /// Longest sequence, BOS and EOS included.
    pub max_length: usize,
    /// Id put before the text; `None` for none.
    pub bos: Option<u32>,
    /// Id put behind the answer where there is room and the text does not end in it already.
    pub eos: Option<u32>,
    /// Whether the prompt's tokens are learnt too.
    pub train_on_inputs: bool,
    /// Whether special tokens written in a text are those tokens (`encode`'s `tokenise` finds them).
    pub special_tokens: bool,
}

/// What the length limit did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truncation {
    /// Nothing; the row fits with its EOS.
    None,
    /// The text fits, its EOS does not.
    EndToken,
    /// The answer was cut.
    Answer,
    /// The prompt itself was cut: no answer is left.
    Prompt,
}

/// A row as the network sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each id the label at its place (not shifted), [`IGNORED`] where masked.
    pub labels: Vec<i64>,
    /// What the length limit did.
    pub truncation: Truncation,
}

impl Example {
    /// Returns how many positions enter the loss: those with a label behind the first position.
    pub fn learnt(&self) -> usize {
        self.labels.iter().skip(1).filter(|label| **label != IGNORED).count()
    }
}

/// Why a row cannot be encoded.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodingError {
    /// Instruction, input and output are all empty.
    #[error("instruction, input and output are all empty")]
    EmptyRow,
    /// The tokenizer made no token of it.
    #[error("the text has no token")]
    NoToken,
}

impl Encoding {
    /// Returns ids and labels of `row`; `tokenise` gives the ids of a text without BOS and EOS.
    ///
    /// # Errors
    ///
    /// [`EncodingError`] if there is nothing to encode.
    pub fn encode(
        &self,
        row: &Row,
        tokenise: impl Fn(&str) -> Vec<u32>,
    ) -> Result<Example, EncodingError> {
        if row.instruction.is_empty() && row.input.is_empty() && row.output.is_empty() {
            return Err(EncodingError::EmptyRow);
        }
        let text = self.template.render(row);
        let with_bos =
            |text: &str| -> Vec<u32> { self.bos.into_iter().chain(tokenise(text)).collect() };
        let mut ids = with_bos(&format!("{}{}", text.prompt, text.answer));
        if ids.len() == usize::from(self.bos.is_some()) {
            return Err(EncodingError::NoToken);
        }
        let prompt = with_bos(&text.prompt).len();
        let mut truncation = match ids.len() {
            whole if whole <= self.max_length => Truncation::None,
            _ if prompt >= self.max_length => Truncation::Prompt,
            _ => Truncation::Answer,
        };
        ids.truncate(self.max_length);
        if let Some(eos) = self.eos.filter(|eos| ids.last() != Some(eos)) {
            if ids.len() < self.max_length {
                ids.push(eos);
            } else if truncation == Truncation::None {
                truncation = Truncation::EndToken;
            }
        }
        // Thousands of long rows are held, each cut: what was cut is given back.
        ids.shrink_to_fit();
        let masked = if self.train_on_inputs { 0 } else { prompt.min(self.max_length) };
        let label = |(index, id): (usize, &u32)| {
            if index < masked { IGNORED } else { i64::from(*id) }
        };
        let labels = ids.iter().enumerate().map(label).collect();
        Ok(Example { ids, labels, truncation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One id a character: enough to see what is cut and masked.
    fn characters(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn row() -> Row {
        Row { instruction: "Name it.".into(), output: "Aspirin".into(), ..Row::default() }
    }

    fn encoding(max_length: usize) -> Encoding {
        Encoding {
            template: Template::Medalpaca,
            max_length,
            bos: None,
            eos: Some(2),
            train_on_inputs: false,
            special_tokens: false,
        }
    }

    fn prompt_length() -> usize {
        characters(&Template::Medalpaca.render(&row()).prompt).len()
    }

    #[test]
    fn only_answer_and_end_are_learnt() {
        let example = encoding(1000).encode(&row(), characters).expect("encodes");
        assert_eq!(example.truncation, Truncation::None);
        assert_eq!(example.ids.last(), Some(&2));
        assert_eq!(example.learnt(), "Aspirin".len() + 1);
        assert!(example.labels[..prompt_length()].iter().all(|label| *label == IGNORED));
    }

    #[test]
    fn a_full_sequence_has_no_end_token() {
        let exact = prompt_length() + "Aspirin".len();
        let example = encoding(exact).encode(&row(), characters).expect("encodes");
        assert_eq!(example.truncation, Truncation::EndToken);
        assert_eq!(example.ids.last(), Some(&u32::from('n')));
    }

    #[test]
    fn a_long_prompt_leaves_nothing_to_learn() {
        let example = encoding(prompt_length()).encode(&row(), characters).expect("encodes");
        assert_eq!((example.truncation, example.learnt()), (Truncation::Prompt, 0));
        let example = encoding(prompt_length() + 2).encode(&row(), characters).expect("encodes");
        assert_eq!((example.truncation, example.learnt()), (Truncation::Answer, 2));
    }

    #[test]
    fn everything_is_learnt_when_inputs_are() {
        let all = Encoding { train_on_inputs: true, bos: Some(1), ..encoding(1000) };
        let example = all.encode(&row(), characters).expect("encodes");
        assert_eq!(example.ids[0], 1);
        assert_eq!(example.learnt(), example.ids.len() - 1);
    }

    #[test]
    fn an_empty_row_is_refused() {
        let error = encoding(10).encode(&Row::default(), characters);
        assert_eq!(error, Err(EncodingError::EmptyRow));
    }
}
