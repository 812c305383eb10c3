//! The exports that every guest has: memory for requests and replies, and the start of an instance.
//! Linked into WebAssembly guests only.
#![expect(unsafe_code, reason = "the host names memory by address and length")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr;

use crate::room::{Claim, ROOM_BYTES};

unsafe extern "C" {
    /// Runs the static constructors. Made by the linker.
    fn __wasm_call_ctors();
}

/// Runs once per instance, before any other export.
///
/// Its call of `__wasm_call_ctors` also tells the linker that constructors are taken care of.
/// Without it, wasm-ld wraps every export in one that runs them again at every call.
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    crate::panic::report_to_host();
    // SAFETY: the linker defines the function in every module, and the ABI has the host call this
    // one once.
    unsafe { __wasm_call_ctors() }
}

/// Memory for a request of `len` bytes, or null if there is none.
#[unsafe(export_name = "stockade_alloc")]
extern "C" fn allocate(len: usize) -> *mut u8 {
    if (1..=ROOM_BYTES).contains(&len)
        && let Some(room) = Claim::take()
    {
        return room.lend();
    }
    match Layout::array::<u8>(len) {
        Ok(layout) if len == 0 => ptr::without_provenance_mut(layout.align()),
        // SAFETY: the layout's size is not zero.
        Ok(layout) => unsafe { alloc(layout) },
        Err(_) => ptr::null_mut(),
    }
}

thread_local! {
    static TAIL: Tail = const { Tail { of: Cell::new(0), bytes: Cell::new(None) } };
}

/// The tail of the reply at an address.
struct Tail {
    /// 0 when there is none.
    of: Cell<usize>,
    bytes: Cell<Option<bytes::Bytes>>,
}

/// Keeps the tail of the reply at this address until that is given back, or another one is kept.
pub(crate) fn keep_tail(reply: usize, bytes: bytes::Bytes) {
    TAIL.with(|tail| {
        tail.of.set(reply);
        tail.bytes.set(Some(bytes));
    });
}

/// Takes back what `stockade_alloc` returned or a reply occupies.
#[unsafe(export_name = "stockade_free")]
extern "C" fn free(ptr: *mut u8, len: usize) {
    TAIL.with(|tail| {
        if tail.of.get() == ptr.addr() {
            tail.of.set(0);
            tail.bytes.set(None);
        }
    });
    // SAFETY: the host gives back what it had.
    if let Some(room) = unsafe { Claim::given_back(ptr) } {
        drop(room);
    } else if let Ok(layout) = Layout::array::<u8>(len)
        && len != 0
    {
        // SAFETY: requests are allocated with this layout, and replies are boxed slices of bytes, which have
        // it too.
        unsafe { dealloc(ptr, layout) }
    }
}
