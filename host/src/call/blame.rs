//! What an error says of a call that its worker has failed.

use stockade_wire::message::{Failure, FailureKind, TrapKind};
use stockade_wire::slot::Disbelief;

use crate::error::Broken;
use crate::functions::Entry;
use crate::limits::Limits;
use crate::pool::CallOf;
use crate::{Cause, Error, Trap};

pub(super) fn broken(call: CallOf, function: &Entry, cause: Cause) -> Broken {
    Broken {
        function: function.name().to_owned(),
        worker_id: call.worker_id,
        pid: call.pid,
        cause,
        exit: None,
        stderr_tail: String::new(),
        elapsed: call.published.elapsed(),
        backtrace: None,
        process_died: false,
    }
}

/// A worker that is not believed is killed.
pub(super) fn disbelieved(call: CallOf, function: &Entry, lie: Disbelief) -> Error {
    let broken = broken(
        call,
        function,
        Cause::Protocol(format!("the worker is not believed: {lie}")),
    );
    Broken {
        process_died: true,
        ..broken
    }
    .into()
}

/// What a worker says of a failed call.
pub(super) fn failed(
    call: CallOf,
    function: &Entry,
    limits: &Limits,
    Failure { kind, backtrace }: Failure,
    stderr_tail: String,
) -> Error {
    let cause = match kind {
        FailureKind::Trap(kind) => Cause::Trap(trap(kind)),
        FailureKind::Panic { message, location } => Cause::Panic { message, location },
        FailureKind::OutOfMemory { limit, requested } => Cause::OutOfMemory { limit, requested },
        FailureKind::NoRoomForArguments { bytes } => Cause::OutOfMemory {
            limit: limits.memory_bytes as u64,
            requested: bytes,
        },
        FailureKind::StackOverflow => Cause::StackOverflow,
        FailureKind::Exit(code) => Cause::GuestExit(code),
        FailureKind::Abi(what) => Cause::Protocol(format!("by the guest's code: {what}")),
        FailureKind::ResultTooLarge { bytes } | FailureKind::EventTooLarge { bytes } => {
            return Error::PayloadTooLarge {
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                limit: limits.payload_bytes,
            };
        }
    };
    Broken {
        backtrace,
        stderr_tail,
        ..broken(call, function, cause)
    }
    .into()
}

fn trap(kind: TrapKind) -> Trap {
    match kind {
        TrapKind::Unreachable => Trap::Unreachable,
        TrapKind::MemoryOutOfBounds => Trap::MemoryOutOfBounds,
        TrapKind::TableOutOfBounds => Trap::TableOutOfBounds,
        TrapKind::IndirectCallToNull => Trap::IndirectCallToNull,
        TrapKind::BadSignature => Trap::BadSignature,
        TrapKind::IntegerOverflow => Trap::IntegerOverflow,
        TrapKind::IntegerDivisionByZero => Trap::IntegerDivisionByZero,
        TrapKind::BadConversionToInteger => Trap::BadConversionToInteger,
        TrapKind::Other => Trap::Other,
    }
}
