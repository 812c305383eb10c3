//! Which descriptors a worker has, as far as the kernel shows them to this process: to root, as a rule.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{WallState, claimed, missing};
use crate::limits::Hardening;
use crate::wasi::Directories;

/// The first that a program could have left to another one: those below are made for the worker.
const FIRST: u32 = 3;

/// What links in /proc say of what a worker is sent or makes, and how many of a kind it may have at most.
const ITS_OWN: [(&str, usize); 6] = [
    // Its bell.
    ("anon_inode:[eventfd]", 1),
    // Its artifact, and what an initialisation leaves.
    ("/memfd:stockade-", 2),
    // A forked one's string to its host.
    ("socket:[", 1),
    ("/proc/", 1),
    // An empty root directory.
    ("/", 1),
    // Takes the numbers that files are not to have.
    ("/dev/null", usize::MAX),
];

/// How it is known that a worker which is ready has no descriptor of the application's.
pub(super) fn state(pid: u32, granted: &Directories, hardening: Hardening) -> WallState {
    match first_foreign(Path::new(&format!("/proc/{pid}/fd")), granted) {
        Ok(None) => WallState::Verified,
        Ok(Some(link)) => missing(&format!(
            "it has a descriptor that is none of a worker's: {link}"
        )),
        Err(_) => claimed(hardening),
    }
}

fn first_foreign(fds: &Path, granted: &Directories) -> io::Result<Option<String>> {
    let mut counts = [0; ITS_OWN.len()];
    for entry in fs::read_dir(fds)? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().parse();
        if number.is_ok_and(|number: u32| number < FIRST) {
            continue;
        }
        let link = fs::read_link(entry.path())?;
        let link = link.to_string_lossy();
        let kind = ITS_OWN.iter().position(|(kind, _)| match *kind {
            "/proc/" => link.starts_with(kind) && link.ends_with("/pagemap"),
            "/" | "/dev/null" | "anon_inode:[eventfd]" => link == *kind,
            kind => link.starts_with(kind),
        });
        if let Some(kind) = kind {
            counts[kind] += 1;
            if counts[kind] <= ITS_OWN[kind].1 {
                continue;
            }
        }
        let file = fs::metadata(entry.path())?;
        if !granted.contain(file.dev(), file.ino()) {
            return Ok(Some(link.escape_debug().to_string()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_none_of_a_workers_own() {
        let file = fs::File::open("/proc/self/status").unwrap();
        let found = first_foreign(Path::new("/proc/self/fd"), &Directories::default());
        // Of several it names one.
        assert!(found.unwrap().is_some());
        drop(file);
        assert!(first_foreign(Path::new("/proc/self/no"), &Directories::default()).is_err());
    }
}
