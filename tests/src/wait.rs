//! Waiting for what must become true, without a guess at how long it takes.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long a promise of liveness may take on a loaded machine before a test calls it broken. Nothing
/// waits so long when all is well.
pub const BOUND: Duration = Duration::from_secs(5);

/// A call that has no answer by then never gets one.
pub const RESOLVES: Duration = Duration::from_secs(30);

/// Between two looks at a condition that nothing announces.
const LOOKS: Duration = Duration::from_millis(1);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `bound`: usually [`BOUND`].
#[track_caller]
pub fn eventually(bound: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < bound,
            "this did not come true within {bound:?}"
        );
        std::thread::sleep(LOOKS);
    }
}

/// The same, while other tasks of the runtime go on.
///
/// # Panics
/// When it does not within `bound`: usually [`BOUND`].
pub async fn eventually_async(bound: Duration, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < bound,
            "this did not come true within {bound:?}"
        );
        tokio::time::sleep(LOOKS).await;
    }
}

/// The outcome of a future on a thread that may wait. No runtime is needed.
pub fn wait_for<F: IntoFuture>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future.into_future());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
