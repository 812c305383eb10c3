//! The functions that the host offers, and what stands for them where there is none.

#[cfg(target_family = "wasm")]
pub(crate) use wasm::{call, emit, log, progress};

#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "the host is called through imports")]
mod wasm {
    use crate::room::Claim;

    mod host {
        #[link(wasm_import_module = "stockade")]
        unsafe extern "C" {
            pub(super) fn log(level: u32, ptr: *const u8, len: usize);
            pub(super) safe fn progress(done: u64, total: u64);
            pub(super) fn emit(ptr: *const u8, len: usize);
            pub(super) fn call(
                name: *const u8,
                name_len: usize,
                request: *const u8,
                request_len: usize,
            ) -> u64;
        }
    }

    pub(crate) fn log(level: u32, message: &str) {
        // SAFETY: the host reads `len` bytes at `ptr`, which is the message, and keeps no address.
        unsafe { host::log(level, message.as_ptr(), message.len()) }
    }

    pub(crate) fn progress(done: u64, total: u64) {
        host::progress(done, total);
    }

    pub(crate) fn emit(item: &[u8]) {
        // SAFETY: as in `log`.
        unsafe { host::emit(item.as_ptr(), item.len()) }
    }

    pub(crate) fn call(name: &str, request: &[u8]) -> Vec<u8> {
        // SAFETY: as in `log`, twice.
        let answer =
            unsafe { host::call(name.as_ptr(), name.len(), request.as_ptr(), request.len()) };
        let (ptr, len) = ((answer >> 32) as usize, answer as u32 as usize);
        if len == 0 {
            return Vec::new();
        }
        let ptr = std::ptr::with_exposed_provenance_mut(ptr);
        // SAFETY: the host has written the answer there, and has no more to do with it.
        if let Some(room) = unsafe { Claim::given_back(ptr) } {
            return room.bytes()[..len].to_vec();
        }
        // SAFETY: it lies elsewhere, so the host had `stockade_alloc(len)` make room for the answer, which is an allocation of `len` bytes
        // of alignment one, and filled it; nobody else frees it.
        unsafe { Vec::from_raw_parts(ptr, len, len) }
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use nobody::{call, emit, log, progress};

#[cfg(not(target_family = "wasm"))]
mod nobody {
    pub(crate) fn log(_level: u32, _message: &str) {}

    pub(crate) fn progress(_done: u64, _total: u64) {}

    pub(crate) fn emit(_item: &[u8]) {}

    pub(crate) fn call(name: &str, _request: &[u8]) -> Vec<u8> {
        let mut answer = vec![3];
        answer.extend(format!("no host function `{name}`: there is no host").into_bytes());
        answer
    }
}
