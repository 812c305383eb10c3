//! A kill, a stop, a drop and a cancellation, each at every step of a call.

use std::cell::Cell;
use std::task::Poll;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Serialize, Serializer};
use stockade::{Cause, Error, Host, Limiter, Phase};
use stockade_tests::{BOUND, alone, census, eventually};

use crate::by_hand::ByHand;
use crate::hosts::{broken, comes_to_rest, only_pid, probe};
use crate::signals::{self, until_spinning};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Its worker is idle, and the call has not been polled.
    Before,
    /// It has been polled once.
    Published,
    /// Guest code runs.
    Running,
    /// The reply lies in the slot, and the caller has not looked.
    Replied,
    /// The caller has its answer, and the worker makes a new instance.
    Reset,
}

const STEPS: [Step; 5] = [
    Step::Before,
    Step::Published,
    Step::Running,
    Step::Replied,
    Step::Reset,
];

/// Enough for the worker to be waited for once, and for the call to be withdrawn once.
const TIMEOUT: Duration = Duration::from_millis(1500);

fn echo(host: &Host, nonce: u64) -> ByHand<impl Future<Output = Result<u64, Error>> + use<>> {
    ByHand::new(host.call("echo_u64", (nonce,)).timeout(TIMEOUT))
}

fn spin(host: &Host) -> ByHand<impl Future<Output = Result<(), Error>> + use<>> {
    ByHand::new(host.call("spin", ()).timeout(TIMEOUT))
}

fn host_and_limiter() -> (Host, Limiter) {
    let (builder, limiter) = probe();
    (
        builder
            .workers(1)
            .interrupt_grace(Duration::from_millis(100))
            .build_blocking()
            .unwrap(),
        limiter,
    )
}

/// Does `deed` at `step` of a call with an answer of its own, and returns what became of the call.
fn at(step: Step, host: &Host, nonce: u64, deed: impl Fn()) -> Result<(), Error> {
    let check = |echoed: u64| assert_eq!(echoed, nonce, "at {step:?}");
    let mut call = echo(host, nonce);
    match step {
        Step::Before => deed(),
        Step::Published => {
            let polled = call.poll();
            deed();
            if let Poll::Ready(result) = polled {
                return result.map(check);
            }
        }
        Step::Running => {
            let pid = only_pid(host);
            let mut call = spin(host);
            assert!(call.poll().is_pending());
            until_spinning(pid);
            deed();
            return call.finish();
        }
        Step::Replied => {
            let polled = call.poll();
            if let Poll::Ready(result) = polled {
                deed();
                return result.map(check);
            }
            assert!(call.wait(BOUND), "the reply wakes its caller");
            deed();
        }
        Step::Reset => {
            let result = call.finish();
            deed();
            return result.map(check);
        }
    }
    call.finish().map(check)
}

