//! Files again, by the very calls that a worker with granted directories may make: `read` and `written` are granted,
//! `outside` lies beside them. What an attack changes it changes back, by such calls, too.

use std::ffi::{CStr, CString, c_long};

use super::{Attack, Field, attack};
use crate::escape::call::{address, c_string, call, signed, text};
use crate::escape::outcome::{Attempt, Errno};

pub(super) const ATTACKS: &[Attack] = &[
    attack("open-outside", |f| open_in(f, "outside/file", READ)),
    attack("open-outside-by-parent", |f| {
        open_in(f, "written/../outside/file", READ)
    }),
    attack("open-outside-by-descriptor", |f| {
        open_at(f.targets.written, c"../outside/file", READ).map(drop)
    }),
    attack("open-outside-by-hand", |f| {
        let path = f.path("outside/file");
        let how = (libc::O_NOFOLLOW | libc::O_CLOEXEC) as usize;
        call(libc::SYS_openat, [CWD, text(&path), how]).map(drop)
    }),
    attack("open-outside-by-link", |f| {
        open_in(f, "written/relative", READ)
    }),
    attack("open-outside-by-absolute-link", |f| {
        open_in(f, "written/absolute/file", READ)
    }),
    attack("open-memory-of-host", |f| {
        open(&c_string(&f.stage.proc("mem")), libc::O_RDWR).map(drop)
    }),
    attack("open-own-memory", |_| {
        open(c"/proc/self/mem", libc::O_RDWR).map(drop)
    }),
    attack("open-device", |_| {
        open(c"/dev/null", libc::O_RDWR).map(drop)
    }),
    attack("list-outside", list_outside),
    attack("write-outside", |f| open_in(f, "outside/file", WRITE)),
    attack("cut-outside", |f| open_in(f, "outside/file", CUT)),
    attack("create-outside", |f| create(f, "outside/new")),
    attack("make-directory-outside", make_directory_outside),
    attack("make-link-outside", make_link_outside),
    attack("rename-to-outside", |f| {
        rename(f, "written/file", "outside/got")
    }),
    attack("rename-from-outside", |f| {
        rename(f, "outside/file", "written/got")
    }),
    attack("link-to-outside", |f| {
        link(f, "written/file", "outside/got")
    }),
    attack("link-from-outside", |f| {
        link(f, "outside/file", "written/got")
    }),
    attack("remove-outside", |f| remove(f, "outside/file")),
    attack("write-what-is-to-be-read", |f| {
        open_in(f, "read/file", WRITE)
    }),
    attack("cut-what-is-to-be-read", |f| open_in(f, "read/file", CUT)),
    attack("create-in-what-is-to-be-read", |f| create(f, "read/new")),
    attack("rename-in-what-is-to-be-read", |f| {
        rename(f, "read/file", "read/other")
    }),
    attack("rename-from-what-is-to-be-read", |f| {
        rename(f, "read/file", "written/got")
    }),
    attack("link-from-what-is-to-be-read", |f| {
        link(f, "read/file", "written/got")
    }),
    attack("remove-what-is-to-be-read", |f| remove(f, "read/file")),
    attack("make-pipe", make_pipe),
    attack("change-mode", |f| {
        call(
            libc::SYS_fchmodat,
            [CWD, text(&f.path("written/file")), 0o600],
        )
        .map(drop)
    }),
    attack("change-owner", change_owner),
    attack("change-times-outside", |f| {
        call(
            libc::SYS_utimensat,
            [CWD, text(&f.path("outside/file")), 0, 0],
        )
        .map(drop)
    }),
    attack("change-directory", |f| {
        call(libc::SYS_fchdir, [f.targets.written as usize]).map(drop)
    }),
    attack("execute-what-was-granted", execute),
    attack("four-hundred-files", four_hundred_files),
    attack("gigabyte-in-a-file", gigabyte_in_a_file),
    attack("see-outside", see_outside),
    attack("see-outside-by-older-call", see_outside_by_older_call),
    attack("see-link-outside", see_link_outside),
];

const READ: i32 = libc::O_RDONLY;
const WRITE: i32 = libc::O_WRONLY;
const CUT: i32 = libc::O_WRONLY | libc::O_TRUNC;
const CREATE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;

/// The `libc` crate does not have it everywhere.
#[cfg(target_arch = "aarch64")]
const RENAMEAT: c_long = 38;
#[cfg(not(target_arch = "aarch64"))]
const RENAMEAT: c_long = libc::SYS_renameat;

const CWD: usize = libc::AT_FDCWD as usize;

impl Field<'_> {
    fn path(&self, below: &str) -> CString {
        c_string(self.stage.dir.join(below).to_str().unwrap_or_default())
    }
}

fn open_at(directory: i32, path: &CStr, how: i32) -> Result<usize, Errno> {
    let mode = if how & libc::O_CREAT == 0 { 0 } else { 0o600 };
    // `struct open_how`: flags, mode, and how to resolve, which is left to the kernel.
    let mut how = [(how | libc::O_CLOEXEC) as u64, mode, 0];
    let bytes = size_of_val(&how);
    call(
        libc::SYS_openat2,
        [signed(directory), text(path), address(&mut how), bytes],
    )
}

