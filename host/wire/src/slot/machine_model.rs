//! Every interleaving of {publish, accept, reply, stop, signal, withdraw, death, drop} of two calls on one
//! worker, with the shared words modelled one access at a time.

use std::collections::HashSet;

use super::*;

const CALLS: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Guest {
    Ends,
    Spins,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Worker {
    Waits { last: u64 },
    Saw(u64),
    Marked(u64),
    Runs(u64),
}

/// What a host thread does next while it still holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holding {
    Nothing,
    Signal,
    ReadAcceptMark,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Call {
    gone: bool,
    stopped: bool,
    withdrawn: bool,
    starts: u8,
    resolution: Option<Resolution>,
}

/// Takes one of the things that can happen next.
type Branch<'a> = dyn FnMut(&dyn Fn(&mut World)) + 'a;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    guest: Guest,
    machine: Machine,
    holding: Holding,
    /// Calls whose grace timer may still fire, however late.
    graces: [bool; CALLS as usize],
    calls: [Call; CALLS as usize],
    // Shared words.
    published: u64,
    cancel: u64,
    withdrawn: u64,
    ended: bool,
    accepted: u64,
    reply: (u64, Option<Reply>),
    // The process.
    worker: Worker,
    signal_pending: bool,
    epoch_moved: bool,
    killed: bool,
    dead: bool,
}

impl World {
    fn new(guest: Guest, style: StopStyle) -> Self {
        Self {
            guest,
            machine: Machine::new(style),
            holding: Holding::Nothing,
            graces: [false; CALLS as usize],
            calls: Default::default(),
            published: 0,
            cancel: 0,
            withdrawn: 0,
            ended: false,
            accepted: 0,
            reply: (0, None),
            worker: Worker::Waits { last: 0 },
            signal_pending: false,
            epoch_moved: false,
            killed: false,
            dead: false,
        }
    }

    fn call(&mut self, id: u64) -> &mut Call {
        &mut self.calls[id as usize - 1]
    }

    fn seen(&self) -> Option<Reply> {
        if self.reply.0 == self.machine.id() {
            self.reply.1
        } else {
            None
        }
    }

    fn carry_out(&mut self, step: Step) {
        let id = self.machine.id();
        if let Some(resolution) = step.resolve {
            let starts = self.call(id).starts;
            let call = self.call(id);
            assert!(call.resolution.is_none(), "resolved twice");
            assert!(!call.gone, "resolved for nobody");
            match resolution {
                Resolution::Retry => assert_eq!(starts, 0, "retried although guest code ran"),
                Resolution::Reply => assert_eq!(self.reply, (id, Some(Reply::Answer))),
                Resolution::Stopped(_) => assert!(call.stopped),
                Resolution::Died => assert!(self.dead && self.reply.0 != id),
                Resolution::Lie => panic!("an honest worker was called a liar"),
            }
            self.call(id).resolution = Some(resolution);
        }
        match step.worker {
            Order::Leave => {}
            Order::Interrupt => {
                self.cancel = id;
                self.graces[id as usize - 1] = true;
                self.holding = Holding::Signal;
            }
            Order::Kill => {
                let call = *self.call(id);
                assert!(call.stopped || call.withdrawn, "killed for nothing");
                self.killed = true;
            }
            Order::Reuse => {
                assert_eq!(self.reply.0, id, "reused while the call is not over");
            }
        }
    }

    /// Every world that one step of anybody leads to.
    fn next(&self) -> Vec<World> {
        let mut worlds = Vec::new();
        let mut branch = |f: &dyn Fn(&mut World)| {
            let mut world = self.clone();
            f(&mut world);
            worlds.push(world);
        };
        self.host_steps(&mut branch);
        self.worker_steps(&mut branch);
        worlds
    }

    fn host_steps(&self, branch: &mut Branch<'_>) {
        match self.holding {
            Holding::Signal => {
                return branch(&|w| {
                    w.signal_pending = !w.dead;
                    w.holding = Holding::Nothing;
                });
            }
            Holding::ReadAcceptMark => {
                return branch(&|w| {
                    w.holding = Holding::Nothing;
                    let accepted = w.accepted == w.machine.id();
                    let step = w.machine.withdrawn(accepted);
                    w.carry_out(step);
                });
            }
            Holding::Nothing => {}
        }
        let id = self.machine.id();
        if id < CALLS && self.machine.clone().publish().is_some() {
            assert!(
                !self.killed && !self.ended,
                "a worker that was to be killed, or to end, got a call"
            );
            branch(&|w| w.published = w.machine.publish().unwrap());
        }
        if self.machine.clone().dismiss() {
            branch(&|w| {
                assert!(w.machine.dismiss());
                w.ended = true;
            });
        }
        if id > 0 && self.seen().is_some() && self.machine.is_running(id) {
            branch(&|w| {
                let step = w.machine.replied(w.seen().unwrap());
                w.carry_out(step);
            });
        }
        if self.machine.is_running(id) {
            let call = self.calls[id as usize - 1];
            let waits = !call.gone && call.resolution.is_none();
            for reason in [StopReason::CallerGone, StopReason::TimedOut] {
                // A timer does not know whether the caller still waits; a caller goes once.
                if reason == StopReason::CallerGone && !waits {
                    continue;
                }
                branch(&|w| {
                    let call = w.call(id);
                    call.stopped = true;
                    call.gone |= reason == StopReason::CallerGone;
                    let seen = w.seen();
                    let step = w.machine.stop(reason, seen);
                    w.carry_out(step);
                });
            }
            if waits {
                branch(&|w| {
                    let call = w.call(id);
                    (call.stopped, call.gone) = (true, true);
                    let seen = w.seen();
                    let step = w.machine.leave(seen);
                    assert!(step.worker != Order::Kill, "it was about to end");
                    w.carry_out(step);
                });
            }
            if !call.withdrawn {
                branch(&|w| {
                    w.call(id).withdrawn = true;
                    w.withdrawn = id;
                    w.holding = Holding::ReadAcceptMark;
                });
            }
        }
        assert!(
            !self.machine.is_stopping() || self.graces[id as usize - 1],
            "nothing will end a call that was stopped"
        );
        for of in (1..=CALLS).filter(|of| self.graces[*of as usize - 1]) {
            branch(&|w| {
                w.graces[of as usize - 1] = false;
                let seen = w.seen();
                let step = w.machine.grace_over(of, seen);
                assert!(
                    of == id || step == Step::NOTHING,
                    "a late timer hit the next call"
                );
                w.carry_out(step);
            });
        }
        if self.dead && !self.machine.is_dead() {
            branch(&|w| {
                let (seen, accepted) = (w.seen(), w.accepted == w.machine.id());
                let step = w.machine.died(seen, accepted);
                w.carry_out(step);
            });
        }
    }

