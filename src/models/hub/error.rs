//! Why a model's files cannot be had from the hub.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why a model's files cannot be had.
///
/// No variant holds a token, and no URL keeps its query, which for a signed link is a secret too.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not of the form `hf:org/name[@revision]`.
    #[error("`{spec}` is no model name: {problem}")]
    Spec {
        /// As given.
        spec: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An environment variable cannot be used.
    #[error("{name} cannot be used: {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A repository names a file that would lie outside its folder, or that some system cannot hold.
    #[error("`{repository}` names a file `{}`: {problem}", .name.escape_debug())]
    FileName {
        /// The repository.
        repository: String,
        /// The name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The network is switched off and the cache lacks something.
    #[error("`{what}` is not in the cache `{}`, and the hub is switched off", .cache.display())]
    Offline {
        /// The model, or one of its files.
        what: String,
        /// The cache.
        cache: PathBuf,
    },
    /// The hub wants a token, another token, or knows no such repository.
    #[error("the hub refuses `{url}` ({status})")]
    Refused {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository, the revision or the file does not exist.
    #[error("the hub has no `{url}`")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The hub answered with a status nobody asked for.
    #[error("the hub answers `{url}` with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status.
        status: u16,
    },
    /// The hub wants more patience than there is.
    #[error("the hub asks to wait {wait_s} s before `{url}` is asked for again")]
    Wait {
        /// What was asked for.
        url: String,
        /// Seconds.
        wait_s: u64,
    },
    /// The connection failed.
    #[error("cannot reach `{url}`")]
    Network {
        /// What was asked for.
        url: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The connection ended in the middle of a file.
    #[error("`{file}` broke off at byte {got} of {expected}")]
    Truncated {
        /// The file.
        file: String,
        /// Its size.
        expected: u64,
        /// What has arrived; kept, and continued next time.
        got: u64,
    },
    /// A redirect leads in circles, nowhere, or from https to http.
    #[error("`{url}` redirects {problem}")]
    Redirect {
        /// What was asked for.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The hub's description of a repository cannot be read.
    #[error("the hub's description `{url}` cannot be read: {problem}")]
    Description {
        /// What was asked for.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// Another commit than the one asked for.
    #[error("the hub answers with commit {got} where {expected} was asked for")]
    WrongCommit {
        /// The pinned commit.
        expected: String,
        /// What came.
        got: String,
    },
    /// A file has another size than the hub says.
    #[error("`{file}` has {got} bytes, the hub says {expected}")]
    WrongSize {
        /// The file.
        file: String,
        /// As described.
        expected: u64,
        /// As sent.
        got: u64,
    },
    /// A file has other bytes than the hub says; it is not kept.
    #[error("`{file}` has the hash {got}, the hub says {expected}")]
    WrongHash {
        /// The file.
        file: String,
        /// As described.
        expected: String,
        /// Of what was sent.
        got: String,
    },
    /// The hub gives no hash for a file, so that it could not be checked.
    #[error("the hub gives no size and hash for `{file}`")]
    NoHash {
        /// The file.
        file: String,
    },
    /// The repository holds nothing that can be loaded.
    #[error("`{repository}` holds no {what}")]
    Nothing {
        /// The repository.
        repository: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A file or folder of the cache cannot be read or written.
    #[error("cannot {operation} `{}`", .path.display())]
    Cache {
        /// What was tried.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HubError {
    /// Returns what the reader can do about it, `None` where there is nothing to say.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Spec { .. } => "write hf:org/name or hf:org/name@revision",
            Self::Offline { .. } => {
                "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE once, or point HF_HOME to a cache that holds it"
            }
            Self::Refused { with_token: false, .. } => {
                "the name may be wrong, or the model private or gated: set HF_TOKEN to a token with access"
            }
            Self::Refused { with_token: true, .. } => {
                "the token has no access: accept the model's conditions on its page, or use another token"
            }
            Self::NotFound { .. } => "check the name and the revision",
            Self::Network { .. } => {
                "check the connection, HF_ENDPOINT and HTTPS_PROXY; with HF_HUB_OFFLINE=1 only the cache is used"
            }
            Self::Truncated { .. } | Self::Wait { .. } => {
                "run the command again: it continues where it stopped"
            }
            Self::WrongHash { .. } | Self::WrongSize { .. } => {
                "run the command again; if it stays so, the server or the cache is not to be trusted"
            }
            _ => return None,
        })
    }
}
