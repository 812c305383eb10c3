//! A host function that a call waits for.
//!
//! The function runs on the host's runtime, not in the caller's poll: so it goes on for callers that block or are
//! detached, and it may call back into hosts. Meanwhile the call holds no permit; it is first in line to have one
//! again before its guest goes on.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tracing::Instrument;

use crate::host_function::Answering;
use crate::limiter::{Permit, WaitPermit};
use crate::pool::Lent;
use crate::{Error, Limiter};

/// A host function under way. Dropping it stops the function at its next await.
#[derive(Debug)]
pub(super) struct Hosting {
    function: String,
    /// Which of the call's events it answers.
    place: u32,
    stage: Stage,
    limiter: Limiter,
    _lent: Lent,
}

#[derive(Debug)]
enum Stage {
    Runs(JoinHandle<Vec<u8>>),
    WaitsForPermit(WaitPermit, Vec<u8>),
    Over,
}

/// What the guest can go on with.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) place: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) permit: Permit,
}

impl Hosting {
    pub(super) fn start(
        function: String,
        place: u32,
        answering: Answering,
        runtime: &Handle,
        limiter: Limiter,
        lent: Lent,
    ) -> Self {
        Self {
            function,
            place,
            stage: Stage::Runs(runtime.spawn(answering.in_current_span())),
            limiter,
            _lent: lent,
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Error>> {
        if let Stage::Runs(task) = &mut self.stage {
            let bytes = match Pin::new(task).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(bytes)) => bytes,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.failure(error))),
            };
            self.stage = Stage::Over;
            match self.limiter.acquire_first() {
                Ok(permit) => return Poll::Ready(Ok(self.answer(bytes, permit))),
                Err(place) => self.stage = Stage::WaitsForPermit(place, bytes),
            }
        }
        let Stage::WaitsForPermit(place, bytes) = &mut self.stage else {
            return Poll::Pending;
        };
        let Poll::Ready(permit) = place.poll_permit(cx) else {
            return Poll::Pending;
        };
        let bytes = std::mem::take(bytes);
        self.stage = Stage::Over;
        Poll::Ready(Ok(self.answer(bytes, permit)))
    }

    fn answer(&self, bytes: Vec<u8>, permit: Permit) -> Answer {
        Answer {
            place: self.place,
            bytes,
            permit,
        }
    }

    fn failure(&self, error: JoinError) -> Error {
        let reason = match error.try_into_panic() {
            Ok(panic) => {
                let said = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned());
                format!("it panicked: {}", said.unwrap_or_default())
            }
            Err(_) => "the runtime that ran it has ended: give one that lasts with \
                       `HostBuilder::runtime`"
                .to_owned(),
        };
        Error::HostFunction {
            function: self.function.clone(),
            reason,
        }
    }
}

impl Drop for Hosting {
    fn drop(&mut self) {
        if let Stage::Runs(task) = &self.stage {
            task.abort();
        }
    }
}