    fn worker_steps(&self, branch: &mut Branch<'_>) {
        if self.dead {
            return;
        }
        branch(&|w| w.dead = true);
        if self.signal_pending {
            branch(&|w| {
                w.signal_pending = false;
                // Before the deadline of a call is set, a moved epoch means nothing to it.
                w.epoch_moved = matches!(w.worker, Worker::Marked(_) | Worker::Runs(_));
            });
        }
        match self.worker {
            Worker::Waits { last } if self.published != last => branch(&|w| {
                w.worker = Worker::Saw(w.published);
                w.epoch_moved = false;
            }),
            Worker::Waits { .. } => {
                // By the host's word, or because it was idle for too long.
                branch(&|w| w.dead = true);
            }
            Worker::Saw(id) => branch(&|w| {
                w.accepted = id;
                w.worker = Worker::Marked(id);
            }),
            Worker::Marked(id) => branch(&|w| {
                if w.withdrawn == id || w.cancel == id {
                    w.answer(id, Reply::Skipped);
                } else {
                    w.worker = Worker::Runs(id);
                    let call = w.call(id);
                    call.starts += 1;
                    assert_eq!(call.starts, 1, "ran twice");
                    assert_ne!(
                        call.resolution,
                        Some(Resolution::Retry),
                        "ran after it was retried"
                    );
                }
            }),
            Worker::Runs(id) => {
                if self.guest == Guest::Ends {
                    branch(&|w| w.answer(id, Reply::Answer));
                }
                if self.epoch_moved {
                    branch(&|w| {
                        w.epoch_moved = false;
                        if w.cancel == id {
                            assert!(w.call(id).stopped, "a late stop hit the next call");
                            w.answer(id, Reply::Interrupted);
                        }
                    });
                } else {
                    let stop_is_under_way = self.signal_pending || self.holding == Holding::Signal;
                    assert!(self.cancel != id || stop_is_under_way, "a stop was lost");
                }
            }
        }
    }

    fn answer(&mut self, id: u64, reply: Reply) {
        self.reply = (id, Some(reply));
        self.worker = Worker::Waits { last: id };
    }

    fn check_end(&self) {
        let published = self.machine.id() as usize;
        for call in &self.calls[..published] {
            assert!(
                call.gone != call.resolution.is_some(),
                "a call was left without an answer: {self:?}"
            );
        }
        assert!(self.machine.is_idle() || self.machine.is_dead());
    }
}

fn explore(guest: Guest, style: StopStyle) -> usize {
    let mut seen = HashSet::new();
    let mut open = vec![World::new(guest, style)];
    let mut ends = 0;
    while let Some(world) = open.pop() {
        if !seen.insert(world.clone()) {
            continue;
        }
        let next = world.next();
        if next.is_empty() {
            world.check_end();
            ends += 1;
        }
        open.extend(next);
    }
    assert!(ends > 0);
    seen.len()
}

#[test]
fn every_interleaving_keeps_the_promises() {
    for guest in [Guest::Ends, Guest::Spins] {
        for style in [StopStyle::Interrupt, StopStyle::Kill] {
            let states = explore(guest, style);
            assert!(
                states > 100,
                "{guest:?} {style:?}: only {states} states were reached"
            );
        }
    }
}

/// A worker may write anything at any time: no reply, in no state, makes the machine resolve twice or reuse
/// a worker that lied.
#[test]
fn a_lying_worker_is_killed_and_never_reused() {
    for reply in [Reply::Skipped, Reply::Interrupted] {
        let mut machine = Machine::new(StopStyle::Interrupt);
        machine.publish().unwrap();
        let step = machine.replied(reply);
        assert_eq!(
            step,
            Step {
                resolve: Some(Resolution::Lie),
                worker: Order::Kill
            }
        );
        assert_eq!(machine.publish(), None);
        assert_eq!(machine.replied(Reply::Answer), Step::NOTHING);
        assert_eq!(machine.died(Some(Reply::Answer), true), Step::NOTHING);
    }
}
