//! What can be measured.

mod cancel;
mod cpu;
mod density;
mod latency;
mod payload;
mod start;
mod throughput;
mod walls;
mod workloads;

use anyhow::Result;

use crate::report::Outcome;

/// A set of rows that are measured in one run.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// What its picture shows, if it has one.
    pub(crate) draws: Option<&'static str>,
    /// The argument is whether to be quick.
    pub(crate) run: fn(bool) -> Result<Outcome>,
}

pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "latency",
        about: "small calls, next to the same call in this process and to messages between processes",
        draws: Some("how the times of small calls are spread"),
        run: latency::run,
    },
    Suite {
        name: "payload",
        about: "bytes there and back, next to one copy of them",
        draws: Some("the time of an echo against its length"),
        run: payload::run,
    },
    Suite {
        name: "throughput",
        about: "calls a second, next to the same calls in this process",
        draws: Some("calls a second against callers at once"),
        run: throughput::run,
    },
    Suite {
        name: "start",
        about: "hosts and workers, next to starting /bin/true",
        draws: None,
        run: start::run,
    },
    Suite {
        name: "cancel",
        about: "from stopping a call to the result of the next",
        draws: None,
        run: cancel::run,
    },
    Suite {
        name: "cpu",
        about: "computing, next to Wasmtime without stockade",
        draws: None,
        run: cpu::run,
    },
    Suite {
        name: "density",
        about: "what an idle worker costs",
        draws: None,
        run: density::run,
    },
    Suite {
        name: "walls",
        about: "what hardening costs, next to none",
        draws: None,
        run: walls::run,
    },
    Suite {
        name: "workloads",
        about: "real work on real input, next to the same work in this process",
        draws: None,
        run: workloads::run,
    },
];
