//! Whatever a process of the pool does, its host's memory does not move.

use std::time::Duration;

use stockade::{Bytes, Error, HostBuilder, Limits, State, WorkerType};
use stockade_tests::census::{forget_peak, peak_resident_bytes};
use stockade_tests::{BOUND, alone, census, eventually, lies};

use crate::hosts::{hostile, outcome};

/// What one lie may cost a host at its worst, which has slots of 64 MiB: it reads no more than it needs.
const GROWS_BY_AT_MOST: u64 = 16 << 20;

/// A call that lasts no longer than this is answered, or fails.
const SHORT: Duration = Duration::from_millis(50);

/// Every way in which an application meets its workers. What comes of it is other tests' matter: here, whether there was
/// an answer.
async fn use_up(builder: HostBuilder) -> bool {
    let limits = Limits {
        compile_time: Duration::from_millis(400),
        init_time: Duration::from_millis(400),
        ..Limits::default()
    };
    let builder = builder
        .limits(limits)
        .state(State::Keep)
        .spawn_timeout(Duration::from_millis(300))
        .interrupt_grace(Duration::from_millis(20));
    let Ok(host) = outcome(builder.build()).await else {
        return false;
    };
    let said: Result<String, Error> = outcome(host.call("say", ()).timeout(SHORT)).await;
    let sent = Bytes::from(vec![1; 60_000]);
    let _: Result<Bytes, Error> = outcome(host.call("echo", (sent,)).timeout(SHORT)).await;
    let _: Result<Vec<u64>, Error> = outcome(host.call("say", ()).timeout(SHORT)).await;
    let mut results = host.map::<_, _, u64, _>("answer", (0..100u64).map(|n| (n,)));
    while let Ok(Some(_)) = tokio::time::timeout(4 * SHORT, results.next()).await {}
    drop(results);
    said.is_ok()
}

#[test]
fn no_lie_moves_the_hosts_memory_or_leaves_anything_behind() {
    alone(|| {
        let before = census();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let measure = |what: &str, worker_type| {
            let resident = forget_peak();
            let answered = runtime.block_on(use_up(hostile(what).worker_type(worker_type)));
            (peak_resident_bytes().saturating_sub(resident), answered)
        };
        let all = |prefix: &str, lies: &[&str], who: &str| -> Vec<String> {
            let named = |lie: &&str| format!("{prefix}{lie}{who}");
            lies.iter().map(named).collect()
        };
        // Everything that a first host costs.
        eventually(BOUND, || measure(lies::HONEST, WorkerType::Spawn).1);
        let cases = [
            // Once, and whenever there is an opportunity.
            all("", &lies::WORKER, "@1"),
            all("", &lies::WORKER, ""),
            all("compiler:", &lies::COMPILER, ""),
            all("init:", &lies::INIT, ""),
        ];
        let cases = cases.iter().flatten().map(|what| (what, WorkerType::Spawn));
        let forked = all("forks:", &lies::FORK_SERVER, "");
        let forked = forked.iter().map(|what| (what, WorkerType::ForkServer));
        for (what, worker_type) in cases.chain(forked) {
            let (grown, _) = measure(what, worker_type);
            println!("{what}: {} KiB", grown >> 10);
            assert!(grown < GROWS_BY_AT_MOST, "{what}: {grown} bytes");
        }
        drop(runtime);
        eventually(BOUND, || census().counts() == before.counts());
    });
}
