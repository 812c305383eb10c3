//! What a guest can do with files. Errors are WASI's numbers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::{Duration, SystemTime};

use stockade_guest::{Bytes, work};

type Result<T> = std::result::Result<T, i32>;

/// Tells an error without a number apart from all that have one.
const NO_NUMBER: i32 = -1;

fn number(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(NO_NUMBER)
}

/// The content of a file.
#[work]
pub fn read(path: &str) -> Result<Bytes> {
    fs::read(path).map(Bytes::from).map_err(number)
}

/// Makes a file of these bytes, or replaces its content.
#[work]
pub fn write(path: &str, content: &str) -> Result<()> {
    fs::write(path, content).map_err(number)
}

/// Makes a file of so many bytes, by one write where that is possible. How many it has afterwards.
#[work]
pub fn write_many(path: &str, bytes: u64) -> Result<u64> {
    let content = vec![b'x'; usize::try_from(bytes).map_err(|_| NO_NUMBER)?];
    fs::write(path, content).map_err(number)?;
    fs::metadata(path).map(|file| file.len()).map_err(number)
}

/// Adds to the end of a file.
#[work]
pub fn append(path: &str, content: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(number)
}

/// Opens a file to read and write it, cuts it to a length, and makes it durable.
#[work]
pub fn set_len(path: &str, bytes: u64) -> Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.and_then(|file| {
        file.set_len(bytes)?;
        file.sync_data()?;
        file.sync_all()
    })
    .map_err(number)
}

/// The bytes from one position to another.
#[work]
pub fn read_range(path: &str, from: u64, to: u64) -> Result<Bytes> {
    let read = || {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(to - from).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    read().map(Bytes::from).map_err(number)
}

/// The names in a directory, in order.
#[work]
pub fn list(path: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(number)? {
        let name = entry.map_err(number)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The kind of what a path names, without following it: `file`, `dir`, `link` or `other`; and its length.
#[work]
pub fn kind(path: &str) -> Result<(String, u64)> {
    let found = fs::symlink_metadata(path).map_err(number)?;
    let kind = match found.file_type() {
        kind if kind.is_file() => "file",
        kind if kind.is_dir() => "dir",
        kind if kind.is_symlink() => "link",
        _ => "other",
    };
    Ok((kind.to_owned(), found.len()))
}

/// The length of what a path leads to.
#[work]
pub fn len(path: &str) -> Result<u64> {
    fs::metadata(path).map(|file| file.len()).map_err(number)
}

/// Makes a directory.
#[work]
pub fn create_dir(path: &str) -> Result<()> {
    fs::create_dir(path).map_err(number)
}

/// Gives a file or directory another name.
#[work]
pub fn rename(from: &str, to: &str) -> Result<()> {
    fs::rename(from, to).map_err(number)
}

/// Gives a file a second name.
#[work]
pub fn hard_link(from: &str, to: &str) -> Result<()> {
    fs::hard_link(from, to).map_err(number)
}

/// Makes a symbolic link at `at` that says `to`.
#[work]
pub fn symlink(to: &str, at: &str) -> Result<()> {
    #[expect(
        deprecated,
        reason = "the function for WASI that should be used instead is not stable"
    )]
    fs::soft_link(to, at).map_err(number)
}

/// What a symbolic link says.
#[work]
pub fn read_link(path: &str) -> Result<String> {
    let to = fs::read_link(path).map_err(number)?;
    Ok(to.to_string_lossy().into_owned())
}

/// Removes a file.
#[work]
pub fn remove_file(path: &str) -> Result<()> {
    fs::remove_file(path).map_err(number)
}

/// Removes an empty directory.
#[work]
pub fn remove_dir(path: &str) -> Result<()> {
    fs::remove_dir(path).map_err(number)
}

/// Says that a file was changed so many seconds after 1970.
#[work]
pub fn set_modified(path: &str, seconds: u64) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.and_then(|file| file.set_modified(at)).map_err(number)
}

/// Opens a file so many times and closes none of them. How often it could be opened.
#[work]
pub fn leave_open(path: &str, times: u32) -> u32 {
    let mut opened = 0;
    while opened < times
        && let Ok(file) = File::open(path)
    {
        std::mem::forget(file);
        opened += 1;
    }
    opened
}

/// Reads a directory for ever.
#[work]
pub fn list_for_ever(path: &str) {
    while fs::read_dir(path).is_ok_and(|entries| entries.count() < usize::MAX) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_used() {
        let dir = std::env::temp_dir().join(format!("stockade-probe-{}", std::process::id()));
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        create_dir(&path("")).unwrap();
        write(&path("a"), "text").unwrap();
        append(&path("a"), " and more").unwrap();
        assert_eq!(*read(&path("a")).unwrap(), *b"text and more");
        set_len(&path("a"), 4).unwrap();
        assert_eq!(*read_range(&path("a"), 1, 3).unwrap(), *b"ex");
        assert_eq!(write_many(&path("many"), 1000), Ok(1000));
        hard_link(&path("a"), &path("b")).unwrap();
        symlink("a", &path("link")).unwrap();
        assert_eq!(read_link(&path("link")).unwrap(), "a");
        assert_eq!(kind(&path("link")).unwrap().0, "link");
        assert_eq!(len(&path("link")).unwrap(), 4);
        set_modified(&path("a"), 1).unwrap();
        assert_eq!(leave_open(&path("a"), 3), 3);
        rename(&path("b"), &path("c")).unwrap();
        assert_eq!(list(&path("")).unwrap(), ["a", "c", "link", "many"]);
        for name in ["a", "c", "link", "many"] {
            remove_file(&path(name)).unwrap();
        }
        assert!(read(&path("a")).is_err_and(|error| error != NO_NUMBER));
        remove_dir(&path("")).unwrap();
        list_for_ever(&path(""));
    }
}
