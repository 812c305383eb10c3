//! Calls of next to nothing: `add` of the hello guest, two numbers there and one back. And a few in which the guest sleeps
//! or computes.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stockade::{Host, Retire, State};
use tokio::runtime::Runtime;

use crate::baselines::bare_slot::BareSlot;
use crate::baselines::in_process::InProcess;
use crate::baselines::line::SharedLine;
use crate::baselines::socket::SocketPingPong;
use crate::cpus::TwoCpus;
use crate::guests::{self, HELLO, PROBE};
use crate::measure::{Block, Samples, Side, Size, busy_wait_about, interleave};
use crate::plot::{Axis, Curve, Plot};
use crate::report::{Outcome, Row};

const ROUNDS: usize = 200;
const ROUNDS_QUICK: usize = 40;

const SMALL: Size = Size::new(20, 200);
const SPACED: Size = Size::new(5, 50);
const SLEEPING: Size = Size::new(1, 10);
const COMPUTING: Size = Size::new(3, 30);
const SPACED_WIDE: Size = Size::new(2, 10);
const RESTED: Size = Size::new(0, 2);

/// Between the end of one spaced call and the start of the next, about.
const SPACE: Duration = Duration::from_micros(50);

/// The same, longer than any worker should poll for a call that may never come.
const WIDE_SPACE: Duration = Duration::from_micros(500);

/// After such a pause both sides sleep.
const REST: Duration = Duration::from_millis(2);

const ARGS: (u32, u32) = (1, 2);

/// Some 30 us of the guest's.
const FIB: (u32,) = (20,);

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let hosts = Hosts::build()?;
    let cpus = TwoCpus::pick()?;
    let measured = measure(&hosts, cpus, if quick { ROUNDS_QUICK } else { ROUNDS })?;
    let mut outcome = Outcome {
        rows: rows(&measured),
        plot: Some(plot(&measured)),
        ..Outcome::default()
    };
    outcome.note("a call is host.run_sync(\"add\", (1u32, 2u32)).await of the hello guest on a current-thread runtime; rows with multi_thread: in a task of a multi-thread runtime");
    outcome.note("overhead: warm_keep minus the median of in_process, which asks the guest for the request's room in each call; a worker has done that before, where an instance is kept and requests are short and of one length");
    outcome.note("bare_slot: the same guest in another process, by one cache line there and one back, encoded, called and decoded as in_process does, and nothing else; overhead_bare_slot: that minus in_process, what a second process costs here when nothing is done but the call. in_process_beside_a_poll: in_process while the other CPU polls a line");
    outcome.note(format!(
        "shared_line, bare_slot and socket_pingpong have their ends pinned to CPU {} and CPU {}, in_process_beside_a_poll its two sides; nothing else is pinned; a sample of shared_line is the mean of ten round trips",
        cpus.ours, cpus.theirs
    ));
    outcome.note("spaced: 45 to 55 us between the end of a call and the start of the next, spent computing; its in_process is spaced alike. spaced_wide: 450 to 550 us. rested: 2 ms, spent sleeping");
    outcome.note("fib_20: that function of the hello guest instead, State::Keep, some 30 us of computing; its in_process is the same function");
    outcome.note("sleeping_1ms: what a call in which the guest sleeps for 1 ms takes beyond what the guest's own clock says that it slept; sleeping_1ms_timer: beyond 1 ms, so with what the kernel's timer is late. warm_keep_retiring: workers retire as they do by default; in all other rows they stay");
    Ok(outcome)
}

/// What is called, and where from.
struct Hosts {
    runtime: Runtime,
    multi: Runtime,
    keep: Host,
    retiring: Host,
    fresh: Host,
    sleeper: Host,
}

impl Hosts {
    fn build() -> Result<Self> {
        let hosts = Self {
            runtime: guests::current_thread()?,
            multi: guests::multi_thread()?,
            keep: guests::host(HELLO, 1).state(State::Keep).build_blocking()?,
            retiring: guests::host(HELLO, 1)
                .state(State::Keep)
                .retire(Retire::default())
                .build_blocking()?,
            fresh: guests::host(HELLO, 1).build_blocking()?,
            sleeper: guests::host(PROBE, 1).build_blocking()?,
        };
        // A first call through each, so that whatever is decided once is decided before a thread is pinned.
        for host in [&hosts.keep, &hosts.retiring, &hosts.fresh] {
            check(hosts.runtime.block_on(host.run_sync("add", ARGS))?)?;
        }
        let sleep = hosts.sleeper.run_sync::<_, _, ()>("sleep_ms", (1u64,));
        hosts.runtime.block_on(sleep)?;
        Ok(hosts)
    }
}

