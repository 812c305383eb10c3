//! How a panic's message and place reach the host before the guest aborts.
#![expect(unsafe_code, reason = "the host is called through an import")]

use std::panic::{self, PanicHookInfo};

#[link(wasm_import_module = "stockade")]
unsafe extern "C" {
    #[link_name = "panic"]
    fn host_panic(ptr: *const u8, len: usize);
}

/// Installs a hook that tells the host, then does what the hook before it did: print to standard
/// error.
pub(crate) fn report_to_host() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        previous(info);
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let message = info
        .payload_as_str()
        .unwrap_or("a panic whose payload is not text");
    let report = match info.location() {
        Some(location) => format!("{message}\0{location}"),
        None => format!("{message}\0"),
    };
    // SAFETY: the host reads `len` bytes at `ptr`, which is the report, and keeps no address.
    unsafe { host_panic(report.as_ptr(), report.len()) }
}
