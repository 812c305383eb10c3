//! Which CPU a thread runs on.

use rustix::thread::{sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The CPU that this thread runs on, for a moment at least.
#[must_use]
#[inline]
pub fn current() -> usize {
    sched_getcpu()
}

/// Goes on another CPU, if this thread may use one, and may use all that it could before.
///
/// The kernel moves a thread at once that may not stay where it is.
///
/// # Errors
/// When the kernel forbids it.
pub fn leave_current() -> rustix::io::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut others = allowed;
    others.unset(current());
    if others.count() == 0 {
        return Ok(());
    }
    sched_setaffinity(None, &others)?;
    sched_setaffinity(None, &allowed)
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
                let before = current();
                leave_current().unwrap();
                current() != before
            });
            assert!(moved);
            assert_eq!(sched_getaffinity(None).unwrap(), allowed);
        })
        .join()
        .unwrap();
    }
}
