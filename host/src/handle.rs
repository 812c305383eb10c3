//! A call that runs by itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::Span;

use crate::call::Running;
use crate::hold::Hold;
use crate::park;
use crate::progress::Whereabouts;
use crate::wake::wake;
use crate::{Error, Progress};

/// A spawned call: await it for its result, or cancel it.
///
/// Dropping it cancels the call, unless it was made with [`crate::OnDrop::Detach`].
#[derive(Debug)]
#[must_use = "dropping a handle cancels its call"]
pub struct CallHandle<R> {
    result: oneshot::Receiver<Result<R, Error>>,
    signal: Arc<Signal>,
    detached: bool,
    whereabouts: Arc<Whereabouts>,
    /// A detached call does not keep its pool in service, but whoever may still ask for its result does.
    _hold: Option<Hold>,
}

#[derive(Debug, Default)]
struct Signal {
    cancelled: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Signal {
    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let waker = self
            .waker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

impl<R> CallHandle<R> {
    /// How far the guest says that it has come, with `stockade_guest::progress`; `None` until it has said so.
    /// After the call is over, what was asked last.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.whereabouts.progress()
    }

    /// Stops the call; awaiting the handle then gives [`Error::Cancelled`], unless the call had ended
    /// before.
    pub fn cancel(&self) {
        self.signal.cancel();
    }
}

impl<R> Future for CallHandle<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The task goes away without an answer only when its runtime does.
        Pin::new(&mut self.result)
            .poll(cx)
            .map(|result| result.unwrap_or(Err(Error::Cancelled)))
    }
}

impl<R> Drop for CallHandle<R> {
    fn drop(&mut self) {
        if !self.detached {
            self.signal.cancel();
        }
    }
}

/// Runs a call to its end or its cancellation.
struct Task<A, R> {
    running: Option<Running<A, R>>,
    signal: Arc<Signal>,
    result: Option<oneshot::Sender<Result<R, Error>>>,
    /// Last, so that a subscriber that panics loses no call.
    span: Span,
}

impl<A, R> Future for Task<A, R>
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let span = std::mem::replace(&mut self.span, Span::none());
        let polled = span.in_scope(|| self.poll_in_span(cx));
        self.span = span;
        polled
    }
}

impl<A, R> Task<A, R>
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    fn poll_in_span(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let new = Some(cx.waker().clone());
        let waker = &self.signal.waker;
        // Dropped after the lock: a waker is the application's code.
        let _old = std::mem::replace(
            &mut *waker.lock().unwrap_or_else(PoisonError::into_inner),
            new,
        );
        let signal = Arc::clone(&self.signal);
        let Some(running) = &mut self.running else {
            return Poll::Ready(());
        };
        let cancelled = || signal.cancelled.load(Ordering::SeqCst);
        let result = if cancelled() && !running.is_under_way() {
            Err(Error::Cancelled)
        } else {
            match Pin::new(running).poll(cx) {
                Poll::Ready(result) => result,
                Poll::Pending if cancelled() => Err(Error::Cancelled),
                Poll::Pending => return Poll::Pending,
            }
        };
        // Before the result is known: whoever sees it finds the call stopped.
        self.running = None;
        if let Some(sender) = self.result.take() {
            // Nobody may be waiting any more.
            let _ = sender.send(result);
        }
        Poll::Ready(())
    }
}

pub(crate) fn spawn<A, R>(mut running: Running<A, R>, detached: bool) -> CallHandle<R>
where
    A: Serialize + Send + 'static,
    R: DeserializeOwned + Send + 'static,
{
    let hold = detached.then(|| running.let_go());
    let whereabouts = running.track();
    let signal = Arc::new(Signal::default());
    let (sender, result) = oneshot::channel();
    let runtime = Handle::try_current()
        .ok()
        .or_else(|| running.pool().config.runtime.clone());
    let task = Task {
        running: Some(running),
        signal: Arc::clone(&signal),
        result: Some(sender),
        span: Span::current(),
    };
    match runtime {
        Some(runtime) => drop(runtime.spawn(task)),
        // Without a thread the task is dropped, and the handle says that it was cancelled.
        None => drop(
            std::thread::Builder::new()
                .name("stockade-call".into())
                .spawn(|| park::block_on(task)),
        ),
    }
    CallHandle {
        result,
        signal,
        detached,
        whereabouts,
        _hold: hold,
    }
}
