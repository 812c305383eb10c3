//! Many calls of every kind, and somebody who kills, stops and corrupts workers while they run.
//!
//! The calls and the deeds are the same for the same seed; which of them meet is the machine's affair.

mod calls;
mod nemesis;
mod points;
mod subject;
mod verdict;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stockade::{
    Hardening, Host, HostBuilder, Interrupt, Limiter, Limits, Module, Retire, State, WorkerState,
    WorkerType,
};

pub use self::calls::spun;
pub use self::verdict::{Invariant, Verdict};

use self::calls::{Draft, ask_a_liar};
use self::nemesis::Nemesis;
use self::points::HELD;
use self::subject::{Effects, Subject};
use self::verdict::Findings;
use crate::wait::RESOLVES;
use crate::{BOUND, Random, census, guest, host_of};

/// How large a storm is.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// How many calls; a stream of calls counts as one.
    pub calls: u64,
    /// How many deeds of the nemesis.
    pub kills: u64,
    /// What the calls and the deeds are.
    pub seed: u64,
    /// How workers are made; the library's default if there is none.
    pub worker_type: Option<WorkerType>,
    /// The program whose workers lie.
    pub hostile: &'a Path,
}

/// How long a call may run that its caller does not end: a worker that was stopped after it had accepted one is
/// noticed by this.
const PATIENCE: Duration = Duration::from_secs(3);

/// Calls at once for each host.
const CALLERS: u64 = 6;

/// Calls at once for the two hosts that share a limiter.
const IN_CROWD: u64 = 2 * CALLERS;

/// And with those for the host in whose line many more wait than may run.
const ALL: u64 = IN_CROWD + 16;

/// One call in so many is asked of a host whose workers lie.
const LIARS_EVERY: u64 = 50;

/// One deed in so many is done at a named point of a call.
const POINTS_EVERY: u64 = 5;

