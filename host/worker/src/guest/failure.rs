//! From an error of Wasmtime to what the host is told.

use std::fmt;

use stockade_wire::message::{Failure, FailureKind, TrapKind};
use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use super::limiter::Denied;
use super::state::State;
use super::world::{Stopped, World};
use crate::additions;
use crate::text::printable;

/// The longest name in a backtrace. Mangled generics grow without bound; nobody reads past this.
const NAME_BYTES_MAX: usize = 200;

/// Why a call has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The guest failed.
    Failed(Failure),
    /// Somebody wanted the call stopped.
    Interrupted,
}

impl Ended {
    /// A failure without frames.
    pub(crate) fn failed(kind: FailureKind) -> Self {
        Self::Failed(Failure {
            kind,
            backtrace: None,
        })
    }

    /// The guest broke the rules of the ABI.
    pub(crate) fn broke_rules(message: impl Into<String>) -> Self {
        Self::failed(FailureKind::Abi(message.into()))
    }
}

/// How one of our imports ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// The guest called `proc_exit`.
    Exit(i32),
    /// The call is to be stopped.
    Stopped,
    /// What the guest wanted of its host is too long, in bytes.
    TooLarge(u64),
    /// The guest has no room for an answer of this many bytes.
    NoRoom(u64),
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "the guest exited with code {code}"),
            Self::Stopped => f.write_str("the call was stopped"),
            Self::TooLarge(bytes) => write!(f, "{bytes} bytes are more than the host takes"),
            Self::NoRoom(bytes) => write!(f, "no room for an answer of {bytes} bytes"),
        }
    }
}

impl std::error::Error for Halt {}

impl From<Stopped> for Halt {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

/// What an error that came out of wasm means, given what the instance did before it.
#[cold]
pub(crate) fn explain<W: World>(error: &wasmtime::Error, state: &mut State<W>) -> Ended {
    let kind = match error.downcast_ref::<Halt>() {
        Some(Halt::Stopped) => return Ended::Interrupted,
        Some(Halt::Exit(code)) => FailureKind::Exit(*code),
        Some(Halt::TooLarge(bytes)) => FailureKind::EventTooLarge { bytes: *bytes },
        Some(Halt::NoRoom(bytes)) => FailureKind::NoRoomForArguments { bytes: *bytes },
        None => match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return Ended::Interrupted,
            // A signal has moved it there. If it went there by itself, it makes no difference any more.
            Some(Trap::UnreachableCodeReached) if state.world.stop_requested() => {
                return Ended::Interrupted;
            }
            Some(trap) => trapped(*trap, state),
            None => match state.limiter.denied() {
                Some(denied) => refused(denied),
                None => FailureKind::Abi(printable(&format!("{error:#}"), 4096)),
            },
        },
    };
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(frames);
    Ended::Failed(Failure { kind, backtrace })
}

fn trapped<W>(trap: Trap, state: &mut State<W>) -> FailureKind {
    if trap == Trap::UnreachableCodeReached {
        if let Some(panic) = state.panic.take() {
            return panic.into();
        }
        if let Some(denied @ Denied::Memory { .. }) = state.limiter.denied() {
            return refused(denied);
        }
    }
    let kind = match trap {
        Trap::StackOverflow => return FailureKind::StackOverflow,
        Trap::UnreachableCodeReached => TrapKind::Unreachable,
        Trap::MemoryOutOfBounds => TrapKind::MemoryOutOfBounds,
        Trap::TableOutOfBounds => TrapKind::TableOutOfBounds,
        Trap::IndirectCallToNull => TrapKind::IndirectCallToNull,
        Trap::BadSignature => TrapKind::BadSignature,
        Trap::IntegerOverflow => TrapKind::IntegerOverflow,
        Trap::IntegerDivisionByZero => TrapKind::IntegerDivisionByZero,
        Trap::BadConversionToInteger => TrapKind::BadConversionToInteger,
        _ => TrapKind::Other,
    };
    FailureKind::Trap(kind)
}

fn refused(denied: Denied) -> FailureKind {
    match denied {
        Denied::Memory { limit, requested } => FailureKind::OutOfMemory { limit, requested },
        Denied::Table { limit, requested } => FailureKind::Abi(format!(
            "its tables would have {requested} elements, more than the limit of {limit}"
        )),
    }
}

/// One frame per line, innermost first.
fn frames(backtrace: &WasmBacktrace) -> String {
    let mut text = String::new();
    for (number, frame) in backtrace.frames().iter().enumerate() {
        describe(number, frame, &mut text);
    }
    text.truncate(text.trim_end().len());
    text
}

fn describe(number: usize, frame: &FrameInfo, text: &mut String) {
    let offset = frame.module_offset().map_or_else(String::new, |offset| {
        format!(
            " (module offset {:#x})",
            offset.saturating_sub(additions::SHIFT)
        )
    });
    let own_name = frame
        .func_name()
        .map_or_else(|| format!("function {}", frame.func_index()), readable);
    if frame.symbols().is_empty() {
        text.push_str(&format!("{number}: {own_name}{offset}\n"));
    }
    // Several symbols are functions inlined into one frame, innermost first.
    for symbol in frame.symbols() {
        let name = symbol.name().map_or_else(|| own_name.clone(), readable);
        text.push_str(&format!("{number}: {name}{offset}"));
        if let Some(file) = symbol.file() {
            text.push_str(&format!(" at {}", printable(file, NAME_BYTES_MAX)));
            for part in [symbol.line(), symbol.column()].into_iter().flatten() {
                text.push_str(&format!(":{part}"));
            }
        }
        text.push('\n');
    }
}

fn readable(name: &str) -> String {
    printable(
        &format!("{:#}", rustc_demangle::demangle(name)),
        NAME_BYTES_MAX,
    )
}
