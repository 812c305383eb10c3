//! An endless call is stopped, and the next call asked for: how long until that has its result?

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use stockade::{Host, Interrupt, WorkerState, WorkerType};
use tokio::runtime::Runtime;

use crate::baselines::fork::BareFork;
use crate::baselines::socket::SocketPingPong;
use crate::cpus::TwoCpus;
use crate::guests::{self, PROBE};
use crate::measure::{Block, Side, Size, busy_wait, interleave};
use crate::report::{Outcome, Row};
use crate::suites::start;

/// For how long the endless call runs before it is stopped.
const RUN: Duration = Duration::from_micros(500);

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    // A worker that is slow on a busy machine must not be killed where its own stop is measured.
    let patient = Duration::from_secs(5);
    let epoch = guests::host(PROBE, 1)
        .interrupt_grace(patient)
        .build_blocking()?;
    let signal = guests::host(PROBE, 1)
        .interrupt(Interrupt::Signal)
        .interrupt_grace(patient)
        .build_blocking()?;
    let kill = guests::host(PROBE, 1)
        .interrupt(Interrupt::KillOnly)
        .worker_type(WorkerType::ForkServer)
        .build_blocking()?;
    stop_and_call(&runtime, &epoch)?;
    stop_and_call(&runtime, &signal)?;
    stop_and_call(&runtime, &kill)?;
    let cpus = TwoCpus::pick()?;
    let mut socket = SocketPingPong::start(cpus)?;
    let mut fork = BareFork::start()?;

    let mut epoch_to_next = Side::new(Size::new(1, 10), |block| {
        stops(&runtime, &epoch, true, block)
    });
    let mut signal_to_next = Side::new(Size::new(1, 10), |block| {
        stops(&runtime, &signal, true, block)
    });
    let mut kill_to_next = Side::new(Size::new(0, 4), |block| {
        stops(&runtime, &kill, false, block)
    });
    let mut socket_pingpong = Side::new(Size::new(10, 50), |block| socket.block(block));
    let mut bare_fork = Side::new(Size::new(2, 10), |block| fork.block(block));
    interleave(
        if quick { 25 } else { 100 },
        &mut [
            &mut epoch_to_next,
            &mut signal_to_next,
            &mut socket_pingpong,
            &mut kill_to_next,
            &mut bare_fork,
        ],
    )?;

    let (socket_pingpong, bare_fork) = (socket_pingpong.finish(), bare_fork.finish());
    let mut outcome = Outcome {
        rows: vec![
            Row::time("epoch_to_next_call", &epoch_to_next.finish())
                .against("socket_pingpong", &socket_pingpong),
            Row::time("signal_to_next_call", &signal_to_next.finish())
                .against("socket_pingpong", &socket_pingpong),
            Row::time("kill_to_next_call", &kill_to_next.finish()).against("bare_fork", &bare_fork),
        ],
        ..Outcome::default()
    };
    outcome.note("from dropping the future of a call that spins to the result of the next call, in a pool of one worker");
    outcome.note(
        "epoch, signal: in the same process, which is checked; kill: Interrupt::KillOnly, in the spare of a fork server",
    );
    outcome.note(format!(
        "socket_pingpong has its ends pinned to CPU {} and CPU {}; bare_fork is forked by a small process",
        cpus.ours, cpus.theirs
    ));
    Ok(outcome)
}

fn stops(runtime: &Runtime, host: &Host, same_process: bool, block: &mut Block<'_>) -> Result<()> {
    for _ in 0..block.calls() {
        if !same_process {
            start::wait_for_spare(host)?;
        }
        let before = pids(host);
        let time = stop_and_call(runtime, host)?;
        block.push(time);
        ensure!(
            (before == pids(host)) == same_process,
            "the call was not stopped in the way that is measured"
        );
    }
    Ok(())
}

fn pids(host: &Host) -> Vec<u32> {
    host.stats()
        .workers
        .iter()
        .map(|worker| worker.pid)
        .collect()
}

fn is_running(host: &Host) -> bool {
    let workers = host.stats().workers;
    workers
        .iter()
        .any(|worker| worker.state == WorkerState::Running)
}

fn stop_and_call(runtime: &Runtime, host: &Host) -> Result<Duration> {
    runtime.block_on(async {
        let mut endless = host.run_sync::<_, _, ()>("spin", ());
        let ended = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut endless).poll(cx))).await;
        ensure!(ended.is_pending(), "an endless call ended: {ended:?}");
        // Woken on this very CPU, it would not begin before this thread sleeps.
        let until = Instant::now() + Duration::from_secs(10);
        while !is_running(host) {
            ensure!(Instant::now() < until, "an endless call does not begin");
            std::thread::yield_now();
        }
        busy_wait(RUN);
        let start = Instant::now();
        drop(endless);
        let answer: u32 = host.run_sync("no_args", ()).await?;
        let time = start.elapsed();
        ensure!(answer == 42, "another answer: {answer}");
        Ok(time)
    })
}
