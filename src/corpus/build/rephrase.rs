//! Rephrasing by a language model behind an OpenAI-compatible endpoint; off unless one is named.
//!
//! The paper had GPT-3.5-turbo make question and answer of a flashcard, and a question of a
//! textbook's heading. Every completion is kept in a folder under the digest of its request, so that an
//! interrupted build continues and a second one asks nobody; any other reply is asked for again, and
//! never kept. The key is sent and never stored.

use std::{
    cell::Cell,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hex;
use crate::corpus::{Row, sources::SourceKind};

const TIMEOUT: Duration = Duration::from_secs(120);
const ATTEMPTS: u32 = 3;
/// Between attempts, times the number of the last one.
const PAUSE: Duration = Duration::from_millis(500);

/// Characters of a strange reply that an error shows.
const SHOWN: usize = 200;

const CARD: &str = "Rewrite this flashcard as one question and its answer in whole sentences. Add \
    nothing that the card does not say. Reply with JSON alone: {\"question\": \"…\", \"answer\": \
    \"…\"}";
const HEADING: &str = "Turn this heading of a medical textbook into one question that the text \
    answers. Reply with JSON alone: {\"question\": \"…\"}";

/// Where a model is asked.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    model: String,
    key: Option<String>,
    cache: PathBuf,
    asked: Cell<usize>,
    cached: Cell<usize>,
}

/// Who rephrased, and how often it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rephrased {
    /// Address of the endpoint.
    pub url: String,
    /// Model asked for.
    pub model: String,
    /// Prompts used, word for word.
    pub prompts: [&'static str; 2],
    /// Replies used.
    pub replies: usize,
}

/// Why a row cannot be rephrased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RephraseError {
    /// The endpoint refuses the request.
    #[error("`{url}` refuses")]
    Refused {
        /// Its address.
        url: String,
        /// Its status.
        source: Box<ureq::Error>,
    },
    /// The endpoint cannot be reached.
    #[error("`{url}` gave no reply in {ATTEMPTS} attempts")]
    Http {
        /// Its address.
        url: String,
        /// The last reason.
        source: Box<ureq::Error>,
    },
    /// The reply is not that of such an endpoint.
    #[error("`{url}` replied {ATTEMPTS} times with something else than a completion: {reply}")]
    Shape {
        /// Its address.
        url: String,
        /// Beginning of the last reply.
        reply: String,
    },
    /// A kept reply cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

#[derive(Deserialize)]
struct Pair {
    question: String,
    #[serde(default)]
    answer: Option<String>,
}

impl Endpoint {
    /// Returns an endpoint whose replies are kept in the folder `cache`; `url` is the part before
    /// `/chat/completions`, e.g. `http://localhost:8000/v1`.
    pub fn new(url: &str, model: &str, key: Option<String>, cache: &Path) -> Self {
        Self {
            url: url.trim_end_matches('/').to_owned(),
            model: model.to_owned(),
            key,
            cache: cache.to_owned(),
            asked: Cell::new(0),
            cached: Cell::new(0),
        }
    }

    /// Returns what belongs into the record of a build.
    pub(super) fn record(&self) -> Rephrased {
        Rephrased {
            url: self.url.clone(),
            model: self.model.clone(),
            prompts: [CARD, HEADING],
            replies: self.asked.get() + self.cached.get(),
        }
    }

    /// Returns how many requests were sent, and how many replies were at hand.
    pub fn requests(&self) -> (usize, usize) {
        (self.asked.get(), self.cached.get())
    }

