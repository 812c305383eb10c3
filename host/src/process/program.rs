//! Which program worker processes run.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use stockade_wire::role;

use crate::Error;

/// An opened program. It is spawned from its descriptor, so replacing the file cannot mix versions.
#[derive(Debug)]
pub(crate) struct Program {
    fd: OwnedFd,
    shown: PathBuf,
}

impl Program {
    /// The configured program, or the application itself.
    pub(crate) fn find(configured: Option<&Path>) -> Result<Self, Error> {
        if std::env::var_os(role::VARIABLE).is_some() {
            // This process was started as a worker and became the application instead: its linker dropped
            // the worker's constructor. Workers of it would spawn workers without end.
            let reason = format!(
                "this process was started to be a worker ({} is set) but the program did not take that role; \
                 set `worker_program` to a `stockade-worker` program",
                role::VARIABLE
            );
            return Err(Error::config("worker_program", reason));
        }
        match configured {
            Some(path) => Self::open(path),
            None => Self::embedded(),
        }
    }

    #[cfg(feature = "embedded-worker")]
    fn embedded() -> Result<Self, Error> {
        if !stockade_worker::entry::in_main_program() {
            let reason = "the worker is part of a shared library, so the application cannot be its own \
                          worker; set `worker_program` to a `stockade-worker` program";
            return Err(Error::config("worker_program", reason));
        }
        Self::open(Path::new("/proc/self/exe"))
    }

    #[cfg(not(feature = "embedded-worker"))]
    fn embedded() -> Result<Self, Error> {
        let reason = "built without the feature `embedded-worker`, a host needs the path of a \
                      `stockade-worker` program (`cargo install stockade-worker`)";
        Err(Error::config("worker_program", reason))
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| {
            Error::config("worker_program", format!("{}: {reason}", path.display()))
        };
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(
            |error| match error {
                // Nothing is wrong with the setting.
                Errno::MFILE | Errno::NFILE | Errno::NOMEM => Error::Io(error.into()),
                _ => refuse(std::io::Error::from(error).to_string()),
            },
        )?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| refuse(error.to_string()))?;
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(refuse("not a file".to_owned()));
        }
        if stat.st_mode & 0o111 == 0 {
            return Err(refuse("not executable".to_owned()));
        }
        Ok(Self {
            fd,
            shown: path.to_owned(),
        })
    }

    /// A path that names the opened program, whatever has become of its file.
    pub(super) fn exec_path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// The path it was found under, unless it is the application itself.
    pub(crate) fn path(&self) -> &Path {
        &self.shown
    }

    /// The path it was found under.
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.shown.display()
    }

    /// What tells this file from every other and from its own later versions.
    pub(crate) fn fingerprint(&self) -> Result<[u64; 6], Error> {
        let stat = rustix::fs::fstat(self.fd.as_fd()).map_err(std::io::Error::from)?;
        // Some are signed; only equality matters.
        Ok([
            stat.st_dev as u64,
            stat.st_ino as u64,
            stat.st_size as u64,
            stat.st_mtime as u64,
            stat.st_mtime_nsec as u64,
            stat.st_ctime as u64,
        ])
    }
}
