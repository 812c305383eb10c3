//! The memory that a call takes from its server's allocator.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use stockade::State;

use super::{BATCHES, batch, host, runtime, turn};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// What this thread has allocated so far.
fn count() -> u64 {
    COUNT.get()
}

fn one_more() {
    // A thread that ends has nothing to count.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: the system's allocator does it all.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        one_more();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        one_more();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        one_more();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

async fn batches(state: State) -> Vec<u64> {
    let host = host(state).await;
    let mut counts = Vec::with_capacity(BATCHES);
    for _ in 0..BATCHES {
        let before = count();
        batch(&host).await;
        counts.push(count() - before);
    }
    counts
}

#[test]
fn a_warm_call_allocates_nothing() {
    let _turn = turn();
    for state in [State::Keep, State::Fresh] {
        let counts = runtime().block_on(batches(state));
        assert!(counts.contains(&0), "{state:?}: {counts:?}");
    }
}

#[test]
fn what_is_allocated_is_counted() {
    let _turn = turn();
    let host = runtime().block_on(host(State::Keep));
    let before = count();
    let functions = host.functions();
    assert!(count() > before, "{functions:?}");
}
