//! The one call that a worker may have, as the host sees it.
//!
//! Pure: no clock, no memory, no process. Whoever holds a [`Machine`] tells it what happened, under one
//! lock, and does what the returned [`Step`] says before the lock is released. That lock is what keeps a
//! SIGKILL meant for call N from meeting call N+1.
//!
//! Promises, each checked over every interleaving by the tests below:
//! * a call is resolved exactly once, unless its caller went away, and then at most once;
//! * a complete reply wins over the death of the worker that wrote it, and over a stop that comes after it;
//! * a call is given to another worker only if no guest code has run for it;
//! * a worker gets its next call only when the last one is over, and none after it was to be killed.

/// Why a call is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// Nobody waits for it any more.
    CallerGone,
    /// Its caller said so.
    Cancelled,
    /// It ran for too long.
    TimedOut,
    /// It used too much CPU time.
    CpuTime,
}

/// How a call ended, for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The reply is in the slot.
    Reply,
    /// No guest code has run: dispatch it again.
    Retry,
    /// It was stopped.
    Stopped(StopReason),
    /// The worker died while it had the call.
    Died,
    /// The worker wrote something that no honest worker writes.
    Lie,
}

/// What to do with the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// Nothing.
    Leave,
    /// Write the cancel word, send the signal, and come back with [`Machine::grace_over`] in time.
    Interrupt,
    /// Send SIGKILL.
    Kill,
    /// It is free for the next call.
    Reuse,
}

/// What one event means. Both parts must be carried out.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// For the caller, once.
    pub resolve: Option<Resolution>,
    /// For the worker.
    pub worker: Order,
}

impl Step {
    /// Nothing to do.
    pub const NOTHING: Self = Self {
        resolve: None,
        worker: Order::Leave,
    };
}

/// What a reply is, as far as the machine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A value or a failure.
    Answer,
    /// The worker skipped the call.
    Skipped,
    /// The worker stopped the call.
    Interrupted,
}

/// How calls of this worker are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopStyle {
    /// Ask first.
    Interrupt,
    /// Kill at once.
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Running {
        /// Whether somebody still waits to be told.
        waiting: bool,
        /// Whether the worker was asked to stop.
        stopping: bool,
        /// Whether the withdrawn word names this call.
        withdrawn: bool,
    },
    /// SIGKILL was sent; its death has not been seen.
    Condemned,
    Dead,
}

/// The state of the one call that a worker may have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Machine {
    state: State,
    id: u64,
    style: StopStyle,
}

impl Machine {
    /// A worker without a call.
    #[must_use]
    pub fn new(style: StopStyle) -> Self {
        Self {
            state: State::Idle,
            id: 0,
            style,
        }
    }

    /// The number of the newest call.
    #[must_use]
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Whether a call can be published.
    #[must_use]
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Whether call `id` still runs here.
    #[must_use]
    #[inline]
    pub fn is_running(&self, id: u64) -> bool {
        self.id == id && matches!(self.state, State::Running { .. })
    }

