//! The prompt of a question: one concatenation that fits MedAlpaca's, Alpaca's and MMLU's layouts.
//!
//! Guarantees that nothing is trimmed, wrapped or truncated: what the exam and the template hold is
//! what the model sees, byte for byte.

use serde::{Deserialize, Serialize};

use crate::exam::Question;

/// The parts of a prompt, put together in this order without anything between them:
/// primer, instruction header, instruction, input header, question, one option line per option,
/// output header, answer prefix.
///
/// An empty part leaves its place out, so Alpaca's template without input is one with an empty
/// `input_header`, and MMLU's layout one without instruction.
///
/// Source: kbressem/medAlpaca, `medalpaca/prompt_templates/*.json` and `DataHandler.generate_prompt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptTemplate {
    /// What stands before everything else.
    pub primer: String,
    /// Heading of the instruction, with its line breaks.
    pub instruction_header: String,
    /// What the model is told to do.
    pub instruction: String,
    /// Heading of the question, with its line breaks.
    pub input_header: String,
    /// One option, line break included; holds `{letter}` and `{text}` once each.
    pub option_line: String,
    /// Heading of the reply, with its line breaks.
    pub output_header: String,
    /// The beginning of the reply, put into the model's mouth.
    pub answer_prefix: String,
}

impl PromptTemplate {
    /// Returns the prompt of `question`, every option included.
    pub fn render(&self, question: &Question) -> String {
        let mut prompt = [
            &*self.primer,
            &self.instruction_header,
            &self.instruction,
            &self.input_header,
            &question.text,
        ]
        .concat();
        for choice in &question.options {
            self.push_option(&mut prompt, choice.letter.as_char(), &choice.text);
        }
        prompt + &self.output_header + &self.answer_prefix
    }

    /// Appends one option line; braces inside the option's own text stay as they are.
    fn push_option(&self, prompt: &mut String, letter: char, text: &str) {
        let mut rest = &*self.option_line;
        while let Some(at) = rest.find('{') {
            prompt.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{letter}") {
                prompt.push(letter);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("{text}") {
                prompt.push_str(text);
                rest = after;
            } else {
                prompt.push('{');
                rest = &rest[1..];
            }
        }
        prompt.push_str(rest);
    }

    /// Whether the option line names the letter and the text exactly once.
    pub(super) fn has_both_placeholders(&self) -> bool {
        ["{letter}", "{text}"].iter().all(|name| self.option_line.matches(name).count() == 1)
    }
}
