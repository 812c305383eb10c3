//! The memory that a worker writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade_wire::fuzzing::slot(bytes));
