//! Which descriptors a worker has, as far as the kernel shows them to this process: to root, as a rule.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, Stat};

use crate::wasi::Directories;

/// The first that a program could have left to another one: those below are made for the worker.
const FIRST: u32 = 3;

/// What links in /proc say of what a worker is sent or makes, and how many of a kind it may have at most.
const ITS_OWN: [(&str, usize); 6] = [
    // Its bell.
    ("anon_inode:[eventfd]", 1),
    // Its artifact, and what an initialisation leaves.
    ("/memfd:stockade-", 2),
    // A forked one's string to its host; a spawned one has none.
    (STRING, 1),
    // Its page map.
    ("/proc/", 1),
    // An empty root directory, which is not this process's.
    (ROOT, 1),
    // Takes the numbers that files are not to have.
    ("/dev/null", usize::MAX),
];

const STRING: &str = "socket:[";
const ROOT: &str = "/";

/// The first of the descriptors listed in `fds`, of a worker that has put up its walls, that is none of its own.
pub(super) fn first_foreign(
    fds: OwnedFd,
    granted: &Directories,
    is_forked: bool,
) -> io::Result<Option<String>> {
    let is_ours = |file: &Stat| {
        let root = rustix::fs::stat(ROOT);
        root.is_ok_and(|root| (root.st_dev, root.st_ino) == (file.st_dev, file.st_ino))
    };
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
            ROOT | "/dev/null" | "anon_inode:[eventfd]" => link == *kind,
            STRING => is_forked && link.starts_with(STRING),
            kind => link.starts_with(kind),
        });
        let file = || rustix::fs::statat(&fds, name, AtFlags::empty());
        if let Some(kind) = kind {
            let (what, most) = ITS_OWN[kind];
            counts[kind] += 1;
            if counts[kind] <= most && !(what == ROOT && is_ours(&file()?)) {
                continue;
            }
        }
        let file = file()?;
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
        let found = first_foreign(fds.into(), &Directories::default(), false);
        // Of several it names one.
        assert!(found.unwrap().is_some());
        drop(file);
    }

    /// A directory of links, as /proc would show descriptors.
    #[test]
    fn a_socket_is_a_forked_workers_and_our_root_is_nobodys() {
        use std::os::unix::fs::symlink;
        let found = |links: &[(&str, &str)], is_forked| {
            let name = format!("stockade-descriptors-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir(&dir).unwrap();
            for (number, to) in links {
                symlink(to, dir.join(number)).unwrap();
            }
            let fds = File::open(&dir).unwrap();
            let found = first_foreign(fds.into(), &Directories::default(), is_forked);
            std::fs::remove_dir_all(&dir).unwrap();
            found
        };
        assert_eq!(
            found(&[("2", "/"), ("3", "/dev/null")], false).unwrap(),
            None
        );
        assert_eq!(found(&[("4", "/")], false).unwrap().as_deref(), Some("/"));
        // There is nothing that could be looked at, which only happens to what is not taken for a worker's own.
        let socket = [("5", "socket:[1]")];
        assert!(found(&socket, false).is_err());
        assert_eq!(found(&socket, true).unwrap(), None);
    }
}
