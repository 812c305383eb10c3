//! What lies around a guest during a call. In a worker that is the slot; measurements and tests run the
//! same code without one.

use std::time::Duration;

/// The outside of a guest, as far as its imports and its epochs reach it.
pub trait World: 'static {
    /// Whether whoever made the current call wants it stopped.
    fn stop_requested(&self) -> bool;

    /// Sleeps. `true` when the call is to be stopped.
    fn sleep(&self, duration: Duration) -> bool;

    /// Takes what the guest wrote to stdout (0) or stderr (1). Never fails and never waits.
    fn write_output(&self, stream: usize, bytes: &[u8]);
}

/// Nobody stops the guest, and nobody reads what it writes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl World for Alone {
    fn stop_requested(&self) -> bool {
        false
    }

    fn sleep(&self, duration: Duration) -> bool {
        std::thread::sleep(duration);
        false
    }

    fn write_output(&self, _stream: usize, _bytes: &[u8]) {}
}
