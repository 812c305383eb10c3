//! Directories that a guest was granted: preview 1's file calls, by the crate `wasmtime-wasi`.
//!
//! That crate runs its calls on a tokio runtime. The one that it finds here has no thread, no reactor and no
//! timer: a file call runs on this thread to its end, so its future is ready when it is first polled. Whatever
//! waits must stay ours, because the crate's own sleep cannot be stopped.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::process::{geteuid, getuid};
use stockade_wire::message::Grant;
use wasmtime::{Linker, Result};
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemView};
use wasmtime_wasi::p1::{self, WasiP1Ctx};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use super::streams::{Input, Output};
use crate::guest::{State, World};

/// What all instances of a program share: the directories, opened once.
pub(crate) struct Files {
    directories: Vec<Directory>,
    owner: Option<(u32, u32)>,
    preopened: WasiFilesystemCtx,
}

/// A granted directory.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    grant: Grant,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Files").field(&self.directories).finish()
    }
}

impl Files {
    /// Takes the directories that the host has opened; `None` when it granted none. Before the seal: it reads
    /// /proc.
    pub(crate) fn new(grants: &[Grant], fds: Vec<OwnedFd>) -> Result<Option<Self>> {
        if grants.len() != fds.len() {
            return Err(wasmtime::Error::msg(format!(
                "the host sent {} directories for {} grants",
                fds.len(),
                grants.len()
            )));
        }
        if grants.is_empty() {
            return Ok(None);
        }
        enter_runtime()?;
        let mut opened = WasiCtxBuilder::new();
        opened.allow_blocking_current_thread(true);
        for (grant, fd) in grants.iter().zip(&fds) {
            let perms = match grant.write {
                true => FsPerms::ReadWrite,
                false => FsPerms::ReadOnly,
            };
            // The directory itself, whatever its path names by now.
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            opened.preopened_dir(path, &grant.guest_path, perms)?;
        }
        let preopened = opened.build_p1().filesystem().ctx.clone();
        let directory = |(grant, fd): (&Grant, OwnedFd)| Directory {
            fd,
            grant: grant.clone(),
        };
        let directories: Vec<_> = grants.iter().zip(fds).map(directory).collect();
        let owner = match directories.iter().find(|dir| dir.is_written()) {
            Some(written) => {
                let stat = rustix::fs::fstat(written)?;
                Some((stat.st_uid, stat.st_gid))
            }
            None => None,
        };
        Ok(Some(Self {
            directories,
            owner,
            preopened,
        }))
    }

    pub(crate) fn directories(&self) -> &[Directory] {
        &self.directories
    }

    /// The user and group to whom the directories belong that guests may write, if there are any: what guests
    /// make in them is to belong to the same. The host has made sure that it is one user.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// Whether the user that this process has become can use the directories at all; what is wrong otherwise.
    pub(crate) fn check(&self) -> Result<(), String> {
        for Directory { fd, grant } in &self.directories {
            let (access, verb) = match grant.write {
                true => (
                    Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
                    "written",
                ),
                false => (Access::READ_OK | Access::EXEC_OK, "read"),
            };
            let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(fd, ".", how, Mode::empty())
                .and_then(|fd| rustix::fs::accessat(fd, ".", access, AtFlags::empty()))
                .map_err(|error| {
                    debug_assert_eq!(getuid(), geteuid(), "`access` asks about the former");
                    format!(
                        "the directory granted as `{}` cannot be {verb} by user {}, as whom workers run: {error}",
                        grant.guest_path,
                        geteuid().as_raw()
                    )
                })?;
        }
        Ok(())
    }

    /// What one instance has: the directories, and no open file.
    pub(super) fn instance<W: World>(&self, world: &W, keep_output: [bool; 2]) -> Open {
        let input = Input::default();
        let output = |stream: usize| Output::new(world.clone(), stream, keep_output[stream]);
        let mut context = WasiCtxBuilder::new()
            .allow_blocking_current_thread(true)
            .stdin(input.clone())
            .stdout(output(0))
            .stderr(output(1))
            .build_p1();
        *context.filesystem().ctx = self.preopened.clone();
        Open { context, input }
    }
}

impl Directory {
    pub(crate) fn is_written(&self) -> bool {
        self.grant.write
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The descriptors of one instance. Dropping it closes them.
pub(super) struct Open {
    context: WasiP1Ctx,
    input: Input,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Open")
    }
}

impl Open {
    pub(super) fn set_stdin(&self, bytes: Vec<u8>) {
        self.input.set(bytes);
    }
}

pub(super) fn link<W: World>(linker: &mut Linker<State<W>>) -> Result<()> {
    p1::add_to_linker_sync(linker, |state: &mut State<W>| match &mut state.wasi.files {
        Some(open) => &mut open.context,
        None => unreachable!("a program with grants gives each of its instances a context"),
    })
}

/// Makes this thread one of a runtime, for good.
fn enter_runtime() -> io::Result<()> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    std::mem::forget(Box::leak(Box::new(runtime)).enter());
    Ok(())
}
