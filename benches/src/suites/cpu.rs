//! Computing for some milliseconds, in which a call itself does not count: how fast guest code is.

use std::time::Instant;

use anyhow::{Result, ensure};
use stockade::{Host, Interrupt, State};
use tokio::runtime::Runtime;

use crate::baselines::raw_wasmtime::RawWasmtime;
use crate::cpus::{Pinned, TwoCpus};
use crate::guests::{self, HELLO, PROBE};
use crate::measure::{Block, Side, Size, interleave};
use crate::report::{Outcome, Row};

// Some milliseconds each: to wake both sides, which such calls have to, must not count.
const FIB: u32 = 32;
const FIB_RESULT: u64 = 2_178_309;
const TURNS: u64 = 20_000_000;

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    // This process and all that it starts, so that one CPU's neighbours are not taken for our code: what is compared
    // here runs one after the other.
    let _pinned = Pinned::to(TwoCpus::pick()?.ours)?;
    let runtime = guests::current_thread()?;
    let host = |guest, interrupt| {
        guests::host(guest, 1)
            .state(State::Keep)
            .interrupt(interrupt)
            .build_blocking()
    };
    let kill = host(HELLO, Interrupt::KillOnly)?;
    let epoch = host(HELLO, Interrupt::Epoch)?;
    let signal = host(HELLO, Interrupt::Signal)?;
    let kill_loop = host(PROBE, Interrupt::KillOnly)?;
    let epoch_loop = host(PROBE, Interrupt::Epoch)?;
    let signal_loop = host(PROBE, Interrupt::Signal)?;
    let mut raw = RawWasmtime::new(HELLO, "fib")?;
    let mut raw_loop = RawWasmtime::new(PROBE, "spin_for")?;
    let fib_request = request((FIB,))?;
    let loop_request = request((TURNS,))?;

    let size = Size::new(1, 3);
    let mut raw = Side::new(size, |block| block.time(|| raw.call(&fib_request)));
    let mut raw_loop = Side::new(size, |block| block.time(|| raw_loop.call(&loop_request)));
    let mut kill_only = Side::new(size, |block| fib(&runtime, &kill, block));
    let mut epochs = Side::new(size, |block| fib(&runtime, &epoch, block));
    let mut signals = Side::new(size, |block| fib(&runtime, &signal, block));
    let mut kill_only_loop = Side::new(size, |block| turns(&runtime, &kill_loop, block));
    let mut epochs_loop = Side::new(size, |block| turns(&runtime, &epoch_loop, block));
    let mut signals_loop = Side::new(size, |block| turns(&runtime, &signal_loop, block));
    interleave(
        if quick { 20 } else { 100 },
        &mut [
            &mut raw,
            &mut kill_only,
            &mut epochs,
            &mut signals,
            &mut raw_loop,
            &mut kill_only_loop,
            &mut epochs_loop,
            &mut signals_loop,
        ],
    )?;

    let (raw, raw_loop) = (raw.finish(), raw_loop.finish());
    let mut outcome = Outcome {
        rows: vec![
            Row::time("kill_only", &kill_only.finish()).against("raw_wasmtime", &raw),
            Row::time("epoch", &epochs.finish()).against("raw_wasmtime", &raw),
            Row::time("signal", &signals.finish()).against("raw_wasmtime", &raw),
            Row::time("kill_only_loop", &kill_only_loop.finish())
                .against("raw_wasmtime", &raw_loop),
            Row::time("epoch_loop", &epochs_loop.finish()).against("raw_wasmtime", &raw_loop),
            Row::time("signal_loop", &signals_loop.finish()).against("raw_wasmtime", &raw_loop),
        ],
        ..Outcome::default()
    };
    outcome.note(format!(
        "fib({FIB}) of the hello guest; loop: {TURNS} turns of spin_for of the probe guest"
    ));
    outcome.note("all sides run on one CPU, workers included");
    outcome.note("raw_wasmtime: the same module in Wasmtime's default configuration, in this process, without epochs");
    Ok(outcome)
}

fn request(args: impl serde::Serialize) -> Result<Vec<u8>> {
    let mut request = vec![0];
    request.extend(bincode::serde::encode_to_vec(
        args,
        bincode::config::standard(),
    )?);
    Ok(request)
}

fn fib(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let number: u64 = host.run_sync("fib", (FIB,)).await?;
            block.push(start.elapsed());
            ensure!(number == FIB_RESULT, "another number: {number}");
        }
        Ok(())
    })
}

fn turns(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let _sum: u64 = host.run_sync("spin_for", (TURNS,)).await?;
            block.push(start.elapsed());
        }
        Ok(())
    })
}
