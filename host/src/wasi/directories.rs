//! Directories that guests are granted: checked, and opened once.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use stockade_wire::message::{GRANTS_MAX, Grant};

use crate::Error;

/// A grant as it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Granted {
    pub(super) host: PathBuf,
    pub(super) guest: String,
    pub(super) write: bool,
}

/// What all workers of a host are sent.
#[derive(Debug, Default)]
pub(crate) struct Directories {
    fds: Vec<OwnedFd>,
    /// The user to whom those belong that guests may write.
    owner: Option<u32>,
}

fn refuse(what: impl std::fmt::Display) -> Error {
    Error::config("wasi", what.to_string())
}

/// What workers are told, if it makes sense.
pub(super) fn checked(granted: &[Granted]) -> Result<Vec<Grant>, Error> {
    if granted.len() > GRANTS_MAX {
        return Err(refuse(format_args!(
            "{} directories are granted, at most {GRANTS_MAX} can be: grant one above them",
            granted.len()
        )));
    }
    let mut seen: Vec<&Granted> = Vec::new();
    for grant in granted {
        let Granted { host, guest, .. } = grant;
        if !host.is_absolute() {
            return Err(refuse(format_args!(
                "the directory `{}` is relative, and what it means would depend on where the server was started: \
                 give an absolute path",
                host.display()
            )));
        }
        if guest.is_empty() || guest.contains('\0') || guest.split('/').any(|part| part == "..") {
            return Err(refuse(format_args!(
                "the guest path `{}` of `{}` is empty, or contains `..` or a zero byte: give a path like `/data`",
                guest.escape_debug(),
                host.display()
            )));
        }
        if let Some(other) = seen.iter().find(|other| is_same(&other.guest, guest)) {
            return Err(refuse(format_args!(
                "the guest path `{guest}` is given to both `{}` and `{}`: give each a path of its own",
                other.host.display(),
                host.display()
            )));
        }
        seen.push(grant);
    }
    Ok(granted
        .iter()
        .map(|Granted { guest, write, .. }| Grant {
            guest_path: guest.clone(),
            write: *write,
        })
        .collect())
}

/// Whether a guest cannot tell these apart: its working directory is the root.
fn is_same(one: &str, other: &str) -> bool {
    fn parts(path: &str) -> impl Iterator<Item = &str> {
        path.split('/').filter(|part| !matches!(*part, "" | "."))
    }
    parts(one).eq(parts(other))
}

impl Directories {
    pub(super) fn open(granted: &[Granted]) -> Result<Self, Error> {
        let mut opened = Self {
            fds: Vec::new(),
            owner: None,
        };
        let mut written: Option<&Path> = None;
        for Granted { host, guest, write } in granted {
            let cannot = |error: rustix::io::Errno| {
                refuse(format_args!(
                    "the directory `{}`, granted as `{guest}`, cannot be opened: {}",
                    host.display(),
                    std::io::Error::from(error)
                ))
            };
            // Only a name for it, which takes no permission: workers see whether they may use it.
            let how = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(host, how, Mode::empty()).map_err(cannot)?;
            if *write {
                let owner = rustix::fs::fstat(&fd).map_err(cannot)?.st_uid;
                if rustix::process::geteuid().is_root()
                    && let Some((first, one)) = written.zip(opened.owner)
                    && one != owner
                {
                    return Err(refuse(format_args!(
                        "workers become the user who owns the directories that guests may write, but `{}` belongs \
                         to user {one} and `{}` to user {owner}: use a host for each",
                        first.display(),
                        host.display()
                    )));
                }
                opened.owner = Some(owner);
                written = Some(host);
            }
            opened.fds.push(fd);
        }
        Ok(opened)
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.fds.iter().map(AsFd::as_fd)
    }

    /// Whether this is one of them.
    pub(crate) fn contain(&self, device: u64, inode: u64) -> bool {
        let is_it = |stat: rustix::fs::Stat| stat.st_dev == device && stat.st_ino == inode;
        self.fds
            .iter()
            .any(|fd| rustix::fs::fstat(fd).is_ok_and(is_it))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// The user to whom those belong that guests may write: whom workers of a root's host become.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.owner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_paths_that_mean_the_same_are_the_same() {
        for (one, other) in [
            ("/data", "/data/"),
            ("/data", "data"),
            ("./data", "//data/."),
            ("/", "."),
        ] {
            assert!(is_same(one, other), "{one} {other}");
        }
        assert!(!is_same("/data", "/data/more"));
        assert!(!is_same("/data", "/"));
    }
}
