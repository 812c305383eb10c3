//! Process 1 of a fork server's pid namespace.
//!
//! A namespace lives as long as its first process, and the kernel kills every other one with it. So this one does
//! nothing but live: longer than its server, whose workers serve on when that dies, and until the host lets go of
//! the string that it holds for as long as any of them lives. It is not killed by that string as workers are: the
//! kernel keeps such a signal from a process 1.
#![expect(
    unsafe_code,
    reason = "fork; descriptors are adopted and closed by number"
)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::process;
use crate::seal::{self, Landlock};
use crate::signals;

/// The end of the string. Every other descriptor has a higher number, or is closed.
const STRING: i32 = 0;

/// What tells the server that this process lives, by being open.
const LIFE: i32 = 1;

/// Forks it: the first child of a process whose children have a namespace of their own. What is returned is readable
/// when it has ended.
pub(crate) fn start(
    string: OwnedFd,
    (lives, held): (OwnedFd, OwnedFd),
    landlock: Landlock,
) -> Result<OwnedFd, String> {
    // SAFETY: this process has one thread, so the child may do whatever this process may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error().to_string()),
        0 => become_it(&string, &held, landlock),
        _ => Ok(lives),
    }
}

fn become_it(string: &OwnedFd, held: &OwnedFd, landlock: Landlock) -> ! {
    // What dies without its server becomes a child of this process.
    let ready = signals::reap_by_itself().and_then(|()| keep_only(string, held));
    let sealed = ready
        .map_err(|error| error.to_string())
        .and_then(|()| seal::seal_pid_one(landlock).map_err(|breach| breach.to_string()));
    if let Err(error) = sealed {
        process::complain(&format!("process 1 of the pid namespace: {error}"));
        process::exit(1)
    }
    wait()
}

fn keep_only(string: &OwnedFd, held: &OwnedFd) -> io::Result<()> {
    process::name("stockade-pid1");
    for (fd, number) in [(string, STRING), (held, LIFE)] {
        // SAFETY: what has the number now is a copy of the server's, which nobody in this process uses.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    let inherited: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // Not the diagnostics: sealing may have something to say.
    for number in inherited.into_iter().filter(|number| *number > 2) {
        // SAFETY: as above. The owners of these numbers are never dropped: this process ends without destructors. The
        // one that listed them is closed already.
        unsafe { libc::close(number) };
    }
    Ok(())
}

/// Until the host is gone, or has let go.
fn wait() -> ! {
    loop {
        // SAFETY: `keep_only` gave it this number, and nothing closes it.
        let string = unsafe { BorrowedFd::borrow_raw(STRING) };
        // Nobody writes to it. Not `poll`, which knows no more descriptors than the limit of them, which is none.
        if rustix::io::read(string, &mut [0; 1]) != Err(Errno::INTR) {
            process::exit(0)
        }
    }
}
