//! The memory that a worker shares with its host, and the artifact that it runs.

use std::fs::OpenOptions;
use std::os::fd::RawFd;

use super::{Attack, Field, attack};
use crate::escape::call::{address, call};
use crate::escape::outcome::{Attempt, Errno};
use crate::escape::stage::SHARED_BYTES;

pub(super) const ATTACKS: &[Attack] = &[
    attack("write-request", |f| write(f.targets.request)),
    attack("map-request-writable", |f| {
        map(f.targets.request, libc::PROT_WRITE).map(drop)
    }),
    attack("reopen-request-for-writing", |f| {
        let path = format!("/proc/self/fd/{}", f.targets.request);
        OpenOptions::new().write(true).open(path)?;
        Ok(())
    }),
    attack("punch-request", |f| punch(f.targets.request)),
    attack("shrink-request", |f| resize(f.targets.request, 0)),
    attack("shrink-reply", |f| resize(f.targets.reply, 0)),
    attack("grow-reply", |f| resize(f.targets.reply, 1 << 30)),
    attack("punch-reply", |f| punch(f.targets.reply)),
    attack("discard-reply", discard_reply),
    attack("seal-reply", |f| {
        let command = libc::F_ADD_SEALS as usize;
        let seals = libc::F_SEAL_FUTURE_WRITE as usize;
        call(libc::SYS_fcntl, [f.targets.reply as usize, command, seals]).map(drop)
    }),
    attack("write-artifact", |f| write(f.targets.artifact)),
    attack("map-artifact-writable", |f| {
        map(f.targets.artifact, libc::PROT_WRITE).map(drop)
    }),
    attack("shrink-artifact", |f| resize(f.targets.artifact, 0)),
    attack("punch-artifact", |f| punch(f.targets.artifact)),
];

/// What is there already, where an attack that works must not disturb the next.
fn write(fd: RawFd) -> Attempt {
    let mut byte = 0u8;
    call(libc::SYS_pwrite64, [fd as usize, address(&mut byte), 1, 0]).map(drop)
}

fn map(fd: RawFd, protection: i32) -> Result<usize, Errno> {
    call(
        libc::SYS_mmap,
        [
            0,
            SHARED_BYTES,
            protection as usize,
            libc::MAP_SHARED as usize,
            fd as usize,
            0,
        ],
    )
}

fn resize(fd: RawFd, bytes: usize) -> Attempt {
    call(libc::SYS_ftruncate, [fd as usize, bytes])?;
    // Back, for the next one.
    call(libc::SYS_ftruncate, [fd as usize, SHARED_BYTES]).map(drop)
}

fn punch(fd: RawFd) -> Attempt {
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    call(
        libc::SYS_fallocate,
        [fd as usize, how as usize, 0, SHARED_BYTES],
    )
    .map(drop)
}

fn discard_reply(field: &Field<'_>) -> Attempt {
    let at = map(field.targets.reply, libc::PROT_READ | libc::PROT_WRITE)?;
    call(
        libc::SYS_madvise,
        [at, SHARED_BYTES, libc::MADV_REMOVE as usize],
    )
    .map(drop)
}