/// Makes a storm and says what held. To be called in a process that does nothing else, on a thread that is no
/// runtime's.
///
/// # Panics
/// When there can be no storm: a host cannot be built, or a worker is not replaced at all.
#[must_use]
pub fn run(plan: &Plan<'_>) -> Vec<Verdict> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // Its threads are there before anything is counted.
    let both = [0, 1].map(|_| runtime.spawn(async {}));
    for task in both {
        runtime.block_on(task).expect("a task");
    }
    let before = census();
    let findings = Arc::<Findings>::default();
    let seen = runtime.block_on(storm(plan, &findings));
    let begun = Instant::now();
    let after = loop {
        let now = census();
        if now.counts() == before.counts() || begun.elapsed() > BOUND {
            break now;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    findings.expect(
        after.counts() == before.counts(),
        Invariant::Nothing,
        || format!("before: {before:?}; after: {after:?}"),
    );
    let counts = after.counts();
    let seen_of = |invariant| match invariant {
        Invariant::Resolves => seen.calls.clone(),
        Invariant::Effects => seen.effects.clone(),
        Invariant::Kills => seen.kills.clone(),
        Invariant::Strength => seen.strength.clone(),
        Invariant::Nothing => format!(
            "{} descriptors, {} threads, {} children, {} memfds, {} mappings, as before",
            counts.fds, counts.threads, counts.children, counts.memfds, counts.memfd_mappings
        ),
        Invariant::Counters => seen.counters.clone(),
    };
    let verdict = |invariant| Verdict {
        invariant,
        broken: findings.of(invariant),
        seen: seen_of(invariant),
    };
    Invariant::ALL.into_iter().map(verdict).collect()
}

/// What is told of each invariant, whether it held or not.
#[derive(Debug, Default)]
struct Sights {
    calls: String,
    effects: String,
    kills: String,
    strength: String,
    counters: String,
}

async fn storm(plan: &Plan<'_>, findings: &Arc<Findings>) -> Sights {
    let effects = Arc::new(Effects::new(plan.calls));
    let limiter = Limiter::new(6);
    let honest = |name: &'static str, workers: usize, settings: fn(HostBuilder) -> HostBuilder| {
        let builder = settings(host_of(guest::probe()).workers(workers));
        let builder = of_type(builder, plan.worker_type).limits(limits(PATIENCE));
        let told = Arc::clone(&effects);
        let builder = builder.function("double", move |number: u64| {
            let told = Arc::clone(&told);
            async move {
                told.happens(number % HELD);
                if number >= HELD {
                    std::future::pending::<()>().await;
                }
                2 * number
            }
        });
        let (effects, findings) = (Arc::clone(&effects), Arc::clone(findings));
        let limiter = limiter.clone();
        async move {
            let host = match workers {
                // Its one worker waits for nobody.
                1 => builder,
                _ => builder.limiter(limiter),
            };
            let host = host.build().await.expect("the guest is sound");
            Subject::new(name, host, workers, &effects, &findings)
        }
    };
    // Calls travel together where there are no host functions.
    let line = of_type(host_of(guest::probe()), plan.worker_type)
        .workers(2)
        .limits(limits(PATIENCE))
        .limiter(Limiter::new(2));
    let line = line.build().await.expect("the guest is sound");
    let line = Subject::new("line", line, 2, &effects, findings);
    let crowd = [
        honest("fresh", 3, |b| b.retire(Retire::never().after_calls(500))).await,
        honest("keep", 2, |b| {
            b.state(State::Keep).interrupt(Interrupt::Signal)
        })
        .await,
        line,
    ];
    let stage = honest("stage", 1, |b| b).await;
    let liar = Host::builder(Module::from_bytes("corrupt"))
        .worker_program(plan.hostile)
        .no_cache()
        // It builds no walls, and would be refused for that.
        .hardening(Hardening::Insecure)
        .limits(limits(PATIENCE / 10))
        .limiter(Limiter::new(4))
        .workers(2);
    let liar = liar.build().await.expect("it is honest at first");
    let liar = Subject::new("liar", liar, 0, &effects, findings);

    let at_points = plan.kills / POINTS_EVERY;
    let lies = plan.calls / LIARS_EVERY;
    // A kill at a point takes one call, and another to see that the host goes on.
    let in_crowd = plan.calls.saturating_sub(lies + at_points);
    let over = Arc::new(AtomicBool::new(false));
    let nemesis = Nemesis {
        random: Random::of(plan.seed, u64::MAX),
        deeds: plan.kills - at_points,
        calls: in_crowd,
        victims: crowd.to_vec(),
        starts: 0,
    };
    let nemesis = std::thread::spawn({
        let over = Arc::clone(&over);
        move || nemesis.rage(&over)
    });
    let points = std::thread::spawn({
        let (stage, random) = (Arc::clone(&stage), Random::of(plan.seed, u64::MAX - 1));
        let nonces = in_crowd..in_crowd + at_points;
        move || points::kill_at_points(&stage, nonces, random)
    });
    let mut tasks = Vec::new();
    for caller in 0..ALL {
        // Three quarters of those who do not stand in line for the first.
        let (subject, draw): (_, fn(&mut Random) -> Draft) = match caller {
            IN_CROWD.. => (2, Draft::draw_in_line),
            _ => (usize::from(caller % 4 == 3), Draft::draw),
        };
        let subject = Arc::clone(&crowd[subject]);
        let mut random = Random::of(plan.seed, caller);
        tasks.push(tokio::spawn(async move {
            for nonce in (caller..in_crowd).step_by(ALL as usize) {
                draw(&mut random).perform(&subject, nonce).await;
            }
        }));
    }
    for caller in 0..2 {
        let subject = Arc::clone(&liar);
        tasks.push(tokio::spawn(async move {
            for nonce in (caller..lies).step_by(2) {
                ask_a_liar(&subject, nonce).await;
            }
        }));
    }
    for task in tasks {
        task.await.expect("callers do not panic");
    }
    over.store(true, Ordering::Relaxed);
    let wait = || (nemesis.join(), points.join());
    let (raged, longest) = tokio::task::block_in_place(wait);
    raged.expect("the nemesis does not panic");
    let longest = longest.expect("one worker is replaced as often as it is killed");

    let mut strong = Duration::ZERO;
    for subject in crowd.iter().chain([&stage]) {
        strong = strong.max(full_strength(subject).await);
    }
    let subjects: Vec<_> = crowd.into_iter().chain([stage, liar]).collect();
    let mut sights = told(&subjects, &effects);
    sights.strength = format!(
        "{:.1} ms after all workers of a host were killed; {:.1} ms at most from a kill to the next answer of a host with one worker",
        strong.as_secs_f64() * 1e3,
        longest.as_secs_f64() * 1e3,
    );
    sights.counters = judge(&subjects).await;
    for nonce in effects.twice() {
        findings.broken(
            Invariant::Effects,
            format!("more than once by call {nonce}"),
        );
    }
    sights
}

fn limits(timeout: Duration) -> Limits {
    Limits {
        timeout: Some(timeout),
        ..Limits::default()
    }
}

fn of_type(builder: HostBuilder, worker_type: Option<WorkerType>) -> HostBuilder {
    match worker_type {
        Some(worker_type) => builder.worker_type(worker_type),
        None => builder,
    }
}

/// Kills every worker, and says how long it took until as many calls ran at once as there may be workers.
async fn full_strength(subject: &Subject) -> Duration {
    let host = &subject.host;
    let begun = Instant::now();
    let mut killed = Vec::new();
    for worker in host.stats().workers {
        if worker.state != WorkerState::Starting {
            subject.hit(&worker, Signal::KILL);
            killed.push(worker.id);
        }
    }
    // A call that meets one of them in its last moment would be lost with it.
    let are_there = || {
        let mut workers = host.stats().workers.into_iter();
        workers.any(|worker| killed.contains(&worker.id))
    };
    while are_there() && begun.elapsed() < BOUND {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let run = || {
        let workers = host.stats().workers.into_iter();
        let running = workers.filter(|worker| worker.state == WorkerState::Running);
        running.count()
    };
    let sleep = || {
        subject.made(1);
        let call = host.call::<_, _, ()>("sleep_ms", (3_600_000u64,));
        // A worker that was stopped is replaced meanwhile, and its call runs elsewhere.
        call.timeout(RESOLVES).spawn()
    };
    let together: Vec<_> = (0..subject.workers).map(|_| sleep()).collect();
    while run() < subject.workers && begun.elapsed() < BOUND {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    let took = begun.elapsed();
    let running = run();
    subject
        .findings
        .expect(running >= subject.workers, Invariant::Strength, || {
            let (name, all) = (subject.name, subject.workers);
            format!("{running} of the {all} workers of {name:?} serve after {BOUND:?}")
        });
    for call in together {
        call.cancel();
        let ended = match tokio::time::timeout(RESOLVES, call).await {
            Ok(Ok(())) => subject::Ended::Wrong,
            Ok(Err(error)) => subject::Ended::Failed(error),
            Err(_) => subject::Ended::Never(String::new()),
        };
        subject.ended(u64::MAX, ended, subject::May::BE_CANCELLED);
    }
    took
}

fn told(subjects: &[Arc<Subject>], effects: &Effects) -> Sights {
    let sum = |of: fn(&Subject) -> u64| subjects.iter().map(|s| of(s)).sum::<u64>();
    Sights {
        calls: format!(
            "{} made, {} of which travelled together; {} answered, {} cancelled, {} dropped, {} detached, {} out of time, {} refused, {} lied to",
            sum(|s| s.seen.made.load(Ordering::Relaxed)),
            sum(|s| s.host.stats().calls.together),
            sum(|s| s.seen.answered.load(Ordering::Relaxed)),
            sum(|s| s.seen.cancelled.load(Ordering::Relaxed)),
            sum(|s| s.seen.dropped.load(Ordering::Relaxed)),
            sum(|s| s.seen.detached.load(Ordering::Relaxed)),
            sum(|s| s.seen.timed_out.load(Ordering::Relaxed)),
            sum(|s| s.seen.refused.load(Ordering::Relaxed)),
            sum(|s| s.seen.lied_to.load(Ordering::Relaxed)),
        ),
        effects: format!("{} happened", effects.total()),
        kills: format!(
            "{} killed and {} stopped cost {} calls that ran, {} that waited for that worker to start and {} that stalled",
            sum(|s| s.kills.load(Ordering::Relaxed)),
            sum(|s| s.stops.load(Ordering::Relaxed)),
            sum(Subject::lost),
            sum(|s| s.seen.never_ran.load(Ordering::Relaxed)),
            sum(|s| s.seen.stalled.load(Ordering::Relaxed)),
        ),
        ..Sights::default()
    }
}

/// Closes the hosts when they are at rest, and compares every number.
async fn judge(subjects: &[Arc<Subject>]) -> String {
    let (mut calls, mut workers) = (0, 0);
    for subject in subjects {
        let host = &subject.host;
        let begun = Instant::now();
        // Detached calls go on.
        let rests = || {
            let calls = host.stats().calls;
            calls.running == 0 && calls.queued == 0
        };
        while !rests() && begun.elapsed() < RESOLVES {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        subject.judge_calls(&host.stats().calls);
        let report = host.close().await;
        let stats = host.stats();
        let left = stats.workers.len();
        subject.findings.expect(left == 0, Invariant::Nothing, || {
            format!(
                "{left} workers of {:?} after closing: {report:?}",
                subject.name
            )
        });
        subject.judge_workers(&stats.worker_counts);
        if subject.workers > 0 {
            subject.judge_kills();
        }
        calls += stats.calls.submitted;
        workers += stats.worker_counts.started;
    }
    format!("{calls} calls submitted, {workers} workers started")
}
