//! Artifacts on disk.
//!
//! An artifact is native code, so a file that somebody else could have written is never loaded: the
//! directory belongs to this user and nobody else may write to it. Each file carries a hash of its content,
//! against disks and half-written files. Whatever is wrong with the cache is reported and compiled around;
//! no call fails for it.

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::OFlags;
use stockade_wire::message::{self, InitSetup, StopBy};

use super::Artifact;
use super::compile::ARTIFACT_BYTES_MAX;
use crate::config::CacheDir;

/// A directory that was found safe.
pub(super) struct Cache {
    dir: PathBuf,
}

/// What an artifact was made from.
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn new(module: &blake3::Hash, program: [u8; 32], stop: StopBy) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("stockade artifact key, version 2");
        hasher.update(module.as_bytes());
        hasher.update(&program);
        hasher.update(match stop {
            StopBy::Epoch => &b"epoch"[..],
            StopBy::Signal => b"signal",
            StopBy::Kill => b"kill_",
        });
        Self(*hasher.finalize().as_bytes())
    }

    /// For what an initialisation that saw these settings has left.
    pub(super) fn with(&self, init: &InitSetup) -> Self {
        let mut hasher =
            blake3::Hasher::new_derive_key("stockade initialised artifact key, version 1");
        hasher.update(&self.0);
        // What is left does not depend on how the process was sealed.
        let seal = message::Seal::Required;
        hasher.update(&message::encode(&InitSetup {
            seal,
            ..init.clone()
        }));
        Self(*hasher.finalize().as_bytes())
    }
}

const MAGIC: [u8; 8] = *b"STKDART1";

/// Mark, key, lengths of code and description, hash of everything else.
const HEADER: usize = 8 + 32 + 8 + 8 + 32;

/// How often a waiting host looks whether another one has finished compiling.
const LOCK_LOOKS: Duration = Duration::from_millis(5);

impl Cache {
    /// The directory, made if it does not exist; `None`, and a trace, when it cannot be used.
    pub(super) fn open(dir: &CacheDir) -> Option<Self> {
        let dir = match dir {
            CacheDir::Nowhere => return None,
            CacheDir::At(dir) => dir.clone(),
            CacheDir::Default => default_dir()?,
        };
        match prepare(&dir) {
            Ok(()) => Some(Self { dir }),
            Err(error) => {
                tracing::warn!(target: "stockade", dir = %dir.display(), %error, "the cache is not used");
                None
            }
        }
    }

    /// Keeps others from compiling the same module, for as long as the file is open. Whoever waits for
    /// longer than compiling may take goes on without.
    pub(super) fn lock(&self, module: &blake3::Hash, at_most: Duration) -> Option<File> {
        // A few files for all modules: they stay behind.
        let path = self.dir.join(format!("lock-{:02x}", module.as_bytes()[0]));
        let file = self.report(&path, open_for_writing(&path, false))?;
        let begun = Instant::now();
        while file.try_lock().is_err() {
            if begun.elapsed() > at_most {
                return None;
            }
            std::thread::sleep(LOCK_LOOKS);
        }
        Some(file)
    }

    /// The identity that the program with this fingerprint gave itself.
    pub(super) fn identity_of(&self, fingerprint: [u64; 6]) -> Option<[u8; 32]> {
        let path = self.identity_path(fingerprint);
        let bytes = self.report(&path, read(&path, 64))??;
        let (identity, hash) = bytes.split_at_checked(32)?;
        let whole = blake3::hash(identity).as_bytes() == hash;
        whole.then(|| identity.try_into().ok()).flatten()
    }

    /// Keeps what the program with this fingerprint calls itself.
    pub(super) fn remember(&self, fingerprint: [u64; 6], identity: [u8; 32]) {
        let path = self.identity_path(fingerprint);
        let hash = blake3::hash(&identity);
        self.report(&path, self.write(&path, &[&identity, hash.as_bytes()]));
    }

    fn identity_path(&self, fingerprint: [u64; 6]) -> PathBuf {
        let bytes: Vec<u8> = fingerprint
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        self.dir
            .join(format!("program-{}", blake3::hash(&bytes).to_hex()))
    }

    /// Whether there is something that was an artifact.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.artifact_path(key).exists()
    }

    /// An artifact that is there and whole.
    pub(super) fn load(&self, key: &Key) -> Option<Artifact> {
        const FILE_BYTES_MAX: u64 = ARTIFACT_BYTES_MAX + HEADER as u64;
        let path = self.artifact_path(key);
        let bytes = self.report(&path, read(&path, FILE_BYTES_MAX))??;
        let artifact = decode(key, bytes.into());
        if artifact.is_none() {
            tracing::warn!(target: "stockade", file = %path.display(), "a damaged artifact is compiled again");
        }
        artifact
    }

    pub(super) fn store(&self, key: &Key, artifact: &Artifact) {
        let path = self.artifact_path(key);
        let header = header(key, artifact);
        self.report(
            &path,
            self.write(&path, &[&header, &artifact.code, &artifact.info]),
        );
    }

    fn artifact_path(&self, key: &Key) -> PathBuf {
        let mut name = String::with_capacity(80);
        for byte in key.0 {
            let _ = write!(name, "{byte:02x}");
        }
        self.dir.join(name + ".artifact")
    }

    /// Writes a file whole or not at all.
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        // Two containers may share the directory and number their processes alike.
        let unique = RandomState::new().build_hasher().finish();
        let temporary = self
            .dir
            .join(format!(".new-{}-{unique:016x}", std::process::id()));
        let mut file = open_for_writing(&temporary, true)?;
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| std::fs::rename(&temporary, path));
        if written.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        written
    }

    fn report<T>(&self, path: &Path, result: io::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| tracing::warn!(target: "stockade", file = %path.display(), %error, "the cache is not used"))
            .ok()
    }
}

