//! What a guest writes, given to its caller while it runs.
//!
//! The caller looks for it from time to time and is not woken for each line, so that a guest cannot keep its
//! server busy with many short ones. Only when there is no room for more does the guest ask, and wait: then
//! nothing is lost, whatever it writes.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use stockade_wire::slot::Output;

use crate::command::OutputStream;
use crate::pool::InFlight;
use crate::supervisor::{Membership, Timer};

/// Between two looks. People see what comes sooner as at once.
const EVERY: Duration = Duration::from_millis(20);

/// Who wants it. The lock is never waited for: it lets threads share a call whose sink they could not.
pub(crate) type Sink = Mutex<Box<dyn FnMut(OutputStream, &[u8]) + Send>>;

pub(super) struct Following {
    sink: Sink,
    /// How much of each stream it has been given.
    read: [u64; 2],
    next_look: Option<(Instant, Timer)>,
}

impl Following {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            read: [0; 2],
            next_look: None,
        }
    }

    /// Looks, if it is time to, and sees to it that the task looks again.
    pub(super) fn look(&mut self, call: &InFlight, timers: &Membership, cx: &Context<'_>) {
        let now = Instant::now();
        match &self.next_look {
            Some((due, timer)) if now < *due => timer.set_waker(cx.waker()),
            last => {
                if last.is_some() {
                    self.take(call);
                }
                let due = now + EVERY;
                self.next_look = Some((due, timers.wake_at(due, cx.waker().clone())));
            }
        }
    }

    /// Takes all that there is.
    pub(super) fn take(&mut self, call: &InFlight) {
        if let Some(streams) = call.output_since(self.read) {
            self.give(&streams);
        }
    }

    /// The call is over, and left this. Of one that was stopped, or whose worker has died, nothing is kept: what it
    /// wrote last is in the slot, as long as no other call is.
    pub(super) fn finish(&mut self, call: &InFlight, kept: &[Output; 2]) {
        self.next_look = None;
        self.give(kept);
        self.take(call);
    }

    fn give(&mut self, streams: &[Output; 2]) {
        for ((stream, output), read) in OutputStream::BOTH
            .into_iter()
            .zip(streams)
            .zip(&mut self.read)
        {
            let (new, total) = output.since(*read);
            if !new.is_empty() {
                *read = total;
                let sink = self.sink.get_mut();
                sink.unwrap_or_else(PoisonError::into_inner)(stream, new);
            }
        }
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = &self.read;
        f.debug_struct("Following")
            .field("read", read)
            .finish_non_exhaustive()
    }
}
