//! Calls that wait in line for a permit travel together, and none of them is worse off for it.

use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use stockade::{
    Cause, Error, Host, HostBuilder, Interrupt, Limiter, Phase, Retire, Running, State, Trap,
    WorkerState, WorkerStats,
};
use stockade_tests::census::is_alive;
use stockade_tests::wait::RESOLVES;
use stockade_tests::{BOUND, ByHand, INTERRUPTS, Random, eventually, traces};

use crate::hosts::{broken, comes_to_rest, only_pid, probe};

/// What the guest is asked to do.
const WORK: u8 = 0;
const SPIN: u8 = 1;
const PANIC: u8 = 2;
const PRINT: u8 = 3;
const TRAP: u8 = 4;

/// More than there are callers: theirs are the numbers below.
const NUMBERS: u64 = 16;

/// Who awaits one of the calls.
struct Caller {
    call: ByHand<Running<(u8, u64), u64>>,
    result: Option<Result<u64, Error>>,
}

impl Caller {
    fn new(line: &Line, deed: u8, number: u64) -> Self {
        let call = line.host.call("one_of", (deed, number));
        let call = match line.limit {
            Some(limit) => call.timeout(limit),
            None => call,
        };
        Self {
            call: ByHand::new(call),
            result: None,
        }
    }

    /// Looks once.
    fn look(&mut self) {
        if self.result.is_none()
            && let Poll::Ready(result) = self.call.poll()
        {
            self.result = Some(result);
        }
    }

    #[track_caller]
    fn finish(mut self) -> Result<u64, Error> {
        match self.result.take() {
            Some(result) => result,
            None => self.call.finish(),
        }
    }
}

/// One worker and one permit, for which calls wait.
struct Line {
    host: Host,
    limiter: Limiter,
    /// How long each call may run.
    limit: Option<Duration>,
}

impl Line {
    fn new(change: impl FnOnce(HostBuilder) -> HostBuilder) -> Self {
        let limiter = Limiter::new(1);
        // On a busy machine so many calls are made that a worker would have a successor.
        let builder = probe().0.workers(1).retire(Retire::never());
        let builder = change(builder).limiter(limiter.clone());
        let host = builder.build_blocking().unwrap();
        let limit = None;
        Self {
            host,
            limiter,
            limit,
        }
    }

    /// Has the host see how short the function's calls are.
    fn teach(&self) {
        let numbers = NUMBERS..1000;
        let mut map = self.host.map("one_of", numbers.clone().map(|n| (WORK, n)));
        for n in numbers {
            let result: Option<Result<u64, Error>> = ByHand::new(map.next()).finish();
            assert_eq!(result.unwrap().unwrap(), n);
        }
    }

    /// Has calls with these deeds, each with its place as its number, wait in line until there is a permit. The first has
    /// looked for it.
    fn queue(&self, deeds: &[u8]) -> Vec<Caller> {
        self.limiter.set_total(0);
        let mut callers: Vec<_> = (0..)
            .zip(deeds)
            .map(|(n, deed)| Caller::new(self, *deed, n))
            .collect();
        callers.iter_mut().for_each(Caller::look);
        assert_eq!(self.limiter.waiting(), deeds.len());
        self.limiter.set_total(1);
        callers[0].look();
        callers
    }

    /// The same until they have travelled together: on a busy machine the host may take their function for a slow one.
    fn together(&self, deeds: &[u8]) -> Vec<Caller> {
        let since = Instant::now();
        loop {
            self.teach();
            let before = self.host.stats().calls.together;
            let callers = self.queue(deeds);
            if self.host.stats().calls.together - before == deeds.len() as u64 {
                return callers;
            }
            drop(callers);
            comes_to_rest(&self.host, &self.limiter);
            assert!(since.elapsed() < RESOLVES, "they never travel together");
        }
    }