    /// Returns `row` in the model's words; `None` if its reply has no text or is not
    /// the JSON asked for. A
    /// textbook's text stays as it is, only its question is new.
    ///
    /// # Errors
    ///
    /// [`RephraseError`] if the model cannot be asked.
    pub fn rephrase(&self, kind: SourceKind, row: &Row) -> Result<Option<Row>, RephraseError> {
        let keeps_answer = kind == SourceKind::WikidocTextbook;
        let prompt = if keeps_answer { HEADING } else { CARD };
        let given = json!({ "question": row.input, "answer": row.output });
        let body = json!({
            "model": self.model,
            "temperature": 0,
            "messages": [
                { "role": "system", "content": prompt },
                { "role": "user", "content": given.to_string() },
            ],
        });
        let Some(content) = self.reply(&body.to_string())? else { return Ok(None) };
        let pair: Option<Pair> = serde_json::from_str(without_fence(&content)).ok();
        let Some(Pair { question, answer }) = pair else { return Ok(None) };
        let output = if keeps_answer { Some(row.output.clone()) } else { answer };
        let output = output.filter(|answer| !answer.trim().is_empty());
        let is_whole = !question.trim().is_empty();
        Ok(output.filter(|_| is_whole).map(|output| Row { input: question, output, ..row.clone() }))
    }

    /// The text of the reply to a request, kept or fresh; `None` for a completion without text, which
    /// is how some endpoints refuse to answer.
    fn reply(&self, body: &str) -> Result<Option<String>, RephraseError> {
        let digest = hex(Sha256::new_with_prefix(format!("{}\n{body}", self.url)));
        let path = self.cache.join(format!("{digest}.json"));
        let cache = |source| RephraseError::Cache { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                if let Some(Some(content)) = completion(&text) {
                    self.cached.set(self.cached.get() + 1);
                    return Ok(Some(content));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cache(error)),
        }
        let mut attempt = 1;
        let (text, content) = loop {
            let text = self.ask(body)?;
            match completion(&text) {
                Some(content) => break (text, content),
                None if attempt == ATTEMPTS => {
                    let reply = text.chars().take(SHOWN).collect();
                    return Err(RephraseError::Shape { url: self.url.clone(), reply });
                }
                None => std::thread::sleep(PAUSE * attempt),
            }
            attempt += 1;
        };
        self.asked.set(self.asked.get() + 1);
        if content.is_some() {
            fs::create_dir_all(&self.cache).map_err(cache)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.cache).map_err(cache)?;
            file.write_all(text.as_bytes()).map_err(cache)?;
            file.persist(&path).map_err(|error| cache(error.error))?;
        }
        Ok(content)
    }

    fn ask(&self, body: &str) -> Result<String, RephraseError> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .build()
            .into();
        let mut attempt = 1;
        loop {
            let request = agent
                .post(format!("{}/chat/completions", self.url))
                .header("content-type", "application/json");
            let request = match &self.key {
                Some(key) => request.header("authorization", format!("Bearer {key}")),
                None => request,
            };
            let reply = request.send(body).and_then(|mut reply| reply.body_mut().read_to_string());
            match reply {
                Ok(text) => return Ok(text),
                Err(error) if is_final(&error) => {
                    let source = Box::new(error);
                    return Err(RephraseError::Refused { url: self.url.clone(), source });
                }
                Err(error) if attempt == ATTEMPTS => {
                    let source = Box::new(error);
                    return Err(RephraseError::Http { url: self.url.clone(), source });
                }
                Err(_) => std::thread::sleep(PAUSE * attempt),
            }
            attempt += 1;
        }
    }
}

/// The text of a completion, `Some(None)` for one without text; `None` for anything else.
fn completion(reply: &str) -> Option<Option<String>> {
    let reply: Value = serde_json::from_str(reply).ok()?;
    let message = reply["choices"][0]["message"].as_object()?;
    match message.get("content") {
        Some(Value::String(content)) => Some(Some(content.clone())),
        None | Some(Value::Null) => Some(None),
        Some(_) => None,
    }
}

/// The text inside one fence of Markdown, or all of it.
fn without_fence(content: &str) -> &str {
    let content = content.trim();
    let inside = content.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    // Behind the fence stands the name of a language, or nothing.
    inside.and_then(|inside| inside.split_once('\n')).map_or(content, |(_, inside)| inside.trim())
}

/// Whether asking again cannot help: the request itself is refused.
fn is_final(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::StatusCode(code) if (400..500).contains(code) && *code != 429)
}
