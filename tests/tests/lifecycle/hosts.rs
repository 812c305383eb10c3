//! Hosts as these tests need them, and what can be seen of them.

use std::future::IntoFuture;
use std::time::Duration;

use stockade::{
    BrokenWorkerError, Error, Hardening, Host, HostBuilder, Limiter, Module, WorkerState,
};
use stockade_tests::wait::RESOLVES;
use stockade_tests::{BOUND, eventually, eventually_async, guest, host_of};

/// An interrupt grace that a loaded machine does not exceed.
pub(crate) const PATIENT: Duration = Duration::from_secs(5);

/// A host of the probe guest with permits of its own.
pub(crate) fn probe() -> (HostBuilder, Limiter) {
    let limiter = Limiter::new(64);
    (
        host_of(guest::probe())
            .limiter(limiter.clone())
            .interrupt_grace(PATIENT),
        limiter,
    )
}

/// A host of the hostile program that does `what`.
pub(crate) fn hostile(what: &str) -> HostBuilder {
    Host::builder(Module::from_bytes(what))
        .worker_program(env!("CARGO_BIN_EXE_hostile"))
        .no_cache()
        // It builds no walls, and would be refused for that.
        .hardening(Hardening::Insecure)
        .limiter(Limiter::new(64))
        .workers(1)
}

/// A host of the hostile program that does `what`, built.
pub(crate) async fn hostile_host(what: &str) -> Host {
    hostile(what)
        .build()
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A call that every honest worker answers.
pub(crate) async fn innocent(host: &Host) {
    let answer: u64 = outcome(host.run_sync("answer", (21u64,))).await.unwrap();
    assert_eq!(answer, 43);
}

/// A call that a liar lies about.
pub(crate) async fn say(host: &Host) -> Result<String, Error> {
    outcome(host.run_sync("say", ())).await
}

/// The outcome of a call that must have one.
pub(crate) async fn outcome<T>(call: impl IntoFuture<Output = T>) -> T {
    let resolved = tokio::time::timeout(RESOLVES, call.into_future()).await;
    resolved.expect("every call resolves")
}

/// The broken worker that a call ended with.
#[track_caller]
pub(crate) fn broken<T: std::fmt::Debug>(result: Result<T, Error>) -> BrokenWorkerError {
    match result {
        Err(Error::BrokenWorker(broken)) => broken,
        other => panic!("not a broken worker: {other:?}"),
    }
}

/// The pid of the only worker.
#[track_caller]
pub(crate) fn only_pid(host: &Host) -> u32 {
    let workers = host.stats().workers;
    assert_eq!(workers.len(), 1, "{workers:?}");
    workers[0].pid
}

/// Waits until no call runs or waits, and all permits are back.
#[track_caller]
pub(crate) fn comes_to_rest(host: &Host, limiter: &Limiter) {
    eventually(BOUND, || {
        let stats = host.stats();
        stats.waiting == 0
            && limiter.borrowed() == 0
            && limiter.waiting() == 0
            && stats
                .workers
                .iter()
                .all(|worker| worker.state == WorkerState::Idle)
    });
}

/// Waits until `count` workers run a call.
#[track_caller]
pub(crate) fn until_running(host: &Host, count: usize) {
    eventually(BOUND, || run(host) == count);
}

/// The same, while the tasks that call go on.
pub(crate) async fn running(host: &Host, count: usize) {
    eventually_async(BOUND, || run(host) == count).await;
}

fn run(host: &Host) -> usize {
    let workers = host.stats().workers.into_iter();
    workers
        .filter(|worker| worker.state == WorkerState::Running)
        .count()
}
