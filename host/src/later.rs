//! What runs the application's code for those who must not: its subscriber, its streams.
//!
//! Either may wait for ever, panic, or call back. The supervisor runs neither, nor does whoever holds a lock.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{LazyLock, Mutex, PoisonError};

use tracing::Span;

/// What waits to be run.
#[derive(Default)]
struct Backlog {
    waiting: VecDeque<(usize, Box<dyn FnOnce() + Send>)>,
    /// What it keeps, together.
    bytes: usize,
    /// Whether a thread runs it.
    served: bool,
}

/// More than this waits only when the application's stdout or subscriber is stuck; the rest is not run then.
const BACKLOG_BYTES_MAX: usize = 32 << 20;

/// What an entry takes but for what it says that it keeps.
const ENTRY_BYTES: usize = 256;

static BACKLOG: LazyLock<Mutex<Backlog>> = LazyLock::new(Mutex::default);

/// Runs it on another thread, which ends when there is nothing left. It keeps about so many bytes.
pub(crate) fn later(bytes: usize, work: impl FnOnce() + Send + 'static) {
    let bytes = bytes + ENTRY_BYTES;
    let mut backlog = BACKLOG.lock().unwrap_or_else(PoisonError::into_inner);
    if backlog.bytes + bytes > BACKLOG_BYTES_MAX {
        // Dropping it may run the application's code, too.
        std::mem::forget(work);
        return;
    }
    backlog.bytes += bytes;
    backlog.waiting.push_back((bytes, Box::new(work)));
    if !backlog.served {
        let thread = std::thread::Builder::new().name("stockade-output".into());
        backlog.served = thread.spawn(serve).is_ok();
    }
}

fn serve() {
    loop {
        let mut backlog = BACKLOG.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((bytes, work)) = backlog.waiting.pop_front() else {
            backlog.served = false;
            return;
        };
        backlog.bytes -= bytes;
        drop(backlog);
        // A subscriber that panics is the application's bug, and no reason to lose what others print.
        let _ = catch_unwind(AssertUnwindSafe(work));
    }
}

/// The span in which a call's caller was last seen, for what its guest writes when nobody looks.
///
/// A span is ended by the application's subscriber. This one may be dropped anywhere.
#[derive(Debug, Default)]
pub(crate) struct CallerSpan(Option<Box<Span>>);

impl CallerSpan {
    /// The one around this code.
    pub(crate) fn current() -> Self {
        let span = Span::current();
        Self((!span.is_none()).then(|| Box::new(span)))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Ends it here, where the application's code may run.
    pub(crate) fn end(mut self) {
        drop(self.0.take());
    }

    /// Does something in it, where the application's code may run, and ends it.
    pub(crate) fn around(mut self, work: impl FnOnce()) {
        let Some(span) = self.0.take() else {
            return work();
        };
        // Each apart: a subscriber that has panicked once may do so again when a span is left or ended, and a panic in
        // the middle of another ends the process.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            span.in_scope(|| {
                let _ = catch_unwind(AssertUnwindSafe(work));
            });
        }));
        drop(span);
    }
}

impl Drop for CallerSpan {
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            later(0, move || drop(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{TryRecvError, channel};

    use super::*;

    #[test]
    fn what_panics_does_not_stop_what_comes_after() {
        let (sender, said) = channel();
        later(0, || panic!("a subscriber's mistake"));
        later(0, move || sender.send(7).unwrap());
        let heard = said.recv_timeout(std::time::Duration::from_secs(5));
        assert_eq!(heard, Ok(7));
    }

    #[test]
    fn what_is_too_much_is_neither_run_nor_dropped() {
        let (sender, said) = channel();
        later(BACKLOG_BYTES_MAX, move || sender.send(7).unwrap());
        // Dropped, it would be disconnected.
        assert_eq!(said.try_recv(), Err(TryRecvError::Empty));
    }
}
