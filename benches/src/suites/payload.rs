//! `echo` of the probe guest: bytes there and back.

use std::time::Instant;

use anyhow::{Result, ensure};
use stockade::{Bytes, Host, Limits, State};
use tokio::runtime::Runtime;

use crate::baselines::memcpy::Memcpy;
use crate::guests::{self, PROBE};
use crate::measure::{Block, Samples, Side, Size, interleave};
use crate::plot::{Axis, Curve, Plot};
use crate::report::{Outcome, Row};

struct Payload {
    name: &'static str,
    bytes: usize,
    turn: Size,
    rounds: usize,
    rounds_quick: usize,
}

const PAYLOADS: [Payload; 7] = [
    Payload {
        name: "echo_1k",
        bytes: 1 << 10,
        turn: Size::new(10, 100),
        rounds: 200,
        rounds_quick: 40,
    },
    Payload {
        name: "echo_8k",
        bytes: 8 << 10,
        turn: Size::new(10, 100),
        rounds: 100,
        rounds_quick: 20,
    },
    Payload {
        name: "echo_64k",
        bytes: 64 << 10,
        turn: Size::new(5, 50),
        rounds: 100,
        rounds_quick: 20,
    },
    Payload {
        name: "echo_256k",
        bytes: 256 << 10,
        turn: Size::new(3, 20),
        rounds: 60,
        rounds_quick: 15,
    },
    Payload {
        name: "echo_1m",
        bytes: 1 << 20,
        turn: Size::new(2, 10),
        rounds: 60,
        rounds_quick: 15,
    },
    Payload {
        name: "echo_8m",
        bytes: 8 << 20,
        turn: Size::new(1, 4),
        rounds: 30,
        rounds_quick: 6,
    },
    Payload {
        name: "echo_64m",
        bytes: 64 << 20,
        turn: Size::new(1, 2),
        rounds: 20,
        rounds_quick: 4,
    },
];

/// The codec's part of a request: its mark and the length.
const CODEC_BYTES_MAX: usize = 16;

pub(crate) fn run(quick: bool) -> Result<Outcome> {
    let runtime = guests::current_thread()?;
    let limits = Limits {
        payload_bytes: (64 << 20) + CODEC_BYTES_MAX,
        ..Limits::default()
    };
    let host = |state| {
        guests::host(PROBE, 1)
            .state(state)
            .limits(limits.clone())
            .build_blocking()
    };
    let keep = host(State::Keep)?;
    let fresh = host(State::Fresh)?;
    let (mut rows, mut renewed) = (Vec::new(), Vec::new());
    let mut curves = [const { Vec::new() }; 3];
    for payload in PAYLOADS {
        let rounds = if quick {
            payload.rounds_quick
        } else {
            payload.rounds
        };
        let measured = one(&payload, rounds, &runtime, &keep, &fresh)?;
        for (curve, samples) in curves.iter_mut().zip(&measured) {
            // What took no time at all has no logarithm.
            curve.push((payload.bytes as f64, samples.median().max(1.0)));
        }
        let [memcpy, kept, fresh] = measured;
        let row = |name, samples| Row::time(name, samples).against("memcpy", &memcpy);
        rows.push(row(payload.name.to_owned(), &kept));
        renewed.push(row(format!("{}_fresh", payload.name), &fresh));
    }
    rows.append(&mut renewed);
    let [memcpy, kept, fresh] = curves;
    let plot = Plot {
        title: "The median time of an echo against its length",
        x: Axis::Bytes,
        y: Axis::Time,
        curves: vec![
            Curve::new("State::Fresh", fresh),
            Curve::new("State::Keep", kept),
            Curve::new("memcpy", memcpy).baseline(),
        ],
    };
    let mut outcome = Outcome {
        rows,
        plot: Some(plot),
        ..Outcome::default()
    };
    outcome.note("an echo is host.run_sync(\"echo\", (bytes,)).await with Bytes both ways, the drop of the result included, on a current-thread runtime; State::Keep, and State::Fresh in the rows that say so");
    outcome.note("memcpy: one copy of as many bytes between warm buffers, both from the start of a page on; up to 32 KiB the mean of several");
    Ok(outcome)
}

/// The times of one copy, and of an echo that keeps and that renews its instance.
fn one(
    payload: &Payload,
    rounds: usize,
    runtime: &Runtime,
    keep: &Host,
    fresh: &Host,
) -> Result<[Samples; 3]> {
    let bytes: Vec<u8> = (0..payload.bytes).map(|at| (at % 251) as u8).collect();
    let bytes = Bytes::from(bytes);
    for host in [keep, fresh] {
        let back: Bytes = runtime.block_on(host.run_sync("echo", (bytes.clone(),)))?;
        ensure!(back == bytes, "other bytes came back");
    }
    let mut copy = Memcpy::new(payload.bytes);
    let mut memcpy = Side::new(payload.turn, |block| copy.block(block));
    let mut kept = Side::new(payload.turn, |block| echoes(runtime, keep, &bytes, block));
    let mut renewed = Side::new(payload.turn, |block| echoes(runtime, fresh, &bytes, block));
    interleave(rounds, &mut [&mut memcpy, &mut kept, &mut renewed])?;
    Ok([memcpy, kept, renewed].map(Side::finish))
}

fn echoes(runtime: &Runtime, host: &Host, bytes: &Bytes, block: &mut Block<'_>) -> Result<()> {
    runtime.block_on(async {
        for _ in 0..block.calls() {
            let start = Instant::now();
            let back: Bytes = host.run_sync("echo", (bytes.clone(),)).await?;
            let len = back.len();
            // In the time: giving a large result's memory back is a good part of what it costs.
            drop(back);
            block.push(start.elapsed());
            ensure!(len == bytes.len(), "{len} bytes came back");
        }
        Ok(())
    })
}
