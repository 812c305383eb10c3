//! Whether this process is a fork of the one that made something.
#![expect(unsafe_code, reason = "pthread_atfork has no safe wrapper")]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// A number that is another one in a process forked (by `fork(3)`) from one that has asked for it before.
///
/// Cheaper than asking for the process id, which is a system call.
#[must_use]
pub fn generation() -> u32 {
    static REGISTERED: Once = Once::new();
    // SAFETY: the handler is one atomic addition, which is safe in the child of a process with threads.
    // Without memory for the registration a fork goes unnoticed, as it would without this.
    REGISTERED.call_once(|| unsafe {
        libc::pthread_atfork(None, None, Some(in_child));
    });
    GENERATION.load(Ordering::Relaxed)
}
