//! Which signals reach a process of ours.
#![expect(
    unsafe_code,
    reason = "signal dispositions and handlers have no safe interface; what a handler is told is a raw pointer"
)]

mod stop;

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use stockade_wire::slot::WorkerSlot;

pub(crate) use self::stop::{look_again, look_no_more, stop_at, stop_with};

/// Ignores what is sent to whole groups of processes (a terminal's keys, a service manager's request to
/// end), and SIGPIPE, which a runtime that never started has not ignored. The host says when we end.
pub(crate) fn ignore_bystanders() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        set(signal, libc::SIG_IGN, 0)?;
    }
    // The application may have been started with it ignored, and SIGXCPU is a wall.
    set(libc::SIGXCPU, libc::SIG_DFL, 0)?;
    unblock_all()
}

/// A write beyond the longest file that is allowed is an error, not the end.
pub(crate) fn survive_long_files() -> io::Result<()> {
    set(libc::SIGXFSZ, libc::SIG_IGN, 0)
}

/// A signal mask survives exec and fork, and the application may have blocked what stops a call.
pub(crate) fn unblock_all() -> io::Result<()> {
    block(&set_of(&[]))
}

/// The deaths of this process's children, as a descriptor that is readable when there was one. A child has it
/// blocked, too, until it unblocks everything.
pub(crate) fn deaths_of_children() -> io::Result<OwnedFd> {
    // Where it is ignored, as it may be in an application, the kernel reaps children and keeps how they ended.
    set(libc::SIGCHLD, libc::SIG_DFL, 0)?;
    let deaths = set_of(&[libc::SIGCHLD]);
    block(&deaths)?;
    // SAFETY: the set is initialised, and a descriptor that was just made is nobody else's.
    unsafe {
        match libc::signalfd(
            -1,
            &raw const deaths,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Has the kernel reap this process's children, those that it inherits, too.
pub(crate) fn reap_by_itself() -> io::Result<()> {
    set(libc::SIGCHLD, libc::SIG_IGN, 0)
}

fn set_of(signals: &[c_int]) -> libc::sigset_t {
    // SAFETY: the set is initialised by `sigemptyset` before it is used, and lives on this stack.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks these signals and no others.
fn block(signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised; nothing is written.
    let changed =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, ptr::from_ref(signals), ptr::null_mut()) };
    if changed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Where the handler of forbidden calls leaves word for the host.
static SLOT: AtomicPtr<WorkerSlot> = AtomicPtr::new(ptr::null_mut());

/// From now on a system call that the filter forbids is named on the diagnostics pipe before it ends this
/// process. To be called before the filter stands: afterwards nobody can change it.
pub(crate) fn name_forbidden_calls() -> io::Result<()> {
    set(
        libc::SIGSYS,
        forbidden as extern "C" fn(c_int, *const libc::siginfo_t, *mut c_void) as usize,
        libc::SA_ONSTACK | libc::SA_SIGINFO,
    )
}

/// The host, too, is told of a forbidden call, through its slot.
pub(crate) fn tell_forbidden_calls(slot: &'static WorkerSlot) {
    SLOT.store(ptr::from_ref(slot).cast_mut(), Ordering::Release);
}

/// Says which call it was, and dies as the kernel would have it.
extern "C" fn forbidden(_signal: c_int, info: *const libc::siginfo_t, _context: *mut c_void) {
    /// Where the kernel puts the number: behind three integers, padding and the address of the call.
    const NUMBER: usize = 24;
    /// `SYS_SECCOMP`: it comes from a filter, and not from another process.
    const FROM_FILTER: c_int = 1;
    // SAFETY: with `SA_SIGINFO` the kernel passes a whole record, which is longer.
    let (code, number) = unsafe {
        let number = info.cast::<u8>().add(NUMBER).cast::<u32>();
        ((*info).si_code, number.read())
    };
    if code == FROM_FILTER {
        let slot = SLOT.load(Ordering::Acquire);
        if !slot.is_null() {
            // SAFETY: only `tell_forbidden_calls` stores a pointer, from a reference that never ends.
            unsafe { (*slot).note_forbidden(number) };
        }
        let line = Line::forbidden(number);
        // SAFETY: the bytes are those of a live array. Nobody waits for the pipe: it never blocks.
        unsafe { libc::write(2, line.bytes.as_ptr().cast(), line.len) };
    }
    // No table has this call, and while its signal is being handled the kernel ends the process for another
    // one with that very signal. Without a filter it would do nothing: the magic numbers are wrong.
    // SAFETY: it cannot succeed.
    unsafe {
        libc::syscall(libc::SYS_reboot, 0, 0, 0, 0);
        libc::_exit(128 + libc::SIGSYS);
    }
}

/// A line of text, made without an allocator.
struct Line {
    bytes: [u8; 64],
    len: usize,
}

impl Line {
    fn forbidden(number: u32) -> Self {
        let mut line = Self {
            bytes: [0; 64],
            len: 0,
        };
        line.push(b"stockade: forbidden system call ");
        let mut divisor = 1_000_000_000;
        while divisor > 1 && number < divisor {
            divisor /= 10;
        }
        while divisor > 0 {
            line.push(&[b'0' + (number / divisor % 10) as u8]);
            divisor /= 10;
        }
        line.push(b"\n");
        line
    }

    fn push(&mut self, text: &[u8]) {
        for &byte in text {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }
}

fn set(signal: c_int, handler: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: all zeroes is a valid `sigaction`: no flags, an empty mask, the default action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is valid, and the handler does only what a handler may.
    if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_call_is_named_by_its_number() {
        for (number, says) in [
            (0, "stockade: forbidden system call 0\n"),
            (257, "stockade: forbidden system call 257\n"),
            (u32::MAX, "stockade: forbidden system call 4294967295\n"),
        ] {
            let line = Line::forbidden(number);
            assert_eq!(&line.bytes[..line.len], says.as_bytes());
        }
    }
}