struct Measured {
    in_process: Samples,
    in_process_spaced: Samples,
    in_process_beside_a_poll: Samples,
    bare_slot: Samples,
    shared_line: Samples,
    socket_pingpong: Samples,
    warm_keep: Samples,
    warm_fresh: Samples,
    keep_spaced: Samples,
    fresh_spaced: Samples,
    keep_spaced_wide: Samples,
    keep_rested: Samples,
    keep_retiring: Samples,
    keep_multi: Samples,
    fresh_multi: Samples,
    sleeping: Samples,
    sleeping_beyond_guest: Samples,
    computing: Samples,
    in_process_computing: Samples,
}

fn measure(hosts: &Hosts, cpus: TwoCpus, rounds: usize) -> Result<Measured> {
    let Hosts {
        runtime,
        multi,
        keep,
        retiring,
        fresh,
        sleeper,
    } = hosts;
    let mut line = SharedLine::start(cpus)?;
    let mut socket = SocketPingPong::start(cpus)?;
    let bare = RefCell::new(BareSlot::start(cpus)?);
    let guest = InProcess::new(HELLO)?;
    let add = guest.export("add")?;
    let fib = guest.export("fib")?;
    // Several sides use the same, in turns.
    let guest = RefCell::new(guest);
    let call_guest = || check(guest.borrow_mut().call(add, black_box(&ARGS))?);
    let compute = || check_fib(guest.borrow_mut().call(fib, black_box(&FIB))?);

    let at_once: fn(Duration) = |_| ();
    let mut in_process = Side::new(SMALL, |block| block.time(call_guest));
    let mut in_process_spaced = Side::new(SPACED, |block| block.time_spaced(SPACE, call_guest));
    let mut in_process_beside_a_poll = Side::new(SMALL, |block| {
        bare.borrow_mut().beside_a_poll(|| block.time(call_guest))
    });
    let mut bare_slot = Side::new(SMALL, |block| {
        bare.borrow_mut()
            .block(block, |slot| check(slot.call(black_box(&ARGS))?))
    });
    let mut shared_line = Side::new(SMALL, |block| line.block(block));
    let mut socket_pingpong = Side::new(Size::new(10, 100), |block| socket.block(block));
    let calls = |host, space, wait: fn(Duration)| {
        move |block: &mut Block<'_>| calls(runtime, host, space, wait, block)
    };
    let mut warm_keep = Side::new(SMALL, calls(keep, Duration::ZERO, at_once));
    let mut keep_retiring = Side::new(SMALL, calls(retiring, Duration::ZERO, at_once));
    let mut warm_fresh = Side::new(SMALL, calls(fresh, Duration::ZERO, at_once));
    let mut keep_spaced = Side::new(SPACED, calls(keep, SPACE, busy_wait_about));
    let mut fresh_spaced = Side::new(SPACED, calls(fresh, SPACE, busy_wait_about));
    let mut keep_spaced_wide = Side::new(SPACED_WIDE, calls(keep, WIDE_SPACE, busy_wait_about));
    let mut keep_rested = Side::new(RESTED, calls(keep, REST, std::thread::sleep));
    let mut keep_multi = Side::new(SMALL, |block| calls_in_task(multi, keep, block));
    let mut fresh_multi = Side::new(SMALL, |block| calls_in_task(multi, fresh, block));
    let mut sleeping = Side::new(SLEEPING, |block| sleeping_calls(runtime, sleeper, block));
    let mut sleeping_beyond_guest = Side::new(SLEEPING, |block| {
        sleeping_calls_by_guest(runtime, sleeper, block)
    });
    let mut computing = Side::new(COMPUTING, |block| computing_calls(runtime, keep, block));
    let mut in_process_computing = Side::new(COMPUTING, |block| block.time(compute));
    interleave(
        rounds,
        &mut [
            &mut in_process,
            &mut warm_keep,
            &mut shared_line,
            &mut bare_slot,
            &mut in_process_beside_a_poll,
            &mut warm_fresh,
            &mut socket_pingpong,
            &mut fresh_spaced,
            &mut in_process_spaced,
            &mut keep_spaced,
            &mut keep_retiring,
            &mut keep_multi,
            &mut fresh_multi,
            &mut keep_spaced_wide,
            &mut keep_rested,
            &mut sleeping,
            &mut sleeping_beyond_guest,
            &mut computing,
            &mut in_process_computing,
        ],
    )?;
    Ok(Measured {
        in_process: in_process.finish(),
        in_process_spaced: in_process_spaced.finish(),
        in_process_beside_a_poll: in_process_beside_a_poll.finish(),
        bare_slot: bare_slot.finish(),
        shared_line: shared_line.finish(),
        socket_pingpong: socket_pingpong.finish(),
        warm_keep: warm_keep.finish(),
        warm_fresh: warm_fresh.finish(),
        keep_spaced: keep_spaced.finish(),
        fresh_spaced: fresh_spaced.finish(),
        keep_spaced_wide: keep_spaced_wide.finish(),
        keep_rested: keep_rested.finish(),
        keep_retiring: keep_retiring.finish(),
        keep_multi: keep_multi.finish(),
        fresh_multi: fresh_multi.finish(),
        sleeping: sleeping.finish(),
        sleeping_beyond_guest: sleeping_beyond_guest.finish(),
        computing: computing.finish(),
        in_process_computing: in_process_computing.finish(),
    })
}

