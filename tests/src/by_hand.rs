//! A future that a test polls itself, so that it can act between two polls.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A future and what it was woken for.
#[derive(Debug)]
pub struct ByHand<F: Future> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
    wakes: AtomicUsize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_all();
    }
}

impl<F: Future> ByHand<F> {
    /// Takes the future; it is not polled yet.
    pub fn new(future: impl IntoFuture<IntoFuture = F>) -> Self {
        Self {
            future: Box::pin(future.into_future()),
            bell: Arc::default(),
        }
    }

    /// Polls once.
    pub fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.bell));
        self.poll_with(&mut Context::from_waker(&waker))
    }

    /// Polls once, for somebody else: what it is then woken for is not noticed.
    pub fn poll_with(&mut self, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.future.as_mut().poll(cx)
    }

    /// Waits until the future has asked to be polled; `false` when it does not within `bound`.
    pub fn wait(&self, bound: Duration) -> bool {
        let rung = self
            .bell
            .rung
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .bell
            .heard
            .wait_timeout_while(rung, bound, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }

    /// Polls it to its end.
    ///
    /// # Panics
    /// When it asks for nothing for [`RESOLVES`](crate::wait::RESOLVES).
    #[track_caller]
    pub fn finish(&mut self) -> F::Output {
        loop {
            if let Poll::Ready(output) = self.poll() {
                return output;
            }
            assert!(self.wait(crate::wait::RESOLVES), "a call was never woken");
        }
    }
}
