//! Replies, as each kind of function and each codec has them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stockade::fuzzing::reply(bytes));
