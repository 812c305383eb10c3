//! Strings, and forks of who holds one. A program of their own: a fork has a copy of every descriptor of this
//! process, which would disturb whoever waits for a socket's end.
#![expect(unsafe_code, reason = "processes that fork and spin")]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too: what fails in one fails the test that called it"
)]

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use stockade_wire::sys::death_string::{DeathString, die_with};

/// Whatever is to happen is waited for, and this is how long at most.
const BOUND: Duration = Duration::from_secs(5);

fn is_cut(end: &OwnedFd, within: Duration) -> bool {
    let mut fds = [PollFd::new(end, PollFlags::IN)];
    let timeout = within.try_into().unwrap();
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() > 0
        && fds[0].revents().contains(PollFlags::HUP)
}

/// Forks a child that says something through a pipe after `then`, and goes on for ever.
fn fork_and(then: impl FnOnce() -> bool) -> libc::pid_t {
    let (read, write) = rustix::pipe::pipe().unwrap();
    // SAFETY: the child makes system calls, and ends by a signal or by `_exit`.
    let child = unsafe { libc::fork() };
    assert_ne!(child, -1);
    if child == 0 {
        drop(read);
        if !then() || rustix::io::write(&write, b"x").is_err() {
            // SAFETY: `_exit` is always sound.
            unsafe { libc::_exit(1) };
        }
        loop {
            std::hint::spin_loop();
        }
    }
    drop(write);
    let mut said = [0];
    assert_eq!(rustix::io::read(&read, &mut said).unwrap(), 1);
    child
}

fn end_of(child: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn who_spins_with_all_signals_blocked_dies_with_the_holder_and_no_other_does() {
    let (one, end) = DeathString::new().unwrap();
    let (other, other_end) = DeathString::new().unwrap();
    let spin = |end: &OwnedFd| {
        let end = end.as_fd();
        fork_and(move || {
            // SAFETY: the set is initialised before it is used.
            let blocked = unsafe {
                let mut all: libc::sigset_t = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) == 0
            };
            blocked && die_with(end).is_ok()
        })
    };
    let (first, second) = (spin(&end), spin(&other_end));
    drop(one);
    let status = end_of(first);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL);
    // SAFETY: `status` outlives the call, and the child is ours alone.
    assert_eq!(unsafe { libc::waitpid(second, &mut 0, libc::WNOHANG) }, 0);
    drop(other);
    assert_eq!(end_of(second), libc::SIGKILL);
}

#[test]
fn a_string_that_is_cut_already_is_an_error() {
    let (held, end) = DeathString::new().unwrap();
    drop(held);
    assert!(is_cut(&end, BOUND));
    let child = fork_and(|| {
        let cut = die_with(end.as_fd());
        cut.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    });
    // SAFETY: a child of ours that nobody has waited for.
    assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
    assert_eq!(end_of(child), libc::SIGKILL);
}

#[test]
fn a_fork_of_the_holder_does_not_keep_the_string() {
    let (held, end) = DeathString::new().unwrap();
    let held = RefCell::new(Some(held));
    let keep = fork_and(|| true);
    // Its copy of the owner still closes a descriptor that is open, or the standard library would abort.
    let drops = fork_and(|| held.take().is_some());
    assert!(!is_cut(&end, Duration::ZERO));
    drop(held);
    assert!(is_cut(&end, BOUND));
    for child in [keep, drops] {
        // SAFETY: a child of ours that nobody has waited for.
        assert_eq!(unsafe { libc::kill(child, libc::SIGKILL) }, 0);
        assert_eq!(end_of(child), libc::SIGKILL);
    }
}

#[test]
fn forks_and_strings_at_once_neither_wait_for_ever_nor_lose_one() {
    let strings = std::thread::spawn(|| {
        for _ in 0..200 {
            let (held, end) = DeathString::new().unwrap();
            drop(held);
            assert!(is_cut(&end, BOUND));
        }
    });
    for _ in 0..50 {
        // SAFETY: the child only ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: `_exit` is always sound.
            unsafe { libc::_exit(0) };
        }
        assert_eq!(end_of(child), 0);
    }
    strings.join().unwrap();
}
