//! How a worker describes a call that failed inside its guest.

use serde::{Deserialize, Serialize};

use super::encode;

/// How a call failed inside the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// The guest's frames, innermost first, where there are any.
    pub backtrace: Option<String>,
}

/// What happened to a call inside the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// A wasm trap of the kind with this text.
    Trap(TrapKind),
    /// A panic that the guest's SDK reported.
    Panic {
        /// Its message.
        message: String,
        /// File, line and column.
        location: String,
    },
    /// An allocation beyond the limit, after which the guest gave up.
    OutOfMemory {
        /// The limit in bytes.
        limit: u64,
        /// What the guest's memory would have grown to, in bytes.
        requested: u64,
    },
    /// The guest's stack is used up.
    StackOverflow,
    /// The guest called `proc_exit`.
    Exit(i32),
    /// The guest's result does not fit in a payload.
    ResultTooLarge {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The arguments found no room in the guest.
    NoRoomForArguments {
        /// Their length in bytes.
        bytes: u64,
    },
    /// What the guest wanted of its host does not fit in a payload.
    EventTooLarge {
        /// Its length in bytes.
        bytes: u64,
    },
    /// The guest broke the rules between guest and worker.
    Abi(String),
}

/// The kinds of wasm trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrapKind {
    /// `unreachable` was executed.
    Unreachable,
    /// A memory access outside the memory.
    MemoryOutOfBounds,
    /// A table access outside the table.
    TableOutOfBounds,
    /// An indirect call through an empty table element.
    IndirectCallToNull,
    /// An indirect call to a function of another type.
    BadSignature,
    /// An integer operation overflowed.
    IntegerOverflow,
    /// An integer was divided by zero.
    IntegerDivisionByZero,
    /// A float does not fit in an integer.
    BadConversionToInteger,
    /// Anything else.
    Other,
}

/// The description of a failure as a reply's payload, cut to what a slot holds.
#[must_use]
pub fn encode_failure(mut failure: Failure) -> Vec<u8> {
    const TEXT_MAX: usize = 16 << 10;
    let mut texts: Vec<&mut String> = failure.backtrace.iter_mut().collect();
    match &mut failure.kind {
        FailureKind::Panic { message, location } => texts.extend([message, location]),
        FailureKind::Abi(message) => texts.push(message),
        _ => {}
    }
    for text in texts {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
    }
    let bytes = encode(&failure);
    debug_assert!(bytes.len() <= crate::slot::FAILURE_BYTES_MAX);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_failure_fits() {
        let long = "é".repeat(100_000);
        let failure = Failure {
            kind: FailureKind::Panic {
                message: long.clone(),
                location: long.clone(),
            },
            backtrace: Some(long),
        };
        assert!(encode_failure(failure).len() <= crate::slot::FAILURE_BYTES_MAX);
    }
}
