//! Kills at named points of a call, one after the other on a host with one worker.

use std::future::Future;
use std::ops::Range;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{Error, WorkerState, WorkerStats};

use super::subject::{Ended, May, Subject};
use super::verdict::Invariant;
use crate::by_hand::ByHand;
use crate::{BOUND, Random, eventually, signals};

/// A number from here on is held back by the host function: its guest waits until it is killed.
pub(super) const HELD: u64 = 1 << 62;

/// Where in a call its worker is killed.
#[derive(Debug, Clone, Copy)]
enum Point {
    /// Published, with a worker that does not get to run.
    BeforeAccept,
    /// Published.
    Published,
    /// While the guest waits for its host.
    AfterAccept,
    /// The reply is in the slot, and nobody has read it.
    AtReply,
    /// The caller has its answer, and the worker has its reset to do.
    AfterReply,
}

const POINTS: [Point; 5] = [
    Point::BeforeAccept,
    Point::Published,
    Point::AfterAccept,
    Point::AtReply,
    Point::AfterReply,
];

/// Has the worker of each call killed, and says how long it took at most from a kill to the next
/// answer.
pub(super) fn kill_at_points(
    subject: &Subject,
    nonces: Range<u64>,
    mut random: Random,
) -> Duration {
    let mut longest = Duration::ZERO;
    for nonce in nonces {
        let point = POINTS[random.below(POINTS.len() as u64) as usize];
        let worker = only_worker(subject);
        let killed = Killed {
            subject,
            worker,
            nonce,
        };
        let cost = killed.at(point);
        // It may meet the killed worker in its last microsecond, if nothing has yet.
        let (answered, again) = (killed.call(), killed.worker.id);
        if !answered {
            let told = || format!("worker {again}, killed at {point:?}, took two calls");
            let findings = &subject.findings;
            findings.expect(!cost, Invariant::Kills, told);
            let told = || format!("no answer after worker {again} was killed at {point:?}");
            findings.expect(killed.call(), Invariant::Strength, told);
        }
        let killed_at = *subject.last_kill.lock().expect("nobody panicked");
        longest = longest.max(killed_at.expect("just now").elapsed());
    }
    longest
}

fn only_worker(subject: &Subject) -> WorkerStats {
    let mut found = None;
    eventually(BOUND, || {
        let mut workers = subject.host.stats().workers;
        found = workers
            .pop()
            .filter(|worker| workers.is_empty() && worker.state == WorkerState::Idle);
        found.is_some()
    });
    found.expect("awaited")
}

struct Killed<'a> {
    subject: &'a Subject,
    worker: WorkerStats,
    nonce: u64,
}

impl Killed<'_> {
    /// Whether it cost the call.
    fn at(&self, point: Point) -> bool {
        let (host, nonce) = (&self.subject.host, self.nonce);
        let kill = || self.subject.hit(&self.worker, Signal::KILL);
        self.subject.made(1);
        match point {
            Point::BeforeAccept => {
                signals::send(self.worker.pid, Signal::STOP);
                let pid = self.worker.pid;
                eventually(BOUND, || signals::state(pid) == Some('T'));
                let mut call = ByHand::new(host.run_sync("sum_of_doubles", (vec![nonce],)));
                let early = call.poll();
                kill();
                let result = finish(call, early);
                let answered = self.note(result, 2 * nonce);
                self.subject.effect_seen(nonce, answered);
                self.expect(answered, point);
                !answered
            }
            Point::Published => {
                let mut call = ByHand::new(host.run_sync("echo_u64", (nonce,)));
                let early = call.poll();
                kill();
                !self.note(finish(call, early), nonce)
            }
            Point::AfterAccept => {
                let asked = vec![HELD + nonce];
                let mut call = ByHand::new(host.run_sync("sum_of_doubles", (asked,)));
                let begun = Instant::now();
                let mut early = call.poll();
                while early.is_pending()
                    && self.subject.effects.count(nonce) == 0
                    && begun.elapsed() < BOUND
                {
                    call.wait(Duration::from_millis(1));
                    early = call.poll();
                }
                let was_asked = self.subject.effects.count(nonce) == 1;
                kill();
                let answered = self.note(finish(call, early), 0);
                self.expect(was_asked && !answered, point);
                self.subject.effect_seen(nonce, true);
                true
            }
            Point::AtReply => {
                let mut call = ByHand::new(host.run_sync("echo_u64", (nonce,)));
                let early = call.poll();
                if early.is_pending() {
                    call.wait(BOUND);
                }
                kill();
                let answered = self.note(finish(call, early), nonce);
                self.expect(answered, point);
                !answered
            }
            Point::AfterReply => {
                let mut call = ByHand::new(host.run_sync("echo_u64", (nonce,)));
                let answered = self.note(call.finish(), nonce);
                kill();
                self.expect(answered, point);
                !answered
            }
        }
    }

    /// Another call, on whichever worker there is.
    fn call(&self) -> bool {
        self.subject.made(1);
        let mut call = ByHand::new(self.subject.host.run_sync("echo_u64", (self.nonce,)));
        self.note(call.finish(), self.nonce)
    }

    fn note(&self, result: Result<u64, Error>, right: u64) -> bool {
        let ended = match result {
            Ok(answer) if answer == right => Ended::Answered,
            Ok(_) => Ended::Wrong,
            Err(error) => Ended::Failed(error),
        };
        self.subject.ended(self.nonce, ended, May::NOTHING)
    }

    fn expect(&self, holds: bool, point: Point) {
        self.subject.findings.expect(holds, Invariant::Kills, || {
            format!("call {} at a kill {point:?}", self.nonce)
        });
    }
}

fn finish<F: Future>(mut call: ByHand<F>, early: Poll<F::Output>) -> F::Output {
    match early {
        Poll::Ready(output) => output,
        Poll::Pending => call.finish(),
    }
}
