//! Models by name: `hf:org/name[@revision]` becomes a folder of checked files.
//!
//! Names, cache layout and environment variables are those of huggingface_hub and hf-hub, so a
//! model fetched by either is used and not fetched again. On top of them:
//!
//! - every file is compared with the size and the hash the hub gives for it before it is used the
//!   first time, and pinned with its sha256; a later use compares size and time of change, and
//!   hashes again where they differ;
//! - names of files stay within their folder, under the rules of POSIX and Windows together;
//! - a download that broke off goes on where it stopped, if the server still has the same file;
//! - eight processes on one cache fetch each file once; `kill -9` leaves whole files only;
//! - the token goes to the endpoint's own origin, never along a redirect, never into a message;
//! - offline (`HF_HUB_OFFLINE=1`), or with a commit in full that is pinned, no socket is opened.
//!
//! The cache is one's own: a file whose size and time of change are forged back is not noticed.

mod cache;
mod describe;
mod download;
mod error;
mod http;
mod select;
mod settings;
mod spec;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;

use crate::store::FileIdentity;

use cache::{Folder, Pinned, at};
use describe::{Description, Digest};
use download::Wanted;
use http::Client;

pub use error::HubError;
pub use select::Parts;
pub use settings::{Settings, Token};
pub use spec::HubSpec;

/// Hears what happens during [`resolve`].
pub type Watch<'a> = &'a mut dyn FnMut(Event<'_>);

/// What happens during [`resolve`], for a progress bar.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A file is asked for; also when it starts anew.
    File {
        /// Its name.
        file: &'a str,
        /// Its size.
        bytes: u64,
        /// What is there already.
        have: u64,
    },
    /// So many bytes have arrived.
    Bytes(u64),
    /// The file is there and is what it should be.
    Done {
        /// Its name.
        file: &'a str,
    },
    /// Another process fetches the file.
    Waiting {
        /// Its name.
        file: &'a str,
    },
    /// What was there of a file is not what it should be; it is fetched anew.
    Damaged {
        /// Its name.
        file: &'a str,
        /// What is wrong with it.
        error: &'a HubError,
    },
    /// A request failed and is repeated after a pause.
    Again {
        /// Why it failed.
        error: &'a HubError,
        /// The pause.
        pause: Duration,
    },
}

/// A model whose files are on the disk and have been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResolvedModel {
    /// `org/name`.
    pub repository: String,
    /// The revision asked for.
    pub revision: String,
    /// The commit it means, 40 hex digits.
    pub commit: String,
    /// The folder with the files.
    pub dir: PathBuf,
    /// Each file, by name.
    pub files: Vec<FileIdentity>,
}

/// Returns the model's files, fetching what the cache lacks.
///
/// # Errors
///
/// [`HubError`]: nothing unchecked is ever returned.
pub fn resolve(
    spec: &HubSpec,
    parts: Parts,
    settings: &Settings,
    watch: Watch<'_>,
) -> Result<ResolvedModel, HubError> {
    let folder = Folder::new(settings, spec);
    let job = Job { spec, parts, settings, folder };
    let pinned = spec.pinned().map(str::to_owned);
    let known = pinned.or_else(|| job.folder.known_commit().filter(|_| settings.offline));
    if settings.offline {
        let commit = known.ok_or_else(|| job.offline(spec.to_string()))?;
        return match job.as_pinned(&commit)? {
            Some(model) => Ok(model),
            None => job.as_left_by_others(&commit),
        };
    }
    if let Some(commit) = known
        && let Ok(Some(model)) = job.as_pinned(&commit)
    {
        return Ok(model);
    }
    job.fetched(&Client::new(settings), watch)
}

/// One call of [`resolve`].
struct Job<'a> {
    spec: &'a HubSpec,
    parts: Parts,
    settings: &'a Settings,
    folder: Folder,
}

