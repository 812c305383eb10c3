//! How often a caller gives up its CPU while it looks for its reply.
//!
//! Counted here and not by `strace`: to be watched at that makes both sides so slow that each waits for the other.
#![expect(unsafe_code, reason = "a function of the C library's that counts")]

use std::cell::Cell;
use std::ffi::{c_int, c_long};

use rustix::thread::{sched_getaffinity, sched_setaffinity};
use stockade::State;

use super::system_calls::{apart, can_be_awake};
use super::{BATCHES, CALLS, batch, host, runtime, turn};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The C library's, for all of this program.
// SAFETY: it has that function's name, its type, and its effect.
#[unsafe(no_mangle)]
extern "C" fn sched_yield() -> c_int {
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    // SAFETY: a call without arguments.
    let result: c_long = unsafe { libc::syscall(libc::SYS_sched_yield) };
    result as c_int
}

/// How often this thread gave up its CPU in each batch.
async fn batches() -> Vec<u64> {
    let host = host(State::Keep).await;
    apart(&host);
    let mut counts = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let before = COUNT.get();
        batch(&host).await;
        counts.push(COUNT.get() - before);
    }
    counts
}

#[test]
fn a_warm_call_finds_its_reply_before_it_gives_up_its_cpu() {
    let _turn = turn();
    if !can_be_awake() {
        return;
    }
    let everywhere = sched_getaffinity(None).unwrap();
    // As for other system calls: where other work holds every CPU, some hosts never meet their worker awake.
    const HOSTS: usize = 10;
    let mut least = u64::MAX;
    for _ in 0..HOSTS {
        least = runtime().block_on(batches()).into_iter().min().unwrap();
        sched_setaffinity(None, &everywhere).unwrap();
        if least < CALLS as u64 / 2 {
            return;
        }
    }
    panic!("at best, {CALLS} calls gave up the CPU {least} times");
}

#[test]
fn what_is_given_up_is_counted() {
    let before = COUNT.get();
    std::thread::yield_now();
    assert_eq!(COUNT.get(), before + 1);
}
