//! Room for one short message, so that most requests and replies need no allocator. Owns who has it.
#![expect(
    unsafe_code,
    reason = "the room is a static whose address the host is told"
)]

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

/// The longest message that fits.
pub(crate) const ROOM_BYTES: usize = 256;

struct Room {
    taken: AtomicBool,
    bytes: UnsafeCell<[u8; ROOM_BYTES]>,
}

// SAFETY: the bytes are reached through a `Claim` alone, and `taken` sees to it that there is one at most.
unsafe impl Sync for Room {}

static ROOM: Room = Room::new();

impl Room {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            bytes: UnsafeCell::new([0; ROOM_BYTES]),
        }
    }

    #[inline]
    fn claim(&'static self) -> Option<Claim> {
        match self.taken.swap(true, Ordering::Acquire) {
            true => None,
            false => Some(Claim(self)),
        }
    }

    /// # Safety
    ///
    /// As [`Claim::given_back`].
    #[inline]
    unsafe fn given_back(&'static self, ptr: *const u8) -> Option<Claim> {
        ptr::eq(ptr, self.bytes.get().cast()).then_some(Claim(self))
    }
}

/// The only right to the room, until it is dropped.
pub(crate) struct Claim(&'static Room);

impl Claim {
    /// `None` while somebody has it.
    #[inline]
    pub(crate) fn take() -> Option<Self> {
        ROOM.claim()
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8; ROOM_BYTES] {
        // SAFETY: whoever has the claim, and lends it out for this long, is the only one to reach the bytes.
        unsafe { &*self.0.bytes.get() }
    }

    #[inline]
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; ROOM_BYTES] {
        // SAFETY: as in `bytes`.
        unsafe { &mut *self.0.bytes.get() }
    }

    /// Gives the right away, to the host.
    #[inline]
    #[cfg_attr(
        not(any(test, target_family = "wasm")),
        expect(dead_code, reason = "only WebAssembly guests have a host")
    )]
    pub(crate) fn lend(self) -> *mut u8 {
        let bytes = self.0.bytes.get().cast();
        std::mem::forget(self);
        bytes
    }

    /// What [`Self::lend`] gave away, if this is its address.
    ///
    /// # Safety
    ///
    /// Whoever had this memory has no more to do with it.
    #[inline]
    pub(crate) unsafe fn given_back(ptr: *const u8) -> Option<Self> {
        // SAFETY: the caller's promise.
        unsafe { ROOM.given_back(ptr) }
    }
}

impl Drop for Claim {
    #[inline]
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claim")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_claim_at_a_time_and_it_survives_a_loan() {
        static ROOM: Room = Room::new();
        let mut claim = ROOM.claim().unwrap();
        claim.bytes_mut()[0] = 7;
        assert!(ROOM.claim().is_none());
        let lent = claim.lend();
        assert!(ROOM.claim().is_none());
        // SAFETY: nobody has what was lent.
        let back = unsafe { ROOM.given_back(lent) }.unwrap();
        assert_eq!(back.bytes()[0], 7);
        drop(back);
        assert!(ROOM.claim().is_some());
        // SAFETY: it is not the room's.
        assert!(unsafe { ROOM.given_back([0u8].as_ptr()) }.is_none());
    }
}
