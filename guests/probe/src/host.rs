//! What a guest says to its host, and asks of it, in the middle of a call.

use serde::{Deserialize, Serialize};
use stockade_guest::{Bytes, HostCallError, Level, emit, host_call, log, progress, work};

/// Emits the numbers below `count` and returns how many there were.
#[work]
pub fn emit_numbers(count: u32) -> u32 {
    for number in 0..count {
        emit(&number);
    }
    count
}

/// Emits numbers without end.
#[work]
pub fn emit_for_ever() {
    for number in 0u64.. {
        emit(&number);
    }
}

/// Emits bytes, so many at a time.
#[work]
pub fn emit_bytes(count: u32, len: usize) {
    for number in 0..count {
        emit(&Bytes::from(vec![number as u8; len]));
    }
}

/// Emits one number and panics.
#[work]
pub fn emit_and_panic(number: u32) {
    emit(&number);
    panic!("after an item");
}

/// An item of several parts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Where it stands.
    pub number: u32,
    /// What it says.
    pub text: String,
}

/// Emits the lines of a text that contain a word.
#[work]
pub fn search(text: &str, word: &str) -> usize {
    let mut found = 0;
    for (number, line) in text.lines().enumerate() {
        if line.contains(word) {
            let (number, text) = (number as u32, line.to_owned());
            emit(&Line { number, text });
            found += 1;
        }
    }
    found
}

/// Makes a record of each level.
#[work]
pub fn log_all(message: &str) {
    log(Level::Error, message);
    log(Level::Warn, message);
    log(Level::Info, message);
    log(Level::Debug, message);
    log(Level::Trace, message);
}

/// Makes so many records of so many bytes.
#[work]
pub fn log_much(records: u32, bytes: usize) {
    let message = "x".repeat(bytes);
    for _ in 0..records {
        log(Level::Info, &message);
    }
}

/// Makes a record, then asks the host for `wait`, then makes another.
#[work]
pub fn log_and_wait(millis: u64) {
    log(Level::Info, "before");
    crate::wasi::sleep_ms(millis);
    log(Level::Info, "between");
    let () = host_call("wait", ()).expect("the host has it");
    log(Level::Info, "after");
}

/// Asks the host for `wait`, then makes a record.
#[work]
pub fn wait_and_log(message: &str) {
    let () = host_call("wait", ()).expect("the host has it");
    log(Level::Info, message);
}

/// Makes a record, says so, and never ends.
#[work]
pub fn log_and_spin(message: &str) {
    log(Level::Info, message);
    progress(1, 1);
    crate::faults::spin();
}

/// Says that it is half done, asks the host for `wait`, says that it is done, and asks again.
#[work]
pub fn half_and_half() {
    progress(1, 2);
    let () = host_call("wait", ()).expect("the host has it");
    progress(2, 2);
    let () = host_call("wait", ()).expect("the host has it");
}

/// The sum of what the host's `double` makes of the numbers.
#[work]
pub fn sum_of_doubles(numbers: Vec<u64>) -> u64 {
    let double = |n| host_call::<_, u64>("double", (n,)).expect("the host has it");
    numbers.into_iter().map(double).sum()
}

/// What the host's `divide` returns, its own error included.
#[work]
pub fn divide_by_host(a: i32, b: i32) -> Result<i32, String> {
    host_call("divide", (a, b)).expect("the host has it")
}

/// Calls a host function without arguments and gives the name of the error, if there is one.
#[work]
pub fn call_host(function: &str) -> Result<u32, String> {
    host_call(function, ()).map_err(|error| format!("{error:?}"))
}

/// Calls a host function with text where it may want something else.
#[work]
pub fn call_host_with(function: &str, text: &str) -> Result<String, String> {
    match host_call::<_, String>(function, (text,)) {
        Ok(text) => Ok(text),
        Err(HostCallError::DecodeArgs(reason)) => Err(format!("args: {reason}")),
        Err(HostCallError::DecodeResult(reason)) => Err(format!("result: {reason}")),
        Err(other) => Err(other.to_string()),
    }
}

/// What comes back from the host's `echo`, of so many bytes.
#[work]
pub fn echo_by_host(len: usize) -> usize {
    let bytes = Bytes::from(vec![7; len]);
    let back: Bytes = host_call("echo", (bytes,)).expect("the host has it");
    assert!(back.iter().all(|byte| *byte == 7));
    back.len()
}

/// Tells the host that it has begun with a number, and returns that.
#[work]
pub fn mark(number: u64) -> u64 {
    let () = host_call("mark", (number,)).expect("the host has it");
    number
}