fn open(path: &CStr, how: i32) -> Result<usize, Errno> {
    open_at(libc::AT_FDCWD, path, how)
}

fn open_in(field: &Field<'_>, below: &str, how: i32) -> Attempt {
    open(&field.path(below), how).map(drop)
}

fn list_outside(field: &Field<'_>) -> Attempt {
    let fd = open(&field.path("outside"), libc::O_DIRECTORY)?;
    let mut names = [0u64; 64];
    let bytes = size_of_val(&names);
    call(libc::SYS_getdents64, [fd, address(&mut names), bytes]).map(drop)
}

fn unlink(field: &Field<'_>, below: &str, flags: i32) -> Attempt {
    let path = field.path(below);
    call(libc::SYS_unlinkat, [CWD, text(&path), flags as usize]).map(drop)
}

fn create(field: &Field<'_>, below: &str) -> Attempt {
    open_in(field, below, CREATE)?;
    let _ = unlink(field, below, 0);
    Ok(())
}

fn remove(field: &Field<'_>, below: &str) -> Attempt {
    unlink(field, below, 0)?;
    let _ = open_in(field, below, CREATE);
    Ok(())
}

fn make_directory_outside(field: &Field<'_>) -> Attempt {
    let path = field.path("outside/new");
    call(libc::SYS_mkdirat, [CWD, text(&path), 0o700])?;
    let _ = unlink(field, "outside/new", libc::AT_REMOVEDIR);
    Ok(())
}

fn make_link_outside(field: &Field<'_>) -> Attempt {
    let path = field.path("outside/new");
    call(libc::SYS_symlinkat, [text(c"file"), CWD, text(&path)])?;
    let _ = unlink(field, "outside/new", 0);
    Ok(())
}

fn rename(field: &Field<'_>, from: &str, to: &str) -> Attempt {
    let (from, to) = (field.path(from), field.path(to));
    call(RENAMEAT, [CWD, text(&from), CWD, text(&to)])?;
    let _ = call(RENAMEAT, [CWD, text(&to), CWD, text(&from)]);
    Ok(())
}

fn link(field: &Field<'_>, from: &str, to: &str) -> Attempt {
    let (file, name) = (field.path(from), field.path(to));
    call(libc::SYS_linkat, [CWD, text(&file), CWD, text(&name), 0])?;
    let _ = unlink(field, to, 0);
    Ok(())
}

fn make_pipe(field: &Field<'_>) -> Attempt {
    let path = field.path("written/pipe");
    let mode = (libc::S_IFIFO | 0o600) as usize;
    call(libc::SYS_mknodat, [CWD, text(&path), mode, 0])?;
    let _ = unlink(field, "written/pipe", 0);
    Ok(())
}

/// To whom it belongs already.
fn change_owner(field: &Field<'_>) -> Attempt {
    let path = field.path("written/file");
    call(
        libc::SYS_fchownat,
        [CWD, text(&path), signed(-1), signed(-1), 0],
    )
    .map(drop)
}

/// Its exit code says whether it ran.
fn execute(field: &Field<'_>) -> Attempt {
    let (program, file) = (field.path("written/program"), field.path("written/file"));
    let mut arguments = [text(&program), text(c"-r"), text(&file), 0];
    let mut no_environment = [0usize];
    call(
        libc::SYS_execve,
        [
            text(&program),
            address(&mut arguments),
            address(&mut no_environment),
        ],
    )
    .map(drop)
}

fn four_hundred_files(field: &Field<'_>) -> Attempt {
    let path = field.path("read/file");
    (0..400).try_for_each(|_| open(&path, READ).map(drop))
}

/// Most of it a hole.
fn gigabyte_in_a_file(field: &Field<'_>) -> Attempt {
    let fd = open(&field.path("written/long"), CREATE)?;
    let mut byte = 1u8;
    let written = call(libc::SYS_pwrite64, [fd, address(&mut byte), 1, 1 << 30]);
    let _ = unlink(field, "written/long", 0);
    written.map(drop)
}

/// Whether there is a file of a name, how long it is and whose.
fn see_outside(field: &Field<'_>) -> Attempt {
    let path = field.path("outside/file");
    let mut seen = [0u64; 32];
    call(
        libc::SYS_statx,
        [
            CWD,
            text(&path),
            0,
            libc::STATX_BASIC_STATS as usize,
            address(&mut seen),
        ],
    )
    .map(drop)
}

fn see_outside_by_older_call(field: &Field<'_>) -> Attempt {
    let path = field.path("outside/file");
    let mut seen = [0u64; 32];
    call(
        libc::SYS_newfstatat,
        [CWD, text(&path), address(&mut seen), 0],
    )
    .map(drop)
}

fn see_link_outside(field: &Field<'_>) -> Attempt {
    let path = field.path("outside/link");
    let mut target = [0u8; 64];
    let bytes = target.len();
    call(
        libc::SYS_readlinkat,
        [CWD, text(&path), address(&mut target), bytes],
    )
    .map(drop)
}