/// The contract's rows, more of the same kind, and the baselines themselves.
fn rows(m: &Measured) -> Vec<Row> {
    let to_guest = |row: Row| row.against("in_process", &m.in_process);
    let to_spaced = |row: Row| row.against("in_process", &m.in_process_spaced);
    let to_line = |row: Row| row.against("shared_line", &m.shared_line);
    let to_socket = |row: Row| row.against("socket_pingpong", &m.socket_pingpong);
    vec![
        to_guest(Row::time("warm_keep", &m.warm_keep)),
        to_guest(Row::time("warm_fresh", &m.warm_fresh)),
        to_socket(Row::time("warm_keep_socket", &m.warm_keep)),
        to_line(Row::time_beyond(
            "overhead",
            &m.warm_keep,
            m.in_process.median(),
        )),
        to_spaced(Row::time("warm_fresh_spaced", &m.fresh_spaced)),
        to_socket(Row::time("sleeping_1ms", &m.sleeping_beyond_guest)),
        to_socket(Row::time_beyond("sleeping_1ms_timer", &m.sleeping, 1e6)),
        Row::time("fib_20", &m.computing).against("in_process", &m.in_process_computing),
        to_spaced(Row::time("warm_keep_spaced", &m.keep_spaced)),
        to_socket(Row::time("warm_keep_spaced_wide", &m.keep_spaced_wide)),
        to_socket(Row::time("warm_keep_rested", &m.keep_rested)),
        to_guest(Row::time("warm_keep_retiring", &m.keep_retiring)),
        to_guest(Row::time("warm_keep_multi_thread", &m.keep_multi)),
        to_guest(Row::time("warm_fresh_multi_thread", &m.fresh_multi)),
        to_line(Row::time_beyond(
            "overhead_bare_slot",
            &m.bare_slot,
            m.in_process.median(),
        )),
        to_guest(Row::time("bare_slot", &m.bare_slot)),
        to_guest(Row::time(
            "in_process_beside_a_poll",
            &m.in_process_beside_a_poll,
        )),
        Row::time("in_process", &m.in_process),
        Row::time("in_process_spaced", &m.in_process_spaced),
        Row::time("shared_line", &m.shared_line),
        Row::time("socket_pingpong", &m.socket_pingpong),
    ]
}

/// The contract's rows and their baselines.
fn plot(m: &Measured) -> Plot {
    let ours = Curve::distribution;
    let baseline = |name, samples| Curve::distribution(name, samples).baseline();
    Plot {
        title: "How the times of small calls are spread",
        x: Axis::Time,
        y: Axis::Part,
        curves: vec![
            ours("warm_keep", &m.warm_keep),
            ours("warm_fresh", &m.warm_fresh),
            ours("warm_fresh_spaced", &m.fresh_spaced),
            ours("sleeping_1ms", &m.sleeping_beyond_guest),
            baseline("shared_line", &m.shared_line),
            baseline("in_process", &m.in_process),
            baseline("socket_pingpong", &m.socket_pingpong),
        ],
    }
}

fn check(sum: u64) -> Result<()> {
    ensure!(sum == 3, "1 + 2 gave {sum}");
    Ok(())
}

fn check_fib(number: u64) -> Result<()> {
    ensure!(number == 6765, "fib(20) is {number}");
    Ok(())
}

fn computing_calls(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let number = host.run_sync("fib", black_box(FIB)).await?;
            block.push(start.elapsed());
            check_fib(number)?;
        }
        Ok(())
    })
}

/// Calls, with `wait(space)` before each.
fn calls(
    runtime: &Runtime,
    host: &Host,
    space: Duration,
    wait: fn(Duration),
    block: &mut Block<'_>,
) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            wait(space);
            let start = Instant::now();
            let sum = host.run_sync("add", black_box(ARGS)).await?;
            block.push(start.elapsed());
            check(sum)?;
        }
        Ok(())
    })
}

fn calls_in_task(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    let (host, count) = (host.clone(), block.calls());
    let times = runtime.block_on(runtime.spawn(async move {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            let sum = host.run_sync("add", black_box(ARGS)).await?;
            times.push(start.elapsed());
            check(sum)?;
        }
        anyhow::Ok(times)
    }))??;
    times.into_iter().for_each(|time| block.push(time));
    Ok(())
}

fn sleeping_calls(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            host.run_sync::<_, _, ()>("sleep_ms", (1u64,)).await?;
            block.push(start.elapsed());
        }
        Ok(())
    })
}

fn sleeping_calls_by_guest(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let slept: u64 = host.run_sync("elapsed_over_sleep", (1u64,)).await?;
            block.push(start.elapsed().saturating_sub(Duration::from_nanos(slept)));
        }
        Ok(())
    })
}