    /// The same with calls of which none begins: the workers are stopped, and are those that are returned.
    fn sent(&self, calls: usize) -> (Vec<Pid>, Vec<Caller>) {
        let since = Instant::now();
        loop {
            self.teach();
            comes_to_rest(&self.host, &self.limiter);
            let stats = self.host.stats();
            let pids: Vec<_> = stats
                .workers
                .iter()
                .map(|worker| Pid::from_raw(worker.pid as i32).unwrap())
                .collect();
            signal(&pids, Signal::STOP);
            let callers = self.queue(&vec![WORK; calls]);
            if self.host.stats().calls.together - stats.calls.together == calls as u64 {
                return (pids, callers);
            }
            signal(&pids, Signal::CONT);
            drop(callers);
            assert!(since.elapsed() < RESOLVES, "they never travel together");
        }
    }

    fn works(&self) {
        let result = Caller::new(self, WORK, 7).finish();
        assert_eq!(result.unwrap(), 7);
    }
}

fn signal(pids: &[Pid], signal: Signal) {
    pids.iter()
        .for_each(|pid| kill_process(*pid, signal).unwrap());
}

#[track_caller]
fn number(caller: Caller, number: u64) {
    assert_eq!(caller.finish().unwrap(), number);
}

/// What becomes of callers who all look when they are woken.
fn all_of(mut callers: Vec<Caller>) -> Vec<Result<u64, Error>> {
    eventually(RESOLVES, || {
        callers.iter_mut().for_each(Caller::look);
        callers.iter().all(|caller| caller.result.is_some())
    });
    callers.into_iter().map(Caller::finish).collect()
}

#[test]
fn each_has_its_own_result() {
    for state in [State::Keep, State::Fresh] {
        let line = Line::new(|host| host.state(state));
        let callers = line.together(&[WORK; 4]);
        for (n, caller) in (0..).zip(callers) {
            number(caller, n);
        }
        comes_to_rest(&line.host, &line.limiter);
    }
}

#[test]
fn a_caller_that_does_not_look_holds_up_nobody() {
    let line = Line::new(|host| host);
    for idle in 0..4 {
        let callers = line.together(&[WORK; 4]);
        let mut later = None;
        for (place, caller) in callers.into_iter().enumerate() {
            match place == idle {
                true => later = Some(caller),
                false => number(caller, place as u64),
            }
        }
        number(later.unwrap(), idle as u64);
    }
}

#[test]
fn a_call_that_takes_long_holds_up_neither_those_before_it_nor_what_is_stopped_with_it() {
    for interrupt in INTERRUPTS {
        let line = Line::new(|host| host.interrupt(interrupt));
        let mut callers = line.together(&[WORK, WORK, SPIN, WORK, WORK]).into_iter();
        for n in 0..2 {
            number(callers.next().unwrap(), n);
        }
        // A worker that was killed before these travelled may still be on its way out.
        let pid = (interrupt != Interrupt::KillOnly).then(|| only_pid(&line.host));
        let mut spins = callers.next().unwrap();
        spins.look();
        assert!(spins.result.is_none());
        // It alone is stopped, and those behind it have their turn.
        drop(spins);
        for n in 3..5 {
            number(callers.next().unwrap(), n);
        }
        if let Some(pid) = pid {
            assert_eq!(only_pid(&line.host), pid);
        }
        comes_to_rest(&line.host, &line.limiter);
    }
}

