//! The axes along which two protocols can differ, and where each shipped protocol stands.

use serde::Serialize;

use crate::protocol::{AskAgain, Continuation, Decoding, Denominator, Protocol};

/// One axis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// Its name.
    pub name: &'static str,
    /// One a protocol.
    pub values: Vec<String>,
    /// Whether the protocols differ on it.
    pub differs: bool,
}

/// Axes that no protocol fixes: a run's manifest records them.
pub const AXES: &[(&str, &str)] = &[
    ("data set", "119/120/137 questions as published, or 94/109/122 of Kung et al."),
    ("image exclusion", "27/10/13 questions by the notebook's lists, or by the source's marks"),
    ("number format", "f16, bf16, f32, int8"),
    ("seed", "none in the author's script: every run draws anew"),
];

/// Returns the axes that protocols fix, with each protocol's value, in the order given.
pub fn axes(protocols: &[Protocol]) -> Vec<Axis> {
    let axis = |name, value: &dyn Fn(&Protocol) -> String| {
        let values: Vec<String> = protocols.iter().map(value).collect();
        let differs = values.windows(2).any(|two| two[0] != two[1]);
        Axis { name, values, differs }
    };
    vec![
        axis("first question of a step", &|protocol| {
            if protocol.skip_first_question_of_step { "never asked" } else { "asked" }.into()
        }),
        axis("decoding", &decoding),
        axis("attempts", &|protocol| match protocol.attempts.again {
            AskAgain::Never => "1".into(),
            AskAgain::WhileRefused => {
                format!("up to {}, until the rule accepts the form", protocol.attempts.max)
            }
            AskAgain::WhileUnparsed => {
                format!("up to {}, until an option is read", protocol.attempts.max)
            }
        }),
        axis("reading rule", &|protocol| protocol.reading.rule.to_string()),
        axis("denominator", &|protocol| {
            match protocol.reading.denominator {
                Denominator::Asked => "every question asked",
                Denominator::Parsed => "questions with an option read",
            }
            .into()
        }),
        axis("first token", &|protocol| json_words(&protocol.bos)),
        axis("prompt", &|protocol| {
            let text = serde_json::to_string(&protocol.prompt).unwrap_or_default();
            format!("template {}", &crate::store::sha256_hex(text.as_bytes())[..8])
        }),
    ]
}

fn decoding(protocol: &Protocol) -> String {
    match &protocol.decoding {
        Decoding::Greedy { max_new_tokens, .. } => format!("greedy, {max_new_tokens} tokens"),
        Decoding::Sampling { temperature, top_k, top_p, max_new_tokens, .. } => format!(
            "drawn at T {temperature}, top-k {top_k}, top-p {top_p}, {max_new_tokens} tokens"
        ),
        Decoding::LogLikelihood { continuation, .. } => format!(
            "log-likelihood of the {}",
            match continuation {
                Continuation::Letter => "letter",
                Continuation::Text => "option's text",
            }
        ),
    }
}

/// The value as its file has it, without quotes.
fn json_words(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default().replace('"', "")
}
