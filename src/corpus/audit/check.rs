//! The checks by name, and what each means.

use serde::Serialize;

/// One thing that is looked for in every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// Neither instruction nor input.
    EmptyQuestion,
    /// No output.
    EmptyAnswer,
    /// The same instruction, input and output as an earlier row.
    ExactDuplicate,
    /// The same words as an earlier row.
    SameWords,
    /// Nearly the same words as an earlier row.
    NearDuplicate,
    /// The question of an earlier row with another answer.
    Conflicting,
    /// Control characters other than tab and line break.
    ControlCharacters,
    /// U+FFFD, or UTF-8 that was once read as Windows-1252.
    EncodingDamage,
    /// HTML tags or entities, or LaTeX commands.
    Markup,
    /// The answer speaks as a language model.
    Assistant,
    /// The answer repeats the question.
    QuestionInAnswer,
    /// The question, which offers no options, holds the whole answer.
    AnswerInQuestion,
    /// A long answer shares no word with its question.
    Unrelated,
    /// A long answer ends without the end of a sentence.
    Unfinished,
    /// Not English.
    NotEnglish,
    /// The answer is far longer or shorter than the source's others.
    LengthOutlier,
    /// No licence is stated.
    NoLicence,
    /// The text fits the recipe's length, its end token does not.
    EndTokenCut,
    /// The answer is cut.
    AnswerCut,
    /// The prompt alone fills the recipe's length: nothing is learnt.
    FullyMasked,
    /// No token comes of it.
    NotEncodable,
}

impl Check {
    /// Every check, in the order of reports.
    pub const ALL: [Self; 21] = [
        Self::EmptyQuestion,
        Self::EmptyAnswer,
        Self::ExactDuplicate,
        Self::SameWords,
        Self::NearDuplicate,
        Self::Conflicting,
        Self::ControlCharacters,
        Self::EncodingDamage,
        Self::Markup,
        Self::Assistant,
        Self::QuestionInAnswer,
        Self::AnswerInQuestion,
        Self::Unrelated,
        Self::Unfinished,
        Self::NotEnglish,
        Self::LengthOutlier,
        Self::NoLicence,
        Self::EndTokenCut,
        Self::AnswerCut,
        Self::FullyMasked,
        Self::NotEncodable,
    ];

    /// Returns whether it needs a tokenizer.
    pub fn needs_tokens(self) -> bool {
        matches!(self, Self::EndTokenCut | Self::AnswerCut | Self::FullyMasked | Self::NotEncodable)
    }

    /// Returns what it means, in a few words.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::EmptyQuestion => "no instruction and no input",
            Self::EmptyAnswer => "no output",
            Self::ExactDuplicate => "byte for byte as an earlier row",
            Self::SameWords => "as an earlier row but for case, blanks, punctuation",
            Self::NearDuplicate => "nearly as an earlier row (MinHash)",
            Self::Conflicting => "question of an earlier row, other answer",
            Self::ControlCharacters => "control characters",
            Self::EncodingDamage => "U+FFFD, or UTF-8 read as Windows-1252",
            Self::Markup => "HTML or LaTeX left over",
            Self::Assistant => "answer speaks as a language model",
            Self::QuestionInAnswer => "answer repeats the question",
            Self::AnswerInQuestion => "question holds the answer and no options",
            Self::Unrelated => "long answer without a word of the question",
            Self::Unfinished => "long answer without the end of a sentence",
            Self::NotEnglish => "not English",
            Self::LengthOutlier => "length beyond three quartile ranges",
            Self::NoLicence => "no field `licence`",
            Self::EndTokenCut => "end token cut",
            Self::AnswerCut => "answer cut",
            Self::FullyMasked => "prompt fills the length, nothing learnt",
            Self::NotEncodable => "no token",
        }
    }
}
