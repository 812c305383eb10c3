//! The section in which a module describes itself. The compiler's own file, without the compiler: that would be
//! all of Wasmtime.
#![no_main]

#[path = "../../host/worker/src/abi.rs"]
#[allow(dead_code, reason = "the section needs two names of it")]
mod abi;
#[path = "../../host/worker/src/compiler/metadata.rs"]
mod metadata;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut read = metadata::Metadata::default();
    if read.read(bytes).is_ok() {
        for described in read.functions.values() {
            std::hint::black_box((&described.signature, &described.docs));
        }
    }
    std::hint::black_box(&read.warnings);
});
