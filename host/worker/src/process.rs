//! The first steps of every process of ours, whatever its role, and how it speaks to its host.
//!
//! Everything here costs nothing and takes nothing that the process could need, so it is done even where no
//! seal is asked for.
#![expect(
    unsafe_code,
    reason = "descriptor 0 is adopted by number; inherited descriptors are closed; exit without destructors"
)]

use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stockade_wire::message::{self, Malformed};
use stockade_wire::role::{Assignment, Role};
use stockade_wire::sys::packet;

use crate::signals;

/// Descriptors below this are the socket to the host, /dev/null, and the pipe for diagnostics.
pub(crate) const FIRST_INHERITED: u32 = 3;

/// The longest text of a message: far below a packet's limit.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Becomes a process of ours, or ends.
pub(crate) fn begin(assignment: Assignment) {
    if let Err(error) = try_begin(assignment) {
        complain(&error);
        exit(1);
    }
}

fn try_begin(assignment: Assignment) -> Result<(), String> {
    std::panic::set_hook(Box::new(|info| {
        complain(&info.to_string());
        exit(101);
    }));
    name(match assignment.role {
        Role::Compiler => "stockade-compile",
        Role::Init => "stockade-init",
        Role::Worker => "stockade-worker",
        Role::ForkServer => "stockade-forks",
        Role::Probe => "stockade-probe",
    });
    die_with_host(assignment).map_err(|error| format!("cannot be tied to the host: {error}"))?;
    close_inherited().map_err(|error| format!("cannot close inherited descriptors: {error}"))?;
    keep_pages_apart();
    signals::ignore_bystanders().map_err(|error| format!("cannot ignore signals: {error}"))?;
    clear_environment();
    // So that the kernel never kills the server for a worker's memory. Some containers forbid it.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    match threads() {
        Ok(1) => Ok(()),
        Ok(count) => Err(format!(
            "this executable has {count} threads before its main function: a constructor of some library \
             starts them. Use the stockade-worker program instead"
        )),
        Err(error) => Err(format!("cannot count threads: {error}")),
    }
}

/// Has the kernel compare none of this process's pages with others', if whoever started it has it do so: that takes time
/// where pages are alike, and puts pages of zeros where a guest wrote zeros, which look as if nobody had written there.
fn keep_pages_apart() {
    /// `PR_SET_MEMORY_MERGE`, since Linux 6.4.
    const SET_MEMORY_MERGE: libc::c_int = 67;
    let none: libc::c_ulong = 0;
    // SAFETY: it takes numbers, and no memory becomes another by it. Where there is no such thing, nothing is to be undone.
    unsafe { libc::prctl(SET_MEMORY_MERGE, none, none, none, none) };
}

/// Names the process for `ps` and `top`, which show 15 bytes.
pub(crate) fn name(name: &str) {
    if let Ok(name) = CString::new(&name[..name.len().min(15)]) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// From now on the kernel kills this process when the thread that started it ends. Repeated after a change
/// of user, which cancels it.
pub(crate) fn die_with_host(assignment: Assignment) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get() as u32);
    if parent != Some(assignment.host) {
        // It died before the kernel knew that we care.
        exit(0);
    }
    Ok(())
}

pub(crate) fn close_inherited() -> io::Result<()> {
    // SAFETY: nothing of ours has opened a descriptor yet, and what constructors of the application opened
    // is never used again, because its code does not run.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST_INHERITED, u32::MAX, 0) };
    if closed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(crate) fn clear_environment() {
    for (name, _) in std::env::vars_os() {
        // SAFETY: one thread, or this process ends a few lines on.
        unsafe { std::env::remove_var(name) };
    }
}

/// The links to the directory of a process's threads, if it has one: the kernel counts each, besides the two of every
/// directory.
const LINKS_OF_ONE: u64 = 3;

fn threads() -> io::Result<usize> {
    // Instead of having the kernel write all that it knows of this process.
    if fs::metadata("/proc/self/task")?.nlink() == LINKS_OF_ONE {
        return Ok(1);
    }
    let status = fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/status has no line for it"))
}

/// The socket to the host.
pub(crate) fn socket() -> BorrowedFd<'static> {
    // SAFETY: whoever set the role made descriptor 0 the socket; nothing here closes it.
    unsafe { BorrowedFd::borrow_raw(0) }
}

/// From now on these are the socket to the host and the pipe for diagnostics: of a process that was forked from one
/// of ours.
pub(crate) fn speak_through(socket: OwnedFd, diagnostics: OwnedFd) -> io::Result<()> {
    for (theirs, number) in [(socket, 0), (diagnostics, 2)] {
        // SAFETY: what has the number now is a copy of another process's, which nobody in this one uses.
        if unsafe { libc::dup2(theirs.as_raw_fd(), number) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Receives what this process is told, its descriptors, and those beyond the ones that it always gets. Ends it
/// when the host is gone.
pub(crate) fn receive_setup<T: DeserializeOwned, const FDS: usize>()
-> Result<(T, [OwnedFd; FDS], Vec<OwnedFd>), String> {
    let (bytes, mut fds) = packet::receive(socket()).map_err(|error| error.to_string())?;
    if bytes.is_empty() {
        exit(0);
    }
    let setup = message::decode(&bytes).map_err(|malformed| match malformed {
        Malformed::Foreign | Malformed::Body => "the host's message is damaged".to_owned(),
        Malformed::Version(found) => format!(
            "the host speaks version {found} of the worker protocol, this program version {}",
            stockade_wire::VERSION
        ),
    })?;
    let more = fds.split_off(fds.len().min(FDS));
    let fds = <[OwnedFd; FDS]>::try_from(fds)
        .map_err(|fds| format!("the host sent {} descriptors, not {FDS}", fds.len()))?;
    Ok((setup, fds, more))
}

/// Tells the host something. Ends the process when that fails: nobody waits for it any more.
pub(crate) fn tell(message: &impl Serialize) {
    tell_with(message, &[]);
}

/// The same, and hands something over.
pub(crate) fn tell_with(message: &impl Serialize, fds: &[OwnedFd]) {
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    if packet::send(socket(), &message::encode(message), &fds).is_err() {
        exit(0);
    }
}

/// A text that fits in a message.
pub(crate) fn text(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// Writes one line for whoever reads the host's diagnostics, and never waits for them.
pub(crate) fn complain(what: &str) {
    let line = format!("stockade: {}\n", crate::text::printable(what, 1024));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Ends the process without running destructors or exit handlers: they are the application's.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: `_exit` is always sound.
    unsafe { libc::_exit(code) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn one_thread_is_told_from_several() {
        let mut one = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let task = fs::metadata(format!("/proc/{}/task", one.id())).unwrap();
        drop(one.stdin.take());
        one.wait().unwrap();
        assert_eq!(task.nlink(), LINKS_OF_ONE);
        // This one, and the one that started it.
        assert!(threads().unwrap() > 1);
    }
}
