//! What a call does not do when both of its sides are awake: allocate, or ask the kernel for anything.
//!
//! On a machine with other work a call may always find the other side asleep, and then it does what it must. So
//! calls are made in batches, and the quietest of many is looked at: whatever a call does every time shows in all of
//! them.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod allocations;
mod sleeps;
mod system_calls;
mod yields;

use std::sync::{Mutex, MutexGuard, PoisonError};

use stockade::{Host, Retire, State};
use stockade_tests::{guest, host_of};
use tokio::runtime::Runtime;

const BATCHES: usize = 40;
const CALLS: usize = 100;

/// One test at a time: each has both CPUs of a small machine to itself.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// A host that does nothing but serve these calls.
async fn host(state: State) -> Host {
    let host = host_of(guest::hello())
        .state(state)
        .workers(1)
        .retire(Retire::never())
        .build()
        .await
        .unwrap();
    // Whatever is done once has been done.
    batch(&host).await;
    host
}

async fn batch(host: &Host) {
    for n in 0..CALLS as u32 {
        let sum = host.run_sync("add", (n, 1u32)).await;
        let sum: u64 = sum.unwrap();
        assert_eq!(sum, u64::from(n) + 1);
    }
}