    /// Whether the worker was asked to stop its call.
    #[must_use]
    #[inline]
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Running { stopping: true, .. })
    }

    /// Whether the process has died.
    #[must_use]
    #[inline]
    pub fn is_dead(&self) -> bool {
        self.state == State::Dead
    }

    /// A call is about to be published, under the number returned.
    ///
    /// `None` when the worker has a call, or will not live to serve another.
    #[must_use]
    #[inline]
    pub fn publish(&mut self) -> Option<u64> {
        if self.state != State::Idle {
            return None;
        }
        self.id += 1;
        self.state = State::Running {
            waiting: true,
            stopping: false,
            withdrawn: false,
        };
        Some(self.id)
    }

    /// The reply to the current call was seen and checked.
    #[inline]
    pub fn replied(&mut self, reply: Reply) -> Step {
        let State::Running {
            waiting,
            stopping,
            withdrawn,
        } = self.state
        else {
            return Step::NOTHING;
        };
        let resolution = match reply {
            Reply::Answer => Resolution::Reply,
            Reply::Skipped if withdrawn && !stopping => Resolution::Retry,
            // A stop resolved the call when it was made, so nobody is left to be told.
            Reply::Skipped | Reply::Interrupted if stopping => Resolution::Reply,
            Reply::Skipped | Reply::Interrupted => return self.lied(),
        };
        self.state = State::Idle;
        Step {
            resolve: waiting.then_some(resolution),
            worker: Order::Reuse,
        }
    }

    /// The worker wrote something that no honest worker writes.
    pub fn lied(&mut self) -> Step {
        let waiting = match self.state {
            State::Condemned | State::Dead => return Step::NOTHING,
            State::Idle => false,
            State::Running { waiting, .. } => waiting,
        };
        self.state = State::Condemned;
        Step {
            resolve: waiting.then_some(Resolution::Lie),
            worker: Order::Kill,
        }
    }

    /// Somebody wants the current call stopped; `reply` is what the slot holds at this moment.
    pub fn stop(&mut self, reason: StopReason, reply: Option<Reply>) -> Step {
        self.stop_in_style(reason, reply, self.style)
    }

    /// The same of a call whose caller is gone and which comes to its end by itself, as nothing of it runs any more: it has
    /// the time of one that is asked to stop, whatever the style.
    pub fn leave(&mut self, reply: Option<Reply>) -> Step {
        self.stop_in_style(StopReason::CallerGone, reply, StopStyle::Interrupt)
    }

    fn stop_in_style(
        &mut self,
        reason: StopReason,
        reply: Option<Reply>,
        style: StopStyle,
    ) -> Step {
        let State::Running {
            waiting,
            stopping,
            withdrawn,
        } = self.state
        else {
            return Step::NOTHING;
        };
        if let Some(reply) = reply {
            let gone = reason == StopReason::CallerGone;
            let mut step = self.replied(reply);
            if gone {
                step.resolve = None;
            }
            return step;
        }
        let resolve =
            (waiting && reason != StopReason::CallerGone).then_some(Resolution::Stopped(reason));
        let worker = match (stopping, style) {
            (true, _) => Order::Leave,
            (false, StopStyle::Interrupt) => Order::Interrupt,
            (false, StopStyle::Kill) => Order::Kill,
        };
        self.state = match worker {
            Order::Kill => State::Condemned,
            _ => State::Running {
                waiting: false,
                stopping: true,
                withdrawn,
            },
        };
        Step { resolve, worker }
    }

    /// The time that a stopped worker was given is over; `reply` is what the slot holds at this moment.
    pub fn grace_over(&mut self, id: u64, reply: Option<Reply>) -> Step {
        if self.id != id || !self.is_stopping() {
            return Step::NOTHING;
        }
        if let Some(reply) = reply {
            return self.replied(reply);
        }
        self.state = State::Condemned;
        Step {
            resolve: None,
            worker: Order::Kill,
        }
    }

    /// The withdrawn word names the current call; `accepted` is what the accept mark said after that.
    ///
    /// An unaccepted call can run elsewhere at once. Its worker is killed: it did not wake for a second.
    pub fn withdrawn(&mut self, accepted: bool) -> Step {
        let State::Running {
            waiting, stopping, ..
        } = self.state
        else {
            return Step::NOTHING;
        };
        if accepted || stopping {
            self.state = State::Running {
                waiting,
                stopping,
                withdrawn: true,
            };
            return Step::NOTHING;
        }
        self.state = State::Condemned;
        Step {
            resolve: waiting.then_some(Resolution::Retry),
            worker: Order::Kill,
        }
    }

    /// The worker is to be killed for a reason that is not its call's, such as a closing pool.
    pub fn condemn(&mut self) -> Step {
        if matches!(self.state, State::Condemned | State::Dead) {
            return Step::NOTHING;
        }
        let waiting = matches!(self.state, State::Running { waiting: true, .. });
        self.state = State::Condemned;
        Step {
            resolve: waiting.then_some(Resolution::Stopped(StopReason::Cancelled)),
            worker: Order::Kill,
        }
    }

    /// The worker is to be asked to end. `false` when it has a call, or is on its way out already.
    #[must_use]
    pub fn dismiss(&mut self) -> bool {
        let idle = self.is_idle();
        if idle {
            self.state = State::Condemned;
        }
        idle
    }

    /// The process is dead, so the slot will not change again: `reply` and `accepted` are its last words.
    pub fn died(&mut self, reply: Option<Reply>, accepted: bool) -> Step {
        let state = std::mem::replace(&mut self.state, State::Dead);
        let State::Running {
            waiting: true,
            withdrawn,
            ..
        } = state
        else {
            return Step::NOTHING;
        };
        let resolution = match reply {
            Some(Reply::Answer) => Resolution::Reply,
            Some(Reply::Skipped) if withdrawn => Resolution::Retry,
            Some(Reply::Skipped | Reply::Interrupted) => Resolution::Lie,
            None if accepted => Resolution::Died,
            None => Resolution::Retry,
        };
        Step {
            resolve: Some(resolution),
            worker: Order::Leave,
        }
    }
}

#[cfg(test)]
#[path = "machine_model.rs"]
mod model;
