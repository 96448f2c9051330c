//! The cache on disk: the layout of huggingface_hub and hf-hub, and a pin beside it.
//!
//! ```text
//! models--org--name/blobs/HASH            content, under its sha256 or git's sha1
//! models--org--name/refs/REVISION         the commit a branch or tag meant when last asked
//! models--org--name/snapshots/COMMIT/FILE link to a blob
//! models--org--name/medharness/COMMIT.json  the pin: size and sha256 of each file checked here
//! models--org--name/medharness/partial/   what has not fully arrived
//! .locks/models--org--name/HASH.lock      held while a blob is fetched
//! ```
//!
//! Everything is written aside, synced and renamed, so that other processes, this program after
//! `kill -9`, and other programs that share the cache see whole files only.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use hf_hub::{Cache, Repo, RepoType};
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::{Event, HubError, HubSpec, Parts, Settings, Watch, describe::Digest, spec::is_commit};

/// Version of the pin.
const PIN_FORMAT: u32 = 1;

/// One repository's folder in the cache.
pub(super) struct Folder {
    cache: Cache,
    repository: Repo,
    path: PathBuf,
}

/// What has been checked of a repository at one commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pin {
    format: u32,
    repository: String,
    commit: String,
    /// Which [`Parts`] are complete.
    parts: BTreeSet<String>,
    pub(super) files: BTreeMap<String, Pinned>,
}

/// A file that has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pinned {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    /// The hash the hub gives, by which the blob is named.
    pub(super) blob: String,
    /// When the file was last changed as it was checked, in nanoseconds; a change since then means
    /// that it is hashed again.
    modified_ns: u64,
}

impl Folder {
    pub(super) fn new(settings: &Settings, spec: &HubSpec) -> Self {
        let (repository, revision) = (spec.repository.clone(), spec.revision.clone());
        let repository = Repo::with_revision(repository, RepoType::Model, revision);
        let path = settings.cache.join(repository.folder_name());
        Self { cache: Cache::new(settings.cache.clone()), repository, path }
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.cache.repo(self.repository.clone()).pointer_path(commit)
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.path.join("blobs").join(digest.as_str())
    }

    pub(super) fn partial(&self) -> PathBuf {
        self.path.join("medharness/partial")
    }

    fn reference(&self) -> PathBuf {
        self.path.join("refs").join(self.repository.revision())
    }

    fn pin(&self, commit: &str) -> PathBuf {
        self.path.join("medharness").join(format!("{commit}.json"))
    }

    /// Returns the commit that the revision meant when the hub was last asked.
    pub(super) fn known_commit(&self) -> Option<String> {
        let text = fs::read_to_string(self.reference()).ok()?;
        Some(text.trim().to_owned()).filter(|text| is_commit(text))
    }

    /// Records what the revision means now; a commit in full needs no record.
    pub(super) fn write_reference(&self, commit: &str) -> Result<(), HubError> {
        if self.repository.revision() == commit || self.known_commit().as_deref() == Some(commit) {
            return Ok(());
        }
        write_whole(&self.reference(), commit.as_bytes())
    }

    /// Returns the pin of a commit if it holds all the `parts`; a damaged one counts as none.
    pub(super) fn read_pin(&self, commit: &str, parts: Parts) -> Option<Pin> {
        let pin: Pin = serde_json::from_slice(&fs::read(self.pin(commit)).ok()?).ok()?;
        let fits = pin.format == PIN_FORMAT && pin.commit == commit;
        let whole = [parts, Parts::All].iter().any(|parts| pin.parts.contains(parts.name()));
        (fits && whole).then_some(pin)
    }

    /// Adds files to the pin of a commit and writes it.
    pub(super) fn write_pin(
        &self,
        commit: &str,
        parts: Parts,
        files: BTreeMap<String, Pinned>,
    ) -> Result<(), HubError> {
        let every = [Parts::All, Parts::Tokenizer, Parts::Adapter];
        let earlier = every.map(|parts| self.read_pin(commit, parts));
        let mut pin = earlier.into_iter().flatten().next().unwrap_or_else(|| Pin {
            format: PIN_FORMAT,
            repository: self.repository.folder_name(),
            commit: commit.to_owned(),
            parts: BTreeSet::new(),
            files: BTreeMap::new(),
        });
        pin.parts.insert(parts.name().to_owned());
        pin.files.extend(files);
        let text = serde_json::to_vec_pretty(&pin).expect("strings and numbers become JSON");
        write_whole(&self.pin(commit), &text)
    }

    /// Makes `name` in the snapshot mean this blob.
    pub(super) fn link(&self, commit: &str, name: &str, digest: &Digest) -> Result<(), HubError> {
        let link = self.snapshot(commit).join(name);
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", digest.as_str()));
        if fs::read_link(&link).is_ok_and(|there| there == target) {
            return Ok(());
        }
        let folder = link.parent().expect("a file of the snapshot has a folder");
        at("create", folder, fs::create_dir_all(folder))?;
        let aside = folder.join(unique(".link"));
        at("write", &aside, place(&target, &self.blob(digest), &aside))?;
        at("write", &link, fs::rename(&aside, &link))?;
        sync_folder(folder);
        Ok(())
    }