#[test]
fn a_killed_worker_fails_only_the_call_that_it_ran() {
    let line = Line::new(|host| host);
    let mut callers = line.together(&[WORK, SPIN, WORK, WORK]).into_iter();
    number(callers.next().unwrap(), 0);
    let mut spins = callers.next().unwrap();
    let mut pids = Vec::new();
    eventually(RESOLVES, || {
        // It runs, as those behind it wait for it; on a busy machine it may have a worker of its own by now.
        let workers = line.host.stats().workers.into_iter();
        for worker in workers.filter(|worker| worker.state == WorkerState::Running) {
            let _ = kill_process(Pid::from_raw(worker.pid as i32).unwrap(), Signal::KILL);
            pids.push(worker.pid);
        }
        spins.look();
        spins.result.is_some()
    });
    let killed = broken(spins.finish());
    assert!(matches!(killed.cause(), Cause::Died), "{killed:?}");
    assert!(pids.contains(&killed.pid()), "{pids:?}");
    for n in 2..4 {
        number(callers.next().unwrap(), n);
    }
    eventually(BOUND, || pids.iter().all(|pid| !is_alive(*pid)));
    comes_to_rest(&line.host, &line.limiter);
}

/// Each is heard of by every one of them, as any of them may never look again.
#[test]
fn a_killed_worker_is_heard_of_by_whoever_looks() {
    const CALLERS: usize = 3;
    // Where they go on, none waits for one that does not look.
    let line = Line::new(|host| host.workers(CALLERS));
    for idle in 0..CALLERS {
        let (pids, mut callers) = line.sent(CALLERS);
        callers.iter_mut().for_each(Caller::look);
        line.limiter.set_total(CALLERS);
        signal(&pids, Signal::KILL);
        let later = callers.remove(idle);
        let others = (0..CALLERS).filter(|n| *n != idle);
        for (n, caller) in others.zip(callers) {
            number(caller, n as u64);
        }
        number(later, idle as u64);
    }
}

/// They were admitted when they began to wait.
#[test]
fn one_whose_batch_is_broken_up_is_not_refused_when_many_wait() {
    let line = Line::new(|host| host.queue_limit(4));
    let mut callers = line.together(&[SPIN, WORK, WORK, WORK]);
    let mut others: Vec<_> = (0..8).map(|n| Caller::new(&line, WORK, n)).collect();
    others.iter_mut().for_each(Caller::look);
    let refused = |other: &Caller| matches!(other.result, Some(Err(Error::Saturated { .. })));
    assert!(others.iter().any(refused), "there is room for more");
    drop(callers.remove(0));
    for (n, result) in (1..).zip(all_of(callers)) {
        assert_eq!(result.unwrap(), n);
    }
}

#[test]
fn one_that_fails_fails_alone_and_with_its_own_words() {
    for state in [State::Keep, State::Fresh] {
        let line = Line::new(|host| host.state(state));
        let deeds = [PRINT, PANIC, WORK, PANIC, TRAP];
        let mut callers = line.together(&deeds).into_iter();
        number(callers.next().unwrap(), 0);
        let first = broken(callers.next().unwrap().finish());
        number(callers.next().unwrap(), 2);
        let second = broken(callers.next().unwrap().finish());
        let trap = broken(callers.next().unwrap().finish());
        for (failed, own, other) in [(first, 1, 3), (second, 3, 1)] {
            let Cause::Panic { message, .. } = failed.cause() else {
                panic!("{failed:?}")
            };
            assert_eq!(*message, format!("the end of {own}"));
            let words = |of| format!("the last words of {of}\n");
            assert!(failed.stderr_tail().contains(&words(own)), "{failed:?}");
            assert!(!failed.stderr_tail().contains(&words(other)), "{failed:?}");
        }
        assert!(
            matches!(trap.cause(), Cause::Trap(Trap::Unreachable)),
            "{trap:?}"
        );
        assert_eq!(trap.stderr_tail(), "");
        comes_to_rest(&line.host, &line.limiter);
    }
}

#[test]
fn whoever_leaves_leaves_alone() {
    let line = Line::new(|host| host);
    for leaves in 0..4 {
        for looks in [false, true] {
            let mut callers = line.together(&[WORK; 4]);
            if looks {
                callers.iter_mut().for_each(Caller::look);
            }
            drop(callers.remove(leaves));
            let others = (0..).filter(|n| *n != leaves as u64);
            for (n, caller) in others.zip(callers) {
                number(caller, n);
            }
        }
    }
    drop(line.together(&[WORK; 4]));
    drop(line.together(&[SPIN; 4]));
    line.works();
    comes_to_rest(&line.host, &line.limiter);
}

