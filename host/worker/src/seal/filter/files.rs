//! The calls of files, for guests that were granted directories.
//!
//! Paths cannot be checked here: Landlock keeps them to what was granted, and the process has none without it.
//! What can be checked is on which descriptors a call works. All that belong to the process itself have numbers
//! below [`FILES_FROM`], so no rule on files reaches its socket, its slot or its artifact.

use std::ffi::c_long;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd};

use stockade_wire::message::FILES_FROM;

use super::Check::{AtLeast, Bits, Int, NotNull, Without};
use super::{Answer, Check, Program, Rule, program, rule};

/// The descriptor of a file that a guest opened.
const OPENED: Check = AtLeast(0, FILES_FROM);

/// The whole of `struct open_how`.
const OPEN_HOW_BYTES: u32 = 24;

const RESOLVED_BY_HAND: u32 = (libc::O_NOFOLLOW | libc::O_CLOEXEC) as u32;

/// `O_TMPFILE` without `O_DIRECTORY`, which is part of it.
const TMPFILE: u64 = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u64;

/// `renameat`, which the `libc` crate does not have everywhere.
#[cfg(target_arch = "aarch64")]
pub(super) const RENAMEAT: c_long = 38;
#[cfg(not(target_arch = "aarch64"))]
pub(super) const RENAMEAT: c_long = libc::SYS_renameat;

/// Every row that a worker with granted directories has besides the others.
pub(super) fn rules() -> Vec<Rule> {
    let mut rules = vec![
        rule(
            libc::SYS_openat2,
            &[Int(3, OPEN_HOW_BYTES)],
            "files and directories; the kernel itself keeps the path below the directory",
        ),
        rule(
            libc::SYS_openat,
            &[
                Bits(2, RESOLVED_BY_HAND, RESOLVED_BY_HAND),
                Without(2, TMPFILE),
            ],
            "a directory's own entries, and paths step by step where `openat2` gave up",
        ),
        rule(libc::SYS_close, &[OPENED], "what was opened"),
        rule(
            libc::SYS_statx,
            &[],
            "sizes, kinds and times, by descriptor and by name",
        ),
        rule(libc::SYS_getdents64, &[OPENED], "the names in a directory"),
        rule(libc::SYS_pread64, &[OPENED], "reading"),
        rule(libc::SYS_pwrite64, &[OPENED], "writing"),
        rule(
            libc::SYS_pwritev2,
            &[OPENED, Int(5, libc::RWF_APPEND as u32)],
            "appending",
        ),
        rule(libc::SYS_ftruncate, &[OPENED], "changing a file's length"),
        rule(libc::SYS_fadvise64, &[OPENED], "how a file will be read"),
        rule(libc::SYS_fsync, &[OPENED], "making it durable"),
        rule(libc::SYS_fdatasync, &[OPENED], "making it durable"),
        rule(
            libc::SYS_utimensat,
            &[],
            "changing the times of an open file; by name it is refused politely",
        ),
        rule(libc::SYS_mkdirat, &[], "making a directory"),
        rule(
            libc::SYS_unlinkat,
            &[],
            "removing a file or an empty directory",
        ),
        rule(RENAMEAT, &[], "renaming"),
        rule(
            libc::SYS_linkat,
            // Without `AT_SYMLINK_FOLLOW` and `AT_EMPTY_PATH`.
            &[Int(4, 0)],
            "a second name for a file",
        ),
        rule(libc::SYS_symlinkat, &[], "symbolic links"),
        rule(libc::SYS_readlinkat, &[], "where a symbolic link points"),
        // The other filter answers it with an error: see `refused`.
        rule(libc::SYS_fstatfs, &[], "refused politely"),
    ];
    for asked in [libc::F_GETFL, libc::F_GETFD] {
        rules.push(rule(
            libc::SYS_fcntl,
            &[OPENED, Int(1, asked as u32)],
            "how a file was opened; a debug build asks whether what it closes is open",
        ));
    }
    rules
}

/// What an innocent guest can bring the file calls to try, and nobody needs: an error, where the other filter would
/// kill. The stricter of two filters' answers counts, so these are allowed there.
pub(super) fn refused() -> Vec<Rule> {
    vec![
        rule(
            libc::SYS_utimensat,
            &[NotNull(1)],
            "by name, Landlock would not keep it to what was granted",
        ),
        rule(
            libc::SYS_fstatfs,
            &[],
            "the first step of a search of /proc for the times of a file that cannot be opened",
        ),
    ]
}

/// The kernel's program of [`refused`].
pub(in crate::seal) fn refusals() -> io::Result<Program> {
    program(
        &refused(),
        Answer::Allow,
        Answer::Refuse(libc::ENOTSUP as u16),
    )
}

/// Fills every number below [`FILES_FROM`], so that no file ever gets one: the kernel gives the lowest that is
/// free.
pub(in crate::seal) fn occupy_own_descriptors() -> io::Result<()> {
    // The host makes this /dev/null.
    let null = io::stdout();
    loop {
        let filler = rustix::io::fcntl_dupfd_cloexec(&null, 0)?;
        let number = filler.as_raw_fd() as u32;
        if number >= FILES_FROM {
            return match number {
                FILES_FROM => Ok(()),
                _ => Err(io::Error::other(format!(
                    "the process already has descriptor {}",
                    number - 1
                ))),
            };
        }
        // It stays for as long as the process.
        let _ = filler.into_raw_fd();
    }
}
