//! Zip archives that somebody else made.
//!
//! An archive says of itself what it likes: sizes that are not so, names that lead out of any directory, ten
//! petabytes in forty kilobytes. Sizes that it claims are only shown; what is unpacked is counted as it comes.
#![forbid(unsafe_code)]

use std::io::{Cursor, ErrorKind, Read};

use serde::{Deserialize, Serialize};
use stockade_guest::{Bytes, work};
use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

/// What an archive says about one of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, as it was written: nothing that a file system should be given.
    pub name: String,
    /// Where below a directory of one's own it may be put; none when it would come to lie elsewhere.
    pub path: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// How many bytes it takes in the archive.
    pub packed: u64,
    /// How many bytes it claims to have.
    pub claimed: u64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link: its contents are the path that it leads to.
    Link,
}

/// Why an archive could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArchiveError {
    /// It is no zip archive, or a damaged one.
    Damaged(String),
    /// It uses what this cannot do, such as a password.
    Unsupported(String),
    /// It has no entry of this name.
    NoSuchEntry,
    /// The entry's name leads out of the archive, or it is no file.
    NoSafeFile,
    /// The entry has more bytes than were asked for.
    TooLarge {
        /// What was asked for.
        limit: u64,
    },
}

/// What is in `archive`.
#[work]
pub fn list(archive: &[u8]) -> Result<Vec<Entry>, ArchiveError> {
    let mut archive = open(archive)?;
    (0..archive.len())
        .map(|index| {
            // Raw, so that an entry that cannot be unpacked is shown.
            let entry = archive.by_index_raw(index)?;
            Ok(Entry {
                path: safe_path(&entry),
                kind: if entry.is_dir() {
                    Kind::Directory
                } else if entry.is_symlink() {
                    Kind::Link
                } else {
                    Kind::File
                },
                packed: entry.compressed_size(),
                claimed: entry.size(),
                name: entry.name()?.into_owned(),
            })
        })
        .collect()
}

/// The file of this name in `archive`, if it has at most so many bytes.
#[work]
pub fn extract(archive: &[u8], name: &str, bytes_max: u64) -> Result<Bytes, ArchiveError> {
    let mut archive = open(archive)?;
    let entry = archive.by_name(name)?;
    if safe_path(&entry).is_none() || !entry.is_file() {
        return Err(ArchiveError::NoSafeFile);
    }
    let mut bytes = Vec::new();
    let read = entry
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(ZipError::Io)?;
    if read as u64 > bytes_max {
        return Err(ArchiveError::TooLarge { limit: bytes_max });
    }
    Ok(bytes.into())
}

/// Where below a directory an entry may be put: a path that is not empty, of names alone.
fn safe_path(entry: &ZipFile<'_, impl Read>) -> Option<String> {
    let path = entry.enclosed_name()?.to_str()?.to_owned();
    (!path.is_empty()).then_some(path)
}

fn open(archive: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, ArchiveError> {
    Ok(ZipArchive::new(Cursor::new(archive))?)
}

impl From<ZipError> for ArchiveError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::FileNotFound => Self::NoSuchEntry,
            ZipError::UnsupportedArchive(_)
            | ZipError::CompressionMethodNotSupported(_)
            | ZipError::InvalidPassword => Self::Unsupported(error.to_string()),
            // A method is met when its stream is read.
            ZipError::Io(error) if error.kind() == ErrorKind::Unsupported => {
                Self::Unsupported(error.to_string())
            }
            error => Self::Damaged(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &[u8] = include_bytes!("../../../tests/archives/good.zip");
    const NAMES: &[u8] = include_bytes!("../../../tests/archives/names.zip");

    #[test]
    fn what_is_in_an_archive_is_listed_and_unpacked() {
        let entries = list(GOOD).unwrap();
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.kind, entry.claimed))
            .collect();
        assert_eq!(
            shown,
            [
                ("images/", Kind::Directory, 0),
                ("images/wheel.png", Kind::File, 19_470),
                ("images/julia.jpg", Kind::File, 43_363),
                ("tables/squares.txt", Kind::File, 108_154),
                ("tables/größe – 大きさ.txt", Kind::File, 12),
                ("empty", Kind::File, 0),
            ]
        );
        let table = extract(GOOD, "tables/squares.txt", 108_154).unwrap();
        assert!(table.starts_with(b"0 * 0 = 0\n1 * 1 = 1\n"));
        assert!(extract(GOOD, "empty", 0).unwrap().is_empty());
        assert_eq!(
            extract(GOOD, "tables/squares.txt", 108_153),
            Err(ArchiveError::TooLarge { limit: 108_153 })
        );
        assert_eq!(extract(GOOD, "images/", 10), Err(ArchiveError::NoSafeFile));
        assert_eq!(extract(GOOD, "nosuch", 10), Err(ArchiveError::NoSuchEntry));
    }

    #[test]
    fn a_path_never_leads_out() {
        for entry in list(NAMES).unwrap() {
            let leads_out = ["..", "\0"];
            let expected =
                !entry.name.is_empty() && !leads_out.iter().any(|trick| entry.name.contains(trick));
            assert_eq!(entry.path.is_some(), expected, "{entry:?}");
            assert!(!entry.path.is_some_and(|path| path.starts_with('/')));
        }
    }
}
