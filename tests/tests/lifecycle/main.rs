//! What happens to calls and processes when something goes wrong: a call that is stopped, a guest that
//! fails, a worker that dies or lies, a host that goes away.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, too: what fails in one fails the test that called it"
)]

mod by_signal;
mod closing;
mod dropping;
mod exhaustion;
mod failing;
mod forking;
mod forks;
mod hostile_chunk;
mod hostile_compiler;
mod hostile_death;
mod hostile_events;
mod hostile_init;
mod hostile_memory;
mod hostile_start;
mod hostile_worker;
mod hosts;
mod lifetimes;
mod namespaces;
mod orphans;
mod processes;
mod queue;
mod races;
mod reload;
mod slot_memory;
mod steps;
mod stopping;
mod storm;
mod together;
mod walls;
mod worn_out;

use stockade_tests::{by_hand, signals};
