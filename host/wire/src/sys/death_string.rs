//! A string by which a process dies with another one that is not its parent.
//!
//! Each holds one end of a pair of sockets. When the last copy of the holder's end is closed, by whatever death of
//! its process, the kernel tells the owner of the other end by a signal, and that signal is SIGKILL: it needs no
//! code of a process that spins or has blocked everything.
//!
//! Nothing is ever written to it: any event on it would be the end. A fork of the holder has a copy of its end and
//! would keep the string from being cut, so each copy is replaced there, before `fork` returns.
#![expect(
    unsafe_code,
    reason = "pthread_atfork, F_SETSIG and the descriptors of a fork have no safe wrapper"
)]

use std::cell::UnsafeCell;
use std::collections::BTreeSet;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// `fcntl`'s command that names the signal; the `libc` crate does not have it.
pub const SET_SIGNAL: libc::c_int = 10;

/// The ends that this process holds.
static HOLDS: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

fn holds() -> MutexGuard<'static, BTreeSet<RawFd>> {
    HOLDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of the one that must live for the other to live. Dropping it kills the other.
#[derive(Debug)]
pub struct DeathString(ManuallyDrop<OwnedFd>);

impl DeathString {
    /// A string, and the end for the process that is to die.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        static REGISTERED: Once = Once::new();
        // SAFETY: the handlers keep what `pthread_atfork` asks of them, see there. Without memory for the
        // registration a fork would keep its copy, as it would without this.
        REGISTERED.call_once(|| unsafe {
            libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child));
        });
        // Under the lock, which a fork takes: no fork sees an end that is not in the list.
        let mut holds = holds();
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        holds.insert(ours.as_raw_fd());
        Ok((Self(ManuallyDrop::new(ours)), theirs))
    }
}

impl Drop for DeathString {
    fn drop(&mut self) {
        let mut holds = holds();
        holds.remove(&self.0.as_raw_fd());
        // SAFETY: nobody uses the field after this.
        drop(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

/// From now on the calling process is killed when the holder's end is closed. To be called after the last change of
/// user, which takes the right to send the signal, and by one process for each string: the signal has one receiver.
///
/// # Errors
/// `BrokenPipe` when it is closed already; or when the kernel refuses.
pub fn die_with(end: BorrowedFd<'_>) -> io::Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    set(end, libc::F_SETOWN, own)?;
    set(end, SET_SIGNAL, libc::SIGKILL)?;
    set(end, libc::F_SETFL, libc::O_ASYNC)?;
    // Nobody is told of what happened before.
    let mut fds = [PollFd::from_borrowed_fd(end, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    match rustix::event::poll(&mut fds, Some(&now))? {
        0 => Ok(()),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

fn set(fd: BorrowedFd<'_>, what: libc::c_int, to: libc::c_int) -> io::Result<()> {
    // SAFETY: these take a number, and change nothing but the file that the descriptor refers to.
    match unsafe { libc::fcntl(fd.as_raw_fd(), what, to) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The lock, from before a fork until after it.
struct Held(UnsafeCell<Option<MutexGuard<'static, BTreeSet<RawFd>>>>);

// SAFETY: only the thread that has just locked the mutex puts its guard here, and takes it out again.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

extern "C" fn before_fork() {
    let guard = holds();
    // SAFETY: this thread has the lock, so no other one is between these two handlers.
    unsafe { *HELD.0.get() = Some(guard) };
}

extern "C" fn in_parent() {
    // SAFETY: this thread has the lock since `before_fork`. The guard leaves its place before it unlocks.
    let guard = unsafe { (*HELD.0.get()).take() };
    drop(guard);
}

/// Makes system calls only: another thread may have been anywhere.
extern "C" fn in_child() {
    // SAFETY: the one thread of the child is the one that has the lock since `before_fork`.
    let guard = unsafe { (*HELD.0.get()).take() };
    for &fd in guard.iter().flat_map(|ends| ends.iter()) {
        // Something else takes its place, because its owner in this process will close that number.
        // SAFETY: the number is that of a copy of an end of ours; its owner here only ever closes it.
        unsafe {
            libc::close(fd);
            let instead = libc::eventfd(0, libc::EFD_CLOEXEC);
            if instead != -1 && instead != fd {
                libc::dup3(instead, fd, libc::O_CLOEXEC);
                libc::close(instead);
            }
        }
    }
}