    /// Waits until no other process fetches this blob. Where the file system knows no locks,
    /// there is none: each process then fetches for itself, and the last rename wins.
    pub(super) fn lock(
        &self,
        digest: &Digest,
        file: &str,
        watch: Watch<'_>,
    ) -> Result<Option<File>, HubError> {
        let folder = self.cache.path().join(".locks").join(self.repository.folder_name());
        at("create", &folder, fs::create_dir_all(&folder))?;
        let path = folder.join(format!("{}.lock", digest.as_str()));
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = at("open", &path, lock)?;
        match lock.try_lock() {
            Ok(()) => return Ok(Some(lock)),
            Err(TryLockError::WouldBlock) => watch(Event::Waiting { file }),
            Err(TryLockError::Error(_)) => return Ok(None),
        }
        Ok(lock.lock().ok().map(|()| lock))
    }

    /// Returns the record of a file that is there, hashed only if it changed since it was pinned.
    ///
    /// # Errors
    ///
    /// [`HubError::WrongHash`] or [`HubError::WrongSize`] if it is not what was pinned.
    pub(super) fn check_pinned(
        &self,
        commit: &str,
        name: &str,
        pinned: &Pinned,
    ) -> Result<Pinned, HubError> {
        let path = self.snapshot(commit).join(name);
        let now = at("read", &path, fs::metadata(&path))?;
        if now.len() == pinned.bytes && modified_ns(&now) == pinned.modified_ns {
            return Ok(pinned.clone());
        }
        let digest = Digest::Sha256(pinned.sha256.clone());
        Ok(Pinned { blob: pinned.blob.clone(), ..check(&path, name, pinned.bytes, &digest)? })
    }
}

/// Hashes a whole file and compares.
///
/// # Errors
///
/// [`HubError::WrongSize`] or [`HubError::WrongHash`] if it is another file.
pub(super) fn check(
    path: &Path,
    name: &str,
    bytes: u64,
    digest: &Digest,
) -> Result<Pinned, HubError> {
    let mut file = at("open", path, File::open(path))?;
    let metadata = at("read", path, file.metadata())?;
    if metadata.len() != bytes {
        let file = name.to_owned();
        return Err(HubError::WrongSize { file, expected: bytes, got: metadata.len() });
    }
    let mut hash = Hash::new(bytes, digest);
    at("read", path, hash.update_from(&mut file))?;
    Ok(Pinned { modified_ns: modified_ns(&metadata), ..hash.finish(name, digest)? })
}

impl Pinned {
    /// Notes when the file was last changed.
    pub(super) fn stamped(self, path: &Path) -> Result<Self, HubError> {
        Ok(Self { modified_ns: modified_ns(&at("read", path, fs::metadata(path))?), ..self })
    }
}

/// The hashes of a file as it comes in.
#[derive(Clone)]
pub(super) struct Hash {
    sha256: Sha256,
    git: Option<Sha1>,
    bytes: u64,
}

impl Hash {
    /// Starts with nothing of a file of `bytes` bytes.
    pub(super) fn new(bytes: u64, digest: &Digest) -> Self {
        let git = matches!(digest, Digest::GitBlob(_))
            .then(|| Sha1::new_with_prefix(format!("blob {bytes}\0")));
        Self { sha256: Sha256::new(), git, bytes }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(git) = &mut self.git {
            git.update(bytes);
        }
    }

    /// Reads to the end; returns how much there was.
    pub(super) fn update_from(&mut self, file: &mut File) -> io::Result<u64> {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(total),
                n => {
                    self.update(&buffer[..n]);
                    total += n as u64;
                }
            }
        }
    }

    /// Compares with what it should be.
    pub(super) fn finish(self, name: &str, digest: &Digest) -> Result<Pinned, HubError> {
        let sha256 = hex(&self.sha256.finalize());
        let got = self.git.map_or_else(|| sha256.clone(), |git| hex(&git.finalize()));
        if got != digest.as_str() {
            let (file, expected) = (name.to_owned(), digest.as_str().to_owned());
            return Err(HubError::WrongHash { file, expected, got });
        }
        Ok(Pinned { bytes: self.bytes, sha256, blob: got, modified_ns: 0 })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn modified_ns(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// Names the file or folder in an error of the system.
pub(super) fn at<T>(
    operation: &'static str,
    path: &Path,
    result: io::Result<T>,
) -> Result<T, HubError> {
    result.map_err(|source| HubError::Cache { operation, path: path.to_owned(), source })
}

/// Returns a name that no other process and no other moment has.
pub(super) fn unique(suffix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let time = UNIX_EPOCH.elapsed().unwrap_or_default().as_nanos();
    format!("{:x}-{time:x}-{count:x}{suffix}", std::process::id())
}

/// Writes a small file whole: aside, synced, renamed, folder synced.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().expect("a file of the cache has a folder");
    at("create", folder, fs::create_dir_all(folder))?;
    let aside = folder.join(unique(".tmp"));
    let written = File::create_new(&aside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    at("write", &aside, written)?;
    at("write", path, fs::rename(&aside, path))?;
    sync_folder(folder);
    Ok(())
}

/// Makes renames in a folder survive a power cut, where the system can.
pub(super) fn sync_folder(folder: &Path) {
    // Not every file system can; the files themselves are synced and checked by hash.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(unix)]
fn place(target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    // Some file systems know no links.
    std::os::unix::fs::symlink(target, link).or_else(|_| fs::copy(blob, link).map(|_| ()))
}

#[cfg(not(unix))]
fn place(_target: &Path, blob: &Path, link: &Path) -> io::Result<()> {
    fs::copy(blob, link).map(|_| ())
}
