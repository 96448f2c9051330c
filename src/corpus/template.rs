//! How a row becomes one text: the prompt formats that models were trained with.
//!
//! Sources: MedAlpaca 63448c5 (`prompt_templates/medalpaca.json`, `handler.py`); Stanford Alpaca
//! 761dc5b (`train.py`); alpaca-lora 8bb8579 (`templates/alpaca.json`). The three share their
//! wording and differ in what they do when there is no input.

use serde::{Deserialize, Serialize};

use super::Row;

const WITH_INPUT: &str = "Below is an instruction that describes a task, paired with an input \
    that provides further context. Write a response that appropriately completes the request.";
const WITHOUT_INPUT: &str = "Below is an instruction that describes a task. Write a response \
    that appropriately completes the request.";

/// A prompt format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// Every header always stands, also above an empty input.
    Medalpaca,
    /// Another opening sentence and no input header where the input is empty; the prompt ends in
    /// `### Response:` without a line break (Stanford).
    Alpaca,
    /// As [`Template::Alpaca`], but the prompt ends in a line break (alpaca-lora).
    AlpacaLora,
}

/// A row as text: what is given and what is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Everything before the answer.
    pub prompt: String,
    /// The answer.
    pub answer: String,
}

impl Template {
    /// Returns the text of `row`.
    ///
    /// # Examples
    ///
    /// ```
    /// use medharness::corpus::{Row, Template};
    ///
    /// let row = Row { instruction: "Name it.".into(), output: "Aspirin".into(), ..Row::default() };
    /// let text = Template::Medalpaca.render(&row);
    /// assert!(text.prompt.ends_with("### Instruction:\nName it.\n\n### Input:\n\n\n### Response:\n"));
    /// assert_eq!(text.answer, "Aspirin");
    /// assert!(!Template::AlpacaLora.render(&row).prompt.contains("### Input"));
    /// ```
    pub fn render(self, row: &Row) -> Rendered {
        let Row { instruction, input, output, .. } = row;
        let end = if self == Self::Alpaca { "" } else { "\n" };
        let prompt = if input.is_empty() && self != Self::Medalpaca {
            format!("{WITHOUT_INPUT}\n\n### Instruction:\n{instruction}\n\n### Response:{end}")
        } else {
            format!(
                "{WITH_INPUT}\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n\
                 ### Response:{end}"
            )
        };
        Rendered { prompt, answer: output.clone() }
    }
}
