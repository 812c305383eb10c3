//! Wakers are the application's code and may panic: that costs nobody else a wake-up, or whoever wakes its work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

pub(crate) fn wake(waker: Waker) {
    let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
}

pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(wake);
}
