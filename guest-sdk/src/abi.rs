//! The exports that every guest has: memory for requests and replies, and the start of an instance.
//! Linked into WebAssembly guests only.
#![expect(unsafe_code, reason = "the host names memory by address and length")]

use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ptr;

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
    match Layout::array::<u8>(len) {
        Ok(layout) if len == 0 => ptr::without_provenance_mut(layout.align()),
        // SAFETY: the layout's size is not zero.
        Ok(layout) => unsafe { alloc(layout) },
        Err(_) => ptr::null_mut(),
    }
}

thread_local! {
    /// The tail of the reply at this address.
    static TAIL: Cell<Option<(usize, bytes::Bytes)>> = const { Cell::new(None) };
}

/// Keeps the tail of the reply at this address until that is given back, or another one is kept.
pub(crate) fn keep_tail(reply: usize, tail: bytes::Bytes) {
    TAIL.set(Some((reply, tail)));
}

/// Takes back what `stockade_alloc` returned or a reply occupies.
#[unsafe(export_name = "stockade_free")]
extern "C" fn free(ptr: *mut u8, len: usize) {
    TAIL.set(TAIL.take().filter(|(reply, _)| *reply != ptr.addr()));
    if let Ok(layout) = Layout::array::<u8>(len)
        && len != 0
    {
        // SAFETY: requests are allocated with this layout, and replies are boxed slices of bytes,
        // which have it too.
        unsafe { dealloc(ptr, layout) }
    }
}