#[test]
fn a_limit_of_time_is_each_calls_own() {
    let limit = Some(Duration::from_millis(200));
    for interrupt in INTERRUPTS {
        let line = Line {
            limit,
            ..Line::new(|host| host.interrupt(interrupt))
        };
        let callers = line.together(&[WORK, SPIN, WORK, SPIN]);
        for (n, result) in (0..).zip(all_of(callers)) {
            if n % 2 == 0 {
                assert_eq!(result.unwrap(), n);
                continue;
            }
            let Err(Error::Timeout { phase, elapsed }) = result else {
                panic!("{result:?}")
            };
            assert_eq!(phase, Phase::Running);
            assert!(elapsed >= Duration::from_millis(200), "{elapsed:?}");
        }
        line.works();
        comes_to_rest(&line.host, &line.limiter);
    }
}

#[test]
fn what_one_writes_is_reported_in_no_others_span() {
    traces::keep();
    let line = Line::new(|host| host);
    let mut callers = line.together(&[WORK, WORK, WORK, PRINT]);
    let prints = callers.pop().unwrap();
    tracing::info_span!("other").in_scope(|| {
        for (n, caller) in (0..).zip(callers) {
            number(caller, n);
        }
    });
    // On a busy machine it goes alone after all.
    number(prints, 3);
    let said = traces::with("what 3 says");
    assert!(!said.is_empty());
    assert!(said.iter().all(|trace| trace.spans.is_empty()), "{said:?}");
}

/// Where calls are stopped by a kill alone, one that has not begun is no reason for it.
#[test]
fn a_batch_that_is_broken_up_between_two_of_them_costs_no_worker() {
    for interrupt in INTERRUPTS {
        let line = Line::new(|host| host.interrupt(interrupt));
        for leaves in 0..3 {
            let (pids, mut callers) = line.sent(3);
            drop(callers.remove(leaves));
            signal(&pids, Signal::CONT);
            let others = (0..3).filter(|n| *n != leaves);
            for (n, caller) in others.zip(callers) {
                number(caller, n as u64);
            }
            let [pid] = *pids else { panic!("{pids:?}") };
            assert_eq!(only_pid(&line.host), pid.as_raw_nonzero().get() as u32);
            comes_to_rest(&line.host, &line.limiter);
        }
    }
}