#[test]
fn a_kill_at_any_step_costs_at_most_the_call_that_ran() {
    alone(|| {
        let before = census();
        let (host, limiter) = host_and_limiter();
        for round in 0..15u64 {
            for step in STEPS {
                let pid = only_pid(&host);
                let result = at(step, &host, round, || signals::send(pid, Signal::KILL));
                match (step, result) {
                    (Step::Running, result) => {
                        let broken = broken(result);
                        assert_eq!((broken.cause(), broken.pid()), (&Cause::Died, pid));
                    }
                    // It may have been accepted, and not be answered.
                    (Step::Published, Err(error)) => {
                        let broken = broken::<()>(Err(error));
                        assert_eq!((broken.cause(), broken.pid()), (&Cause::Died, pid));
                    }
                    (_, result) => result.unwrap_or_else(|error| panic!("{step:?}: {error}")),
                }
                assert_eq!(echo(&host, 99).finish().unwrap(), 99, "after {step:?}");
                comes_to_rest(&host, &limiter);
                assert_ne!(only_pid(&host), pid, "{step:?}");
            }
        }
        drop(host);
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn a_stop_at_any_step_costs_at_most_the_call_that_ran() {
    alone(|| {
        let before = census();
        for step in STEPS {
            let (host, limiter) = host_and_limiter();
            let pid = only_pid(&host);
            let stop = || {
                signals::send(pid, Signal::STOP);
                eventually(BOUND, || signals::state(pid) == Some('T'));
            };
            let result = at(step, &host, 5, stop);
            match (step, result) {
                (Step::Running, result) => {
                    let error = result.unwrap_err();
                    assert!(
                        matches!(
                            error,
                            Error::Timeout {
                                phase: Phase::Running,
                                ..
                            }
                        ),
                        "{error:?}"
                    );
                }
                // It may have been accepted, and not be answered.
                (Step::Published, Err(error)) => assert!(error.is_timeout(), "{error:?}"),
                (_, result) => result.unwrap_or_else(|error| panic!("{step:?}: {error}")),
            }
            assert_eq!(echo(&host, 99).finish().unwrap(), 99, "after {step:?}");
            comes_to_rest(&host, &limiter);
            assert_ne!(only_pid(&host), pid, "{step:?}");
        }
        eventually(BOUND, || census().counts() == before.counts());
    });
}

/// A number, and what is done when it is first written.
struct Written<'a> {
    number: u64,
    meanwhile: &'a dyn Fn(),
    times: Cell<u32>,
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.times.replace(self.times.get() + 1) == 0 {
            (self.meanwhile)();
        }
        serializer.serialize_u64(self.number)
    }
}

/// Nothing of the guest's has run, so the call runs elsewhere.
#[test]
fn a_kill_or_a_stop_while_a_call_is_written_costs_nothing() {
    alone(|| {
        let before = census();
        for (signal, rounds) in [(Signal::KILL, 10), (Signal::STOP, 2)] {
            for round in 0..rounds {
                let (host, limiter) = host_and_limiter();
                let pid = only_pid(&host);
                let meanwhile = || {
                    signals::send(pid, signal);
                    eventually(BOUND, || {
                        matches!(signals::state(pid), Some('T' | 'Z') | None)
                    });
                };
                let args = (Written {
                    number: round,
                    meanwhile: &meanwhile,
                    times: Cell::new(0),
                },);
                let call = host.call("echo_u64", args).timeout(TIMEOUT);
                let echoed: u64 = ByHand::new(call).finish().unwrap();
                assert_eq!(echoed, round, "{signal:?}");
                comes_to_rest(&host, &limiter);
                assert_ne!(only_pid(&host), pid, "{signal:?}");
            }
        }
        eventually(BOUND, || census().counts() == before.counts());
    });
}

#[test]
fn a_drop_at_any_step_costs_nothing_else() {
    alone(|| {
        let (builder, limiter) = probe();
        let host = builder.workers(1).build_blocking().unwrap();
        let pid = only_pid(&host);
        assert_eq!(echo(&host, 1).finish().unwrap(), 1);
        let before = census();
        for round in 0..100u64 {
            for step in STEPS {
                let mut call = echo(&host, round);
                match step {
                    Step::Before => {}
                    Step::Published => drop(call.poll()),
                    Step::Running => {
                        let mut call = spin(&host);
                        assert!(call.poll().is_pending());
                        if round < 5 {
                            until_spinning(pid);
                        }
                    }
                    Step::Replied => {
                        let _ = call.poll().is_ready() || call.wait(BOUND);
                    }
                    Step::Reset => assert_eq!(call.finish().unwrap(), round),
                }
                drop(call);
                // At once, and not only when all is at rest.
                assert_eq!(echo(&host, 99).finish().unwrap(), 99, "after {step:?}");
                comes_to_rest(&host, &limiter);
            }
        }
        assert_eq!(only_pid(&host), pid);
        assert_eq!(census().counts(), before.counts());
    });
}

#[test]
fn a_closed_host_at_any_step_leaves_nothing_behind() {
    alone(|| {
        let before = census();
        for step in STEPS {
            let (host, limiter) = host_and_limiter();
            let pid = only_pid(&host);
            let mut call = echo(&host, 5);
            let mut spinning = spin(&host);
            match step {
                Step::Before => {}
                Step::Published => drop(call.poll()),
                Step::Running => {
                    assert!(spinning.poll().is_pending());
                    until_spinning(pid);
                }
                Step::Replied => {
                    let _ = call.poll().is_ready() || call.wait(BOUND);
                }
                Step::Reset => drop(call.finish().unwrap()),
            }
            drop(host);
            drop((call, spinning));
            eventually(BOUND, || census().counts() == before.counts());
            assert_eq!(limiter.borrowed(), 0, "{step:?}");
        }
    });
}
