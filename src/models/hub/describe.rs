//! What the hub says about a repository: its commit, its files, their sizes and hashes.

use std::{collections::BTreeMap, io::Read};

use serde::Deserialize;

use super::{
    HubError, HubSpec, Watch,
    http::{Client, Failure, shown, text},
    spec::{check_file_name, is_commit, leads_outside},
};

/// Longest description that is read; the largest repositories need about a tenth.
const MAX_DESCRIPTION_BYTES: u64 = 32 << 20;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) commit: String,
    /// By name within the repository. Every name is safe to use below a folder.
    pub(super) files: BTreeMap<String, Remote>,
}

/// A file as the hub describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Remote {
    pub(super) bytes: Option<u64>,
    pub(super) digest: Option<Digest>,
}

/// The hash a file must have; its text is the blob's name in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// Large files: sha256 of the content.
    Sha256(String),
    /// Small files: git's sha1 over `blob`, the size, and the content.
    GitBlob(String),
}

impl Digest {
    /// Reads an `ETag` or the name of a blob.
    pub(super) fn from_name(text: &str) -> Option<Self> {
        let text = text.trim_start_matches("W/").trim_matches('"');
        if !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        match text.len() {
            64 => Some(Self::Sha256(text.to_owned())),
            40 => Some(Self::GitBlob(text.to_owned())),
            _ => None,
        }
    }

    /// Returns the hex digits.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Sha256(text) | Self::GitBlob(text) => text,
        }
    }
}

#[derive(Deserialize)]
struct Written {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(alias = "oid")]
    sha256: String,
    size: u64,
}

/// Asks the hub about the repository.
///
/// # Errors
///
/// If it cannot be reached, does not exist, or names files that are not safe to write.
pub(super) fn describe(
    client: &Client<'_>,
    spec: &HubSpec,
    watch: Watch<'_>,
) -> Result<Description, HubError> {
    let url = format!(
        "{}/api/models/{}/revision/{}?blobs=true",
        client.settings.endpoint,
        spec.repository,
        escaped(&spec.revision, false)
    );
    let bytes = client.patiently(watch, |_| read(client, &url))?;
    let unreadable = |problem: String| HubError::Description { url: shown(&url), problem };
    let written: Written =
        serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
    if !is_commit(&written.sha) {
        return Err(unreadable("its commit is not 40 hex digits".into()));
    }
    if let Some(pinned) = spec.pinned().filter(|&pinned| pinned != written.sha) {
        return Err(HubError::WrongCommit { expected: pinned.to_owned(), got: written.sha });
    }
    let mut files = BTreeMap::new();
    for Sibling { rfilename: name, size, blob, lfs } in written.siblings {
        match check_file_name(&name) {
            Ok(()) => {}
            Err(problem) if leads_outside(&name) => {
                let repository = spec.repository.clone();
                return Err(HubError::FileName { repository, name, problem });
            }
            // Without a place in `files` it is never asked for.
            Err(_) => continue,
        }
        let remote = match lfs {
            Some(Lfs { sha256, size }) => {
                let digest = sha256.strip_prefix("sha256:").unwrap_or(&sha256);
                Remote { bytes: Some(size), digest: Digest::from_name(digest) }
            }
            None => Remote { bytes: size, digest: blob.as_deref().and_then(Digest::from_name) },
        };
        files.insert(name, remote);
    }
    Ok(Description { commit: written.sha, files })
}

fn read(client: &Client<'_>, url: &str) -> Result<Vec<u8>, Failure> {
    let mut body = client.get(url, None)?.response.into_body();
    let mut bytes = Vec::new();
    let network =
        |source| HubError::Network { url: shown(url), source: Box::new(ureq::Error::Io(source)) };
    let expected = body.content_length();
    body.as_reader().take(MAX_DESCRIPTION_BYTES).read_to_end(&mut bytes).map_err(network)?;
    if let Some(expected) = expected.filter(|&expected| expected > bytes.len() as u64) {
        let got = bytes.len() as u64;
        return Err(HubError::Truncated { file: shown(url), expected, got }.into());
    }
    Ok(bytes)
}

/// Completes what the description left out, from the headers the hub gives a file.
///
/// # Errors
///
/// [`HubError::NoHash`] if they do not say either.
pub(super) fn complete(
    client: &Client<'_>,
    url: &str,
    name: &str,
    remote: &Remote,
    watch: Watch<'_>,
) -> Result<(u64, Digest), HubError> {
    if let Remote { bytes: Some(bytes), digest: Some(digest) } = remote {
        return Ok((*bytes, digest.clone()));
    }
    let headers = client.patiently(watch, |_| client.head(url))?;
    let first = |names: [&str; 2]| names.into_iter().find_map(|name| text(&headers, name));
    let digest = first(["x-linked-etag", "etag"]).and_then(Digest::from_name);
    let bytes = first(["x-linked-size", "content-length"]).and_then(|size| size.parse().ok());
    bytes.zip(digest).ok_or_else(|| HubError::NoHash { file: name.to_owned() })
}

/// Percent-encodes a name for a URL; slashes stay if `path`.
pub(super) fn escaped(name: &str, path: bool) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (path && byte == b'/') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_a_url() {
        assert_eq!(escaped("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(escaped("a/ü b.bin", true), "a/%C3%BC%20b.bin");
    }

    #[test]
    fn a_hash_is_told_by_its_length() {
        let sha1 = "0123456789abcdef0123456789abcdef01234567";
        assert_eq!(Digest::from_name(&format!("\"{sha1}\"")), Some(Digest::GitBlob(sha1.into())));
        assert_eq!(Digest::from_name("W/\"abc\""), None);
        assert_eq!(Digest::from_name(&"x".repeat(64)), None);
    }
}
