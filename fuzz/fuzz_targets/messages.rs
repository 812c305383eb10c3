//! Messages from worker, compiler and probe processes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade_wire::fuzzing::messages(bytes));