impl Job<'_> {
    /// Returns the model as pinned earlier, `None` if it is not.
    fn as_pinned(&self, commit: &str) -> Result<Option<ResolvedModel>, HubError> {
        let Some(pin) = self.folder.read_pin(commit, self.parts) else { return Ok(None) };
        let names: BTreeSet<String> = if self.parts == Parts::All {
            pin.files.keys().cloned().collect()
        } else {
            let there = |name: &str| pin.files.contains_key(name);
            select::select(&self.spec.repository, self.parts, there)?.files
        };
        let mut files = BTreeMap::new();
        for name in names {
            let checked = self.folder.check_pinned(commit, &name, &pin.files[&name])?;
            files.insert(name, checked);
        }
        if files.iter().any(|(name, checked)| pin.files[name] != *checked) {
            // A cache that cannot be written to is as good to read from.
            let _ = self.folder.write_pin(commit, self.parts, files.clone());
        }
        Ok(Some(self.model(commit, files)))
    }

    /// Returns the model as another program left it in the cache. Blobs are named by their hash,
    /// and that is what they are checked against.
    fn as_left_by_others(&self, commit: &str) -> Result<ResolvedModel, HubError> {
        let snapshot = self.folder.snapshot(commit);
        if !snapshot.is_dir() {
            return Err(self.offline(self.spec.to_string()));
        }
        let there = |name: &str| snapshot.join(name).is_file();
        let names = self.names(there, |index| {
            let path = snapshot.join(index);
            at("read", &path, fs::read(&path))
        })?;
        let mut files = BTreeMap::new();
        for name in names {
            let path = snapshot.join(&name);
            if !path.is_file() {
                return Err(self.offline(format!("{}/{name}", self.spec)));
            }
            let blob = at("read", &path, fs::canonicalize(&path))?;
            let digest = blob.file_name().and_then(|n| n.to_str()).and_then(Digest::from_name);
            let digest = digest.ok_or_else(|| HubError::NoHash { file: name.clone() })?;
            let bytes = at("read", &blob, fs::metadata(&blob))?.len();
            files.insert(name.clone(), cache::check(&blob, &name, bytes, &digest)?);
        }
        // A cache that cannot be written to is as good to read from.
        let _ = self.folder.write_pin(commit, self.parts, files.clone());
        Ok(self.model(commit, files))
    }

    /// Asks the hub and fetches what is missing.
    fn fetched(&self, client: &Client<'_>, watch: Watch<'_>) -> Result<ResolvedModel, HubError> {
        let description = describe::describe(client, self.spec, &mut *watch)?;
        let commit = &description.commit;
        if let Ok(Some(model)) = self.as_pinned(commit) {
            self.folder.write_reference(commit)?;
            return Ok(model);
        }
        let mut files = BTreeMap::new();
        let names = self.names(
            |name| description.files.contains_key(name),
            |index| {
                let pinned = self.fetch(client, &description, index, &mut *watch)?;
                let path = self.folder.snapshot(commit).join(index);
                files.insert(index.to_owned(), pinned);
                at("read", &path, fs::read(&path))
            },
        )?;
        for name in names {
            if let Entry::Vacant(place) = files.entry(name) {
                let pinned = self.fetch(client, &description, place.key(), &mut *watch)?;
                place.insert(pinned);
            }
        }
        self.folder.write_pin(commit, self.parts, files.clone())?;
        self.folder.write_reference(commit)?;
        Ok(self.model(commit, files))
    }

    /// Returns the files to have, shards included; `read` gives the bytes of the index.
    fn names(
        &self,
        there: impl Fn(&str) -> bool,
        read: impl FnOnce(&str) -> Result<Vec<u8>, HubError>,
    ) -> Result<BTreeSet<String>, HubError> {
        let mut selection = select::select(&self.spec.repository, self.parts, there)?;
        if let Some(index) = selection.index {
            let shards = select::shards(&self.spec.repository, index, &read(index)?)?;
            selection.files.extend(shards);
        }
        Ok(selection.files)
    }

    /// Sees to it that one file is in the snapshot.
    fn fetch(
        &self,
        client: &Client<'_>,
        description: &Description,
        name: &str,
        watch: Watch<'_>,
    ) -> Result<Pinned, HubError> {
        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.settings.endpoint,
            self.spec.repository,
            description.commit,
            describe::escaped(name, true)
        );
        let remote = description.files.get(name);
        let remote = remote.ok_or_else(|| HubError::NotFound { url: http::shown(&url) })?;
        let (bytes, digest) = describe::complete(client, &url, name, remote, &mut *watch)?;
        let wanted = Wanted { name, url, bytes, digest };
        let pinned = download::fetch(client, &self.folder, &wanted, watch)?;
        self.folder.link(&description.commit, name, &wanted.digest)?;
        Ok(pinned)
    }

    fn model(&self, commit: &str, files: BTreeMap<String, Pinned>) -> ResolvedModel {
        let identity = |(name, file): (String, Pinned)| FileIdentity {
            name,
            sha256: file.sha256,
            bytes: file.bytes,
        };
        ResolvedModel {
            repository: self.spec.repository.clone(),
            revision: self.spec.revision.clone(),
            commit: commit.to_owned(),
            dir: self.folder.snapshot(commit),
            files: files.into_iter().map(identity).collect(),
        }
    }

    fn offline(&self, what: String) -> HubError {
        HubError::Offline { what, cache: self.settings.cache.clone() }
    }
}