#[test]
fn a_host_that_closes_ends_all_of_them() {
    for stops in [0, 1, 3] {
        let line = Line::new(|host| host.grace_period(Duration::from_millis(50)));
        let mut deeds = [WORK; 4];
        deeds[stops] = SPIN;
        let callers = line.together(&deeds);
        let Line { host, .. } = line;
        let closing = std::thread::spawn(move || ByHand::new(host.close()).finish());
        for (place, caller) in callers.into_iter().enumerate() {
            match caller.finish() {
                Ok(n) => assert_eq!((n, place != stops), (place as u64, true)),
                Err(Error::Closed) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        closing.join().unwrap();
    }
}

/// The worker marks an item as begun when the host may just have closed the batch: one of the two gives way.
#[test]
fn none_begins_twice_whoever_leaves_and_whenever() {
    const ROUNDS: u64 = 100;
    const CALLERS: u64 = 8;
    let line = Line::new(|host| host.state(State::Keep).retire(Retire::never()));
    // They have travelled; from then on they do or not, as busy as the machine is.
    drop(line.together(&[WORK; 4]));
    let mut random = Random::new(7);
    let times_of = |number: u64| -> u8 {
        let times = ByHand::new(line.host.run_sync("times_of", (number,))).finish();
        times.unwrap()
    };
    (0..CALLERS).for_each(|number| _ = times_of(number));
    let mut ended = 0;
    for _ in 0..ROUNDS {
        line.teach();
        let mut callers = line.queue(&[WORK; CALLERS as usize]);
        for _ in 0..random.below(4) {
            callers.iter_mut().for_each(Caller::look);
            (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
        }
        let leaves = random.below(CALLERS) as usize;
        let left = callers.remove(leaves);
        let done = u64::from(left.result.is_some());
        drop(left);
        ended += done + all_of(callers).into_iter().filter(Result::is_ok).count() as u64;
        assert!((0..CALLERS).all(|number| times_of(number) <= 1));
    }
    assert!(ended >= ROUNDS * (CALLERS - 1));
}

/// Calls of every kind, in line, that are left, looked at and killed at any moment.
#[test]
fn whatever_happens_each_ends_as_its_own_deed_does() {
    const ROUNDS: u64 = 150;
    for (interrupt, state) in INTERRUPTS
        .into_iter()
        .zip([State::Keep, State::Fresh, State::Keep])
    {
        let line = Line::new(|host| host.interrupt(interrupt).state(state));
        let mut random = Random::new(interrupt as u64 + 1);
        // From then on they travel or not, as busy as the machine is.
        drop(line.together(&[WORK; 4]));
        for round in 0..ROUNDS {
            let deeds: Vec<u8> = (0..2 + random.below(12))
                .map(|_| match random.below(16) {
                    0 => SPIN,
                    1 => PANIC,
                    2 => TRAP,
                    3 => PRINT,
                    _ => WORK,
                })
                .collect();
            let mut callers: Vec<_> = line.queue(&deeds).into_iter().map(Some).collect();
            for _ in 0..random.below(2 * deeds.len() as u64) {
                let place = random.below(deeds.len() as u64) as usize;
                match random.below(4) {
                    0 => drop(callers[place].take()),
                    _ => callers[place].iter_mut().for_each(Caller::look),
                }
            }
            let kill = random.below(8) == 0;
            // One that is killed as it starts is no worker yet, and fails whoever waits for it.
            let ready = |worker: &WorkerStats| worker.state != WorkerState::Starting;
            if kill && let Some(worker) = line.host.stats().workers.into_iter().find(ready) {
                // It may be gone by now.
                let _ = kill_process(Pid::from_raw(worker.pid as i32).unwrap(), Signal::KILL);
            }
            let mut killed = 0;
            let mut left = Vec::new();
            for (place, caller) in callers.into_iter().enumerate() {
                let Some(caller) = caller else { continue };
                match (deeds[place], caller.result) {
                    // It would go on for ever, and is left.
                    (SPIN, None) => {}
                    (SPIN, Some(Err(Error::BrokenWorker(by)))) if kill => {
                        assert!(matches!(by.cause(), Cause::Died), "{by:?}");
                        killed += 1;
                    }
                    (SPIN, Some(result)) => panic!("round {round}: {result:?}"),
                    (_, result) => left.push((place, Caller { result, ..caller })),
                }
            }
            let (places, callers): (Vec<_>, Vec<_>) = left.into_iter().unzip();
            for (place, result) in places.into_iter().zip(all_of(callers)) {
                let deed = deeds[place];
                match result {
                    Ok(n) => assert!(deed <= PRINT && n == place as u64, "{deed}: {n}"),
                    Err(Error::BrokenWorker(by)) => match by.cause() {
                        Cause::Died if kill => killed += 1,
                        Cause::Panic { message, .. } => {
                            assert_eq!((deed, message), (PANIC, &format!("the end of {place}")));
                        }
                        Cause::Trap(Trap::Unreachable) => assert_eq!(deed, TRAP),
                        _ => panic!("round {round}: {by:?}"),
                    },
                    result => panic!("round {round}, deed {deed}: {result:?}"),
                }
            }
            assert!(killed <= 1, "round {round}: {killed} died with one worker");
        }
        line.works();
        comes_to_rest(&line.host, &line.limiter);
    }
}
