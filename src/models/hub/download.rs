//! One file from the hub into the cache: resumed, checked, and only then visible.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::{
    Event, HubError, Watch,
    cache::{Folder, Hash, Pinned, at, check, sync_folder, unique},
    describe::Digest,
    http::{Client, Failure, Rest, shown, text},
};

/// A file to fetch.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) url: String,
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

/// Sees to it that the blob is in the cache and is what the hub says; returns its record.
///
/// # Errors
///
/// If it cannot be fetched, or what comes has another size or hash; that is then not kept.
pub(super) fn fetch(
    client: &Client<'_>,
    folder: &Folder,
    wanted: &Wanted<'_>,
    watch: Watch<'_>,
) -> Result<Pinned, HubError> {
    let path = folder.blob(&wanted.digest);
    let there = || check(&path, wanted.name, wanted.bytes, &wanted.digest);
    if path.exists()
        && let Ok(pinned) = there()
    {
        forget_validators(folder, wanted);
        return Ok(pinned);
    }
    let lock = folder.lock(&wanted.digest, wanted.name, &mut *watch)?;
    if path.exists() {
        // Another process may have been faster. What is there and wrong is fetched anew.
        match there() {
            Ok(pinned) => return Ok(pinned),
            Err(error) => watch(Event::Damaged { file: wanted.name, error: &error }),
        }
    }
    // Without a lock, what lies there may be in the hands of another process.
    let mut partial = Partial::open(folder, wanted, lock.is_some())?;
    let resumed = partial.length > 0;
    client.patiently(&mut *watch, |watch| partial.receive(client, wanted, watch))?;
    let pinned = match partial.finished(wanted) {
        Err(error) if resumed => {
            // The beginning may have been damaged by a power cut: once more from the start.
            watch(Event::Damaged { file: wanted.name, error: &error });
            partial.restart(wanted)?;
            client.patiently(&mut *watch, |watch| partial.receive(client, wanted, watch))?;
            partial.finished(wanted)
        }
        finished => finished,
    };
    let pinned = match pinned {
        Ok(pinned) => {
            let pinned = partial.keep(&path, pinned)?;
            forget_validators(folder, wanted);
            pinned
        }
        Err(error) => {
            partial.discard()?;
            return Err(error);
        }
    };
    watch(Event::Done { file: wanted.name });
    Ok(pinned)
}

