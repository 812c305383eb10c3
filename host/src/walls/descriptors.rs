//! Which descriptors a worker has, as far as the kernel shows them to this process: to root, as a rule.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir};

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
    // Its page map.
    ("/proc/", 1),
    // An empty root directory.
    ("/", 1),
    // Takes the numbers that files are not to have.
    ("/dev/null", usize::MAX),
];

/// The first of the descriptors listed in `fds`, of a worker that is ready, that is none of its own.
pub(super) fn first_foreign(fds: OwnedFd, granted: &Directories) -> io::Result<Option<String>> {
    let mut counts = [0; ITS_OWN.len()];
    let listed = Dir::read_from(&fds)?;
    for entry in listed {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().ok().and_then(|name| name.parse().ok());
        if number.is_none_or(|number: u32| number < FIRST) {
            continue;
        }
        let link = rustix::fs::readlinkat(&fds, name, Vec::new())?;
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
        let file = rustix::fs::statat(&fds, name, AtFlags::empty())?;
        if !granted.contain(file.st_dev, file.st_ino) {
            return Ok(Some(link.escape_debug().to_string()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_file_is_none_of_a_workers_own() {
        let file = File::open("/proc/self/status").unwrap();
        let fds = File::open("/proc/self/fd").unwrap();
        let found = first_foreign(fds.into(), &Directories::default());
        // Of several it names one.
        assert!(found.unwrap().is_some());
        drop(file);
    }
}
