//! What lies around a guest during a call. In a worker that is the slot; measurements and tests run the
//! same code without one.

use std::time::Duration;

/// The outside of a guest, as far as its imports and its epochs reach it: a handle that several of them hold. What
/// has a default is what a guest finds that nobody listens to.
pub trait World: Clone + Unpin + Send + Sync + 'static {
    /// Whether whoever made the current call wants it stopped.
    fn stop_requested(&self) -> bool;

    /// Whether a signal has come for that and did not meet the guest in its own code.
    fn was_missed(&self) -> bool {
        self.stop_requested()
    }

    /// Sleeps. `true` when the call is to be stopped.
    fn sleep(&self, duration: Duration) -> bool;

    /// Takes what the guest wrote to stdout (0) or stderr (1). Never fails, and waits only for somebody who
    /// follows the output.
    fn write_output(&self, stream: usize, bytes: &[u8]) -> Result<(), Stopped>;

    /// Takes a record of the guest's log. Never fails and never waits for long.
    fn log(&self, _level: u8, _text: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }

    /// Takes note of how much of its work the guest has done, and of how much.
    fn progress(&self, _progress: [u64; 2]) {}

    /// Whether somebody takes what the guest emits.
    fn takes_items(&self) -> bool {
        false
    }

    /// Hands over an item, and waits until it is taken.
    fn emit(&self, _item: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }

    /// Has the function of this name run outside, and waits for its answer, whose length is returned; `None`
    /// when there is nobody to run it.
    fn call_host(&self, _name: &[u8], _request: &[u8]) -> Result<Option<usize>, Stopped> {
        Ok(None)
    }

    /// Copies the answer to the last host call.
    fn read_answer(&self, _to: &mut [u8]) {}

    /// The longest item, request or answer, in bytes.
    fn payload_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// The call is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

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

    fn write_output(&self, _stream: usize, _bytes: &[u8]) -> Result<(), Stopped> {
        Ok(())
    }
}