/// Removes what a process that was killed left behind of a file's `ETag`s: without its bytes one is of
/// no use, and with them its lack costs no more than to fetch them again.
fn forget_validators(folder: &Folder, wanted: &Wanted<'_>) {
    let prefix = format!("{}.", wanted.digest.as_str());
    for entry in fs::read_dir(folder.partial()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|n| n.starts_with(&prefix) && n.ends_with(".etag")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file that has not fully arrived, under a name no other process uses.
struct Partial {
    path: PathBuf,
    /// Holds the `ETag` that came with the bytes.
    validator: PathBuf,
    file: File,
    /// Of what has arrived.
    hash: Hash,
    length: u64,
}

impl Partial {
    /// Takes over what an earlier process left behind if `resume`, or starts anew.
    fn open(folder: &Folder, wanted: &Wanted<'_>, resume: bool) -> Result<Self, HubError> {
        let partials = folder.partial();
        at("create", &partials, fs::create_dir_all(&partials))?;
        let prefix = format!("{}.", wanted.digest.as_str());
        let path = partials.join(prefix.clone() + &unique(".part"));
        let validator = path.with_extension("etag");
        for entry in at("read", &partials, fs::read_dir(&partials))?.flatten() {
            let left = entry.path();
            let name = entry.file_name();
            let ours =
                name.to_str().is_some_and(|n| n.starts_with(&prefix) && n.ends_with(".part"));
            if !(ours && resume) {
                continue;
            }
            if !path.exists() && fs::rename(&left, &path).is_ok() {
                let _ = fs::rename(left.with_extension("etag"), &validator);
            } else if fs::remove_file(&left).is_ok() {
                let _ = fs::remove_file(left.with_extension("etag"));
            }
        }
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = at("open", &path, file)?;
        let mut hash = Hash::new(wanted.bytes, &wanted.digest);
        let length = at("read", &path, hash.update_from(&mut file))?;
        Ok(Self { path, validator, file, hash, length })
    }

    /// Receives what is missing.
    fn receive(
        &mut self,
        client: &Client<'_>,
        wanted: &Wanted<'_>,
        watch: Watch<'_>,
    ) -> Result<(), Failure> {
        if self.length > wanted.bytes {
            self.restart(wanted)?;
        }
        let have = self.length;
        watch(Event::File { file: wanted.name, bytes: wanted.bytes, have });
        if self.length == wanted.bytes {
            return Ok(());
        }
        let validator = fs::read_to_string(&self.validator).ok().filter(|_| have > 0);
        let rest = validator.map(|validator| Rest { from: have, validator });
        let answer = match client.get(&wanted.url, rest.as_ref()) {
            Err(Failure { error: HubError::Status { status: 416, .. }, .. }) => {
                client.get(&wanted.url, None)?
            }
            answer => answer?,
        };
        let response = answer.response;
        let headers = response.headers();
        let continues = format!("bytes {have}-{}/{}", wanted.bytes.saturating_sub(1), wanted.bytes);
        if response.status() == 206 && text(headers, "content-range") != Some(&continues) {
            // Not the rest that was asked for: nothing of it is used, and the next try starts anew.
            self.restart(wanted)?;
            let (file, expected) = (wanted.name.to_owned(), wanted.bytes);
            return Err(HubError::Truncated { file, expected, got: 0 }.into());
        }
        if response.status() == 200 {
            if have > 0 {
                self.restart(wanted)?;
                watch(Event::File { file: wanted.name, bytes: wanted.bytes, have: 0 });
            }
            let length = response.body().content_length();
            if let Some(got) = length.filter(|&length| length != wanted.bytes) {
                let (file, expected) = (wanted.name.to_owned(), wanted.bytes);
                return Err(HubError::WrongSize { file, expected, got }.into());
            }
        }
        if let Some(etag) = text(headers, "etag").filter(|etag| etag.starts_with('"')) {
            // A part of it, where a kill leaves one, fits no file: that is then fetched from the start.
            at("write", &self.validator, fs::write(&self.validator, etag))?;
        }
        self.append(response.into_body().into_reader(), wanted, watch)
    }

    /// Appends a body, which must end where the file ends.
    fn append(
        &mut self,
        mut body: impl Read,
        wanted: &Wanted<'_>,
        watch: Watch<'_>,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 256 << 10];
        let before = self.length;
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(source) => {
                    let url = shown(&wanted.url);
                    let error =
                        HubError::Network { url, source: Box::new(ureq::Error::Io(source)) };
                    return Err(Failure::from(error).after(self.length > before));
                }
            };
            let got = self.length + n as u64;
            if got > wanted.bytes {
                let (file, expected) = (wanted.name.to_owned(), wanted.bytes);
                self.restart(wanted)?;
                return Err(HubError::WrongSize { file, expected, got }.into());
            }
            at("write", &self.path, self.file.write_all(&buffer[..n]))?;
            self.hash.update(&buffer[..n]);
            self.length = got;
            watch(Event::Bytes(n as u64));
        }
        if self.length < wanted.bytes {
            let (file, expected, got) = (wanted.name.to_owned(), wanted.bytes, self.length);
            let error = HubError::Truncated { file, expected, got };
            return Err(Failure::from(error).after(self.length > before));
        }
        Ok(())
    }

    /// Forgets what has arrived.
    fn restart(&mut self, wanted: &Wanted<'_>) -> Result<(), HubError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        at("write", &self.path, emptied)?;
        let _ = fs::remove_file(&self.validator);
        self.hash = Hash::new(wanted.bytes, &wanted.digest);
        self.length = 0;
        Ok(())
    }

    fn discard(self) -> Result<(), HubError> {
        let _ = fs::remove_file(&self.validator);
        at("remove", &self.path, fs::remove_file(&self.path))
    }

    /// Returns the record of what has arrived if it is what it should be.
    fn finished(&self, wanted: &Wanted<'_>) -> Result<Pinned, HubError> {
        self.hash.clone().finish(wanted.name, &wanted.digest)
    }

    /// Makes it the blob.
    fn keep(self, blob: &Path, pinned: Pinned) -> Result<Pinned, HubError> {
        at("write", &self.path, self.file.sync_all())?;
        let blobs = blob.parent().expect("a blob has a folder");
        at("create", blobs, fs::create_dir_all(blobs))?;
        at("write", blob, fs::rename(&self.path, blob))?;
        sync_folder(blobs);
        pinned.stamped(blob)
    }
}
