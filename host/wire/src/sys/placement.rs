//! Which CPU a thread runs on.
#![expect(
    unsafe_code,
    reason = "the C library knows without a system call; rustix's own way is one on some processors"
)]

use rustix::thread::{sched_getaffinity, sched_setaffinity};

/// The CPU that this thread runs on, for a moment at least. `None` where nobody can say.
#[must_use]
#[inline]
pub fn current() -> Option<usize> {
    // SAFETY: it takes nothing and writes nothing.
    let cpu = unsafe { libc::sched_getcpu() };
    usize::try_from(cpu).ok()
}

/// Goes on another CPU, if this thread may use one, and may use all that it may use now.
///
/// The kernel moves a thread at once that may not stay where it is. From then on it remembers which CPUs were asked
/// for: those that a cpuset, widened later, would bring are none of them.
///
/// # Errors
/// When the kernel forbids it.
pub fn leave_current() -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut others = allowed;
    if let Some(cpu) = current() {
        others.unset(cpu);
    }
    if others == allowed || others.count() == 0 {
        return Ok(());
    }
    sched_setaffinity(None, &others)?;
    // A cpuset may have changed in between; without a second try it would be short of a CPU for good.
    sched_setaffinity(None, &allowed).or_else(|_| sched_setaffinity(None, &allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_elsewhere_and_may_come_back() {
        std::thread::spawn(|| {
            let allowed = sched_getaffinity(None).unwrap();
            if allowed.count() < 2 {
                return;
            }
            // The kernel may move it at any time, back as well.
            let moved = (0..1000).any(|_| {
                let before = current().unwrap();
                leave_current().unwrap();
                current() != Some(before)
            });
            assert!(moved);
            assert_eq!(sched_getaffinity(None).unwrap(), allowed);
        })
        .join()
        .unwrap();
    }
}
