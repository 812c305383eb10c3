//! How a panic's message and place reach the host before the guest aborts.
#![expect(unsafe_code, reason = "the host is called through an import")]

use std::panic::{self, PanicHookInfo};
use std::sync::OnceLock;

#[link(wasm_import_module = "stockade")]
unsafe extern "C" {
    #[link_name = "panic"]
    fn host_panic(ptr: *const u8, len: usize);
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// In a static, and not in what follows it, which would then be the first thing on the heap: a heap that no call uses
/// need not be made, nor reset after it.
static PREVIOUS: OnceLock<Hook> = OnceLock::new();

/// Installs a hook that tells the host, then does what the hook before it did: print to standard
/// error.
pub(crate) fn report_to_host() {
    if PREVIOUS.set(panic::take_hook()).is_ok() {
        panic::set_hook(Box::new(|info| {
            report(info);
            if let Some(previous) = PREVIOUS.get() {
                previous(info);
            }
        }));
    }
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
