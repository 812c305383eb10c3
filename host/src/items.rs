//! What a guest emits while its call runs, as a stream.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::{Advance, Running};
use crate::{Error, Progress, codec};

/// The items that a function emits, made by [`crate::Host::stream`].
///
/// The call begins when the stream is first polled. The guest goes on when an item has been taken, so it is
/// never more than one ahead. The stream ends when the function returns; what it returned is
/// [`Self::result`]'s. A call that fails is the stream's last item. Dropping the stream stops the call.
#[must_use = "streams do nothing unless polled"]
pub struct Items<A, T> {
    running: Running<A, ()>,
    /// What the function replied.
    over: Option<Vec<u8>>,
    failed: bool,
    item: PhantomData<fn() -> T>,
}

impl<A, T> Items<A, T> {
    pub(crate) fn new(running: Running<A, ()>) -> Self {
        Self {
            running,
            over: None,
            failed: false,
            item: PhantomData,
        }
    }

    /// How long the call may run, the time in which its guest waits for items to be taken included. Default:
    /// [`crate::Limits::timeout`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.running.set_timeout(timeout);
        self
    }

    /// How far the guest says that it has come.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.running.progress()
    }

    /// What the function returned, once the stream has ended; `None` before that, and when the call failed.
    ///
    /// # Errors
    /// [`Error::DecodeResult`] when it is not an `R`.
    pub fn result<R: DeserializeOwned>(&self) -> Option<Result<R, Error>> {
        let reply = self.over.as_ref()?;
        Some(self.running.decode(reply))
    }
}

impl<A, T> Items<A, T>
where
    A: Serialize,
    T: DeserializeOwned,
{
    /// The next item; `None` when the function has returned.
    #[expect(
        clippy::should_implement_trait,
        reason = "named as every stream's method; the type is no iterator"
    )]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<T, Error>>> {
        poll_fn(|cx| self.poll(cx))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        if self.failed || self.over.is_some() {
            return Poll::Ready(None);
        }
        let error = match self.running.poll_raw(cx) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Advance::Item(item))) => {
                match codec::decode_value::<T>(self.running.codec(), &item) {
                    Ok(item) => return Poll::Ready(Some(Ok(item))),
                    // Nothing that follows makes sense.
                    Err(reason) => self.running.give_up(Error::DecodeResult {
                        function: self.running.function_name().to_owned(),
                        reason: format!("an item that it emitted: {reason}"),
                    }),
                }
            }
            Poll::Ready(Ok(Advance::Reply(raw))) => {
                self.over = Some(raw.into_bytes());
                return Poll::Ready(None);
            }
            Poll::Ready(Err(error)) => error,
        };
        self.failed = true;
        Poll::Ready(Some(Err(error)))
    }
}

/// No field is pinned: the call is reached through its own heap memory.
impl<A, T> Unpin for Items<A, T> {}

impl<A, T> Stream for Items<A, T>
where
    A: Serialize,
    T: DeserializeOwned,
{
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(cx)
    }
}

impl<A, T> std::fmt::Debug for Items<A, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Items").field(&self.running).finish()
    }
}
