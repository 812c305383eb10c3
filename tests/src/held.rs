//! A process that is held at its very end, as one is that has much memory to give back.
#![expect(unsafe_code, reason = "ptrace has no safe interface")]

use std::io;
use std::ptr;

use crate::{BOUND, eventually};

/// A process that is not gone when it is killed, but only when this is dropped. It belongs to the thread that made it.
#[derive(Debug)]
pub struct HeldAtExit {
    pid: libc::pid_t,
    /// Where it was traced is where it must be let go.
    _thread: std::marker::PhantomData<*const ()>,
}

impl HeldAtExit {
    /// Holds a process that this one may look into.
    ///
    /// # Panics
    /// When it may not.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        let pid = libc::pid_t::try_from(pid).expect("a process id");
        let none = ptr::null_mut::<libc::c_void>();
        // SAFETY: it takes numbers, and changes nothing in this process.
        let seized = unsafe {
            libc::ptrace(
                libc::PTRACE_SEIZE,
                pid,
                none,
                libc::PTRACE_O_TRACEEXIT as usize,
            )
        };
        assert_eq!(seized, 0, "{}", io::Error::last_os_error());
        Self {
            pid,
            _thread: std::marker::PhantomData,
        }
    }

    /// Waits until it has been killed and is held.
    ///
    /// # Panics
    /// When it ends in another way, or does not within [`BOUND`].
    pub fn until_killed(&self) {
        let mut status = 0;
        eventually(BOUND, || {
            let how = libc::__WALL | libc::WNOHANG;
            // SAFETY: `status` outlives the call, which takes nothing from whoever waits for the end.
            unsafe { libc::waitpid(self.pid, &raw mut status, how) == self.pid }
        });
        assert_eq!(
            status >> 8,
            libc::SIGTRAP | (libc::PTRACE_EVENT_EXIT << 8),
            "it ended: {status:x}"
        );
    }
}

impl Drop for HeldAtExit {
    fn drop(&mut self) {
        let none = ptr::null_mut::<libc::c_void>();
        // SAFETY: as above. One that is gone is no concern.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, none, none) };
    }
}
