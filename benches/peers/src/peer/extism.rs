//! Extism: untrusted code, in the same process.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use extism::{Manifest, Plugin, Wasm};

use crate::work::{Work, echo_row, rate, sample, times};

/// The least that a plug-in can do: it gives its input back where it lies. `spin` never ends.
const PLUGIN: &str = r#"(module
    (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
    (import "extism:host/env" "input_length" (func $input_length (result i64)))
    (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
    (memory (export "memory") 1)
    (func (export "echo") (result i32)
        (call $output_set (call $input_offset) (call $input_length))
        (i32.const 0))
    (func (export "spin") (result i32) (loop $again (br $again)) (i32.const 0)))"#;

/// Two numbers.
const SMALL: [u8; 8] = [1, 0, 0, 0, 2, 0, 0, 0];

pub fn run(work: &Work) -> Result<()> {
    let start = Instant::now();
    let mut plugin = plugin(None)?;
    call(&mut plugin, &SMALL)?;
    times("first_call", vec![start.elapsed()]);

    times("warm", sample(work.small, || call(&mut plugin, &SMALL))?);
    for (bytes, count) in work.echoes {
        let payload = vec![7u8; bytes];
        times(
            &echo_row(bytes),
            sample(count, || call(&mut plugin, &payload))?,
        );
    }
    let start = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..work.workers)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut plugin = self::plugin(None)?;
                    (0..work.burst / work.workers).try_for_each(|_| call(&mut plugin, &SMALL))
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    rate("burst", work.burst, start.elapsed());

    let mut plugin = self::plugin(Some(work.stop_after()))?;
    let stop = || {
        ensure!(plugin.call::<&[u8], &[u8]>("spin", &SMALL).is_err());
        call(&mut plugin, &SMALL)
    };
    let stops = sample(work.stops, stop)?;
    times(
        "stop",
        stops
            .into_iter()
            .map(|took| took.saturating_sub(work.stop_after()))
            .collect(),
    );
    Ok(())
}

fn plugin(timeout: Option<Duration>) -> Result<Plugin> {
    let mut manifest = Manifest::new([Wasm::data(PLUGIN)]).with_memory_max(4096);
    manifest.timeout_ms = timeout.map(|timeout| timeout.as_millis() as u64);
    Plugin::new(&manifest, [], false)
}

fn call(plugin: &mut Plugin, input: &[u8]) -> Result<()> {
    // The caller gets bytes of its own, as it does of every other peer.
    let back = plugin.call::<&[u8], &[u8]>("echo", input)?.to_vec();
    ensure!(back.len() == input.len());
    Ok(())
}