fn default_dir() -> Option<PathBuf> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base =
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    if base.is_none() {
        tracing::debug!(target: "stockade", "neither XDG_CACHE_HOME nor HOME is set: artifacts are not kept");
    }
    base.map(|base| base.join("stockade"))
}

fn prepare(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = std::fs::symlink_metadata(dir)?;
    if !found.is_dir() {
        return Err(io::Error::other("not a directory"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    if found.mode() & 0o022 != 0 {
        return Err(io::Error::other("others may write to it: `chmod 700` it"));
    }
    Ok(())
}

/// Links are not followed, and pipes not waited for: the directory is ours, so either in it is a mistake or
/// a trick.
fn no_tricks() -> i32 {
    // The flag words of the kernel fit the C type by definition.
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn open_for_writing(path: &Path, new: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .create_new(new)
        .mode(0o600)
        .custom_flags(no_tricks())
        .open(path)
}

/// A file of ours, if there is one. One that is longer than `limit` may have been put there to use up memory, and is an
/// error.
fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(no_tricks())
        .open(path)
    {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("not a file of this user"));
    }
    if found.len() > limit {
        return Err(io::Error::other("longer than any file that is kept there"));
    }
    // Reading into a buffer that grows took as long as all the rest.
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or_default());
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn header(key: &Key, artifact: &Artifact) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..40].copy_from_slice(&key.0);
    header[40..48].copy_from_slice(&(artifact.code.len() as u64).to_le_bytes());
    header[48..56].copy_from_slice(&(artifact.info.len() as u64).to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&header[..56])
        .update(&artifact.code)
        .update(&artifact.info);
    header[56..].copy_from_slice(hasher.finalize().as_bytes());
    header
}

/// A file that is what it says, or nothing: as it is, and with a hash that was made to fit, which whoever may
/// write to the cache can do.
#[cfg(any(fuzzing, test))]
pub(super) fn fuzzed(bytes: &[u8]) {
    let key = Key([7; 32]);
    let decode = |bytes: &[u8]| decode(&key, Bytes::copy_from_slice(bytes));
    assert!(decode(bytes).is_none_or(|read| header(&key, &read) == bytes[..HEADER]));
    if let Some((code, info)) = bytes.split_at_checked(bytes.len() / 2) {
        let artifact = Artifact {
            code: Bytes::copy_from_slice(code),
            info: Bytes::copy_from_slice(info),
        };
        let mut file = header(&key, &artifact).to_vec();
        file.extend(bytes);
        assert!(decode(&file) == Some(artifact));
        // One bit more or less and it is another file.
        let at = bytes.first().map_or(0, |byte| usize::from(*byte)) % file.len();
        file[at] ^= 1;
        assert!(decode(&file).is_none());
    }
}

fn decode(key: &Key, bytes: Bytes) -> Option<Artifact> {
    let (found, content) = bytes.split_at_checked(HEADER)?;
    let length = |at: usize| u64::from_le_bytes(found[at..at + 8].try_into().expect("eight bytes"));
    let (code, info) = (
        usize::try_from(length(40)).ok()?,
        usize::try_from(length(48)).ok()?,
    );
    if code.checked_add(info) != Some(content.len()) {
        return None;
    }
    let info = HEADER + code;
    let artifact = Artifact {
        code: bytes.slice(HEADER..info),
        info: bytes.slice(info..),
    };
    (header(key, &artifact) == *found).then_some(artifact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Key, Artifact) {
        let key = Key::new(&blake3::hash(b"module"), [7; 32], StopBy::Epoch);
        (
            key,
            Artifact {
                code: Bytes::from_static(b"native code"),
                info: Bytes::from_static(b"{}"),
            },
        )
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let (key, artifact) = sample();
        let decode = |key, bytes: &[u8]| decode(key, Bytes::copy_from_slice(bytes));
        let mut file = header(&key, &artifact).to_vec();
        file.extend(&artifact.code);
        file.extend(&artifact.info);
        assert_eq!(decode(&key, &file), Some(artifact));
        for cut in 0..file.len() {
            assert_eq!(decode(&key, &file[..cut]), None);
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&key, &damaged), None, "byte {at}");
        }
        let other = Key::new(&blake3::hash(b"module"), [7; 32], StopBy::Kill);
        assert_eq!(decode(&other, &file), None);
    }
}
