//! What `#[init]` and `#[retire]` accept. Away from WebAssembly both are ordinary functions.

#![deny(warnings)]
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use stockade_guest::{init, retire};

static PREPARED: AtomicU32 = AtomicU32::new(0);

#[init]
fn prepare() -> () {
    PREPARED.fetch_add(1, Relaxed);
}

/// Documented, and of any visibility.
#[retire]
pub(crate) const fn never() -> bool {
    false
}

mod others {
    // Twice in one program is for the linker of a guest to refuse: a library may have its own.
    #[stockade_guest::init]
    fn unused() {}
}

fn main() {
    prepare();
    assert_eq!(PREPARED.load(Relaxed), 1);
    assert!(!never());
}
