//! What the walls cost: the same calls and the same starts with them and without.

use std::time::Instant;

use anyhow::{Result, ensure};
use stockade::{Hardening, Host, State};
use tokio::runtime::Runtime;

use super::start::{Spare, add, replaced_workers};
use crate::guests::{self, HELLO};
use crate::measure::{Block, Side, Size, interleave};
use crate::report::{Outcome, Row};

const SMALL: Size = Size::new(20, 200);
const STARTS: Size = Size::new(1, 5);

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = &guests::current_thread()?;
    let both = |build: &dyn Fn(Hardening) -> Result<Host>| {
        Ok::<_, anyhow::Error>((build(Hardening::Default)?, build(Hardening::Insecure)?))
    };
    let kept = |hardening| {
        let builder = guests::host(HELLO, 1).state(State::Keep);
        Ok(builder.hardening(hardening).build_blocking()?)
    };
    let fresh = |hardening| {
        Ok(guests::host(HELLO, 1)
            .hardening(hardening)
            .build_blocking()?)
    };
    let (kept, kept_insecure) = both(&kept)?;
    let (starting, starting_insecure) = both(&fresh)?;
    let (fresh, fresh_insecure) = both(&fresh)?;

    let calls = |host| {
        Side::new(SMALL, move |block: &mut Block<'_>| {
            calls(runtime, host, block)
        })
    };
    let mut call = calls(&kept);
    let mut call_insecure = calls(&kept_insecure);
    let mut call_fresh = calls(&fresh);
    let mut call_fresh_insecure = calls(&fresh_insecure);
    interleave(
        if quick { 40 } else { 300 },
        &mut [
            &mut call,
            &mut call_insecure,
            &mut call_fresh,
            &mut call_fresh_insecure,
        ],
    )?;
    let starts = |host| {
        Side::new(STARTS, move |block: &mut Block<'_>| {
            replaced_workers(runtime, host, add, Spare::None, block)
        })
    };
    let mut start = starts(&starting);
    let mut start_insecure = starts(&starting_insecure);
    interleave(
        if quick { 12 } else { 60 },
        &mut [&mut start, &mut start_insecure],
    )?;

    let (start, start_insecure) = (start.finish(), start_insecure.finish());
    let added_ms = (start.median() - start_insecure.median()) / 1e6;
    let mut outcome = Outcome {
        rows: vec![
            Row::time("default_vs_insecure_call", &call.finish())
                .against("insecure", &call_insecure.finish()),
            Row::time("default_vs_insecure_call_fresh", &call_fresh.finish())
                .against("insecure", &call_fresh_insecure.finish()),
            Row::time("default_vs_insecure_spawn", &start).against("insecure", &start_insecure),
            Row::figure("default_vs_insecure_spawn_added", added_ms, "ms"),
        ],
        ..Outcome::default()
    };
    outcome.note("insecure: the same with Hardening::Insecure, in turns. call: host.run_sync(\"add\", (1u32, 2u32)) of the hello guest with State::Keep; fresh: State::Fresh");
    outcome.note("spawn: a call in a pool whose only worker has been killed, hence a new process and a first call; added: the difference of the medians");
    Ok(outcome)
}

fn calls(runtime: &Runtime, host: &Host, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let sum: u64 = host.run_sync("add", (1u32, 2u32)).await?;
            block.push(start.elapsed());
            ensure!(sum == 3, "1 + 2 gave {sum}");
        }
        Ok(())
    })
}
