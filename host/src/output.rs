//! Where a guest's stdout and stderr go.

use std::collections::VecDeque;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{LazyLock, Mutex, PoisonError};

use stockade_wire::slot::{LogRecord, Output as Tail};
use tracing::Span;

use crate::error::Shown;
use crate::wasi::Output;

/// What one call wrote.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// stdout and stderr.
    pub(crate) streams: [Tail; 2],
    pub(crate) log: Logged,
}

/// What one call logged, or a part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logged {
    pub(crate) records: Vec<LogRecord>,
    /// How many more there were.
    pub(crate) lost: u32,
}

impl Written {
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.streams[1].tail).into_owned()
    }

    /// Sends each stream to where the embedder wants it.
    pub(crate) fn deliver(&self, to: [Output; 2], function: &str, worker: u64) {
        for (stream, (tail, to)) in self.streams.iter().zip(to).enumerate() {
            match to {
                Output::Discard | Output::Capture => {}
                Output::Inherit => inherit(stream, &tail.tail),
                Output::Tracing => trace(stream, tail, function, worker),
            }
        }
        self.log.deliver(function, worker);
    }
}

impl Logged {
    /// Sends each record to tracing, in the span of whoever polls the call.
    pub(crate) fn deliver(&self, function: &str, worker: u64) {
        let function = Shown(function);
        for LogRecord { level, text } in &self.records {
            let text = Shown(text);
            macro_rules! record {
                ($level:ident) => {
                    tracing::$level!(target: "stockade::guest", %function, worker, "{text}")
                };
            }
            match level {
                1 => record!(error),
                2 => record!(warn),
                3 => record!(info),
                4 => record!(debug),
                _ => record!(trace),
            }
        }
        if self.lost > 0 {
            tracing::warn!(target: "stockade::guest", %function, worker, lost_records = self.lost, "log cut");
        }
    }
}

/// Output of calls whose callers are gone, waiting for a thread to deliver it.
#[derive(Default)]
struct Backlog {
    waiting: VecDeque<Late>,
    /// Whether a thread delivers.
    served: bool,
}

/// Output of a call, to be delivered without it.
#[derive(Default)]
pub(crate) struct Late {
    pub(crate) written: Written,
    pub(crate) to: [Output; 2],
    pub(crate) function: String,
    pub(crate) worker: u64,
    /// Where its caller was last seen.
    pub(crate) span: CallerSpan,
}

/// Where a call's caller was last seen, for what its guest writes when nobody looks.
///
/// A span is the application's subscriber's, whose code runs when it is dropped. This one may be dropped by the
/// supervisor and under locks: another thread ends it then.
#[derive(Debug, Default)]
pub(crate) struct CallerSpan(Option<Box<Span>>);

impl CallerSpan {
    /// The one around this code.
    pub(crate) fn current() -> Self {
        let span = Span::current();
        Self((!span.is_none()).then(|| Box::new(span)))
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// For threads that may run the application's code.
    pub(crate) fn into_span(mut self) -> Span {
        self.0.take().map_or_else(Span::none, |span| *span)
    }
}

impl Drop for CallerSpan {
    fn drop(&mut self) {
        if let Some(span) = self.0.take() {
            deliver_later(Late {
                span: Self(Some(span)),
                ..Late::default()
            });
        }
    }
}

/// More than this waits only when the application's stdout or subscriber is stuck; then it is dropped.
const BACKLOG_MAX: usize = 256;

static BACKLOG: LazyLock<Mutex<Backlog>> = LazyLock::new(Mutex::default);

/// Delivers from another thread, which ends when there is nothing left: the supervisor must never run a
/// subscriber or write to a stream, either of which may wait for ever.
pub(crate) fn deliver_later(late: Late) {
    let mut backlog = BACKLOG.lock().unwrap_or_else(PoisonError::into_inner);
    if backlog.waiting.len() < BACKLOG_MAX {
        backlog.waiting.push_back(late);
    } else {
        // Nobody is left to end its span.
        std::mem::forget(late.span);
    }
    if !backlog.served {
        let thread = std::thread::Builder::new().name("stockade-output".into());
        backlog.served = thread.spawn(serve_backlog).is_ok();
    }
}

fn serve_backlog() {
    loop {
        let mut backlog = BACKLOG.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(late) = backlog.waiting.pop_front() else {
            backlog.served = false;
            return;
        };
        drop(backlog);
        // A subscriber that panics is the application's bug, and no reason to lose what others print.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let span = late.span.into_span();
            span.in_scope(|| (late.written).deliver(late.to, &late.function, late.worker));
        }));
    }
}

fn inherit(stream: usize, bytes: &[u8]) {
    // A closed stdout is the application's business, and no reason to fail a call.
    let _ = if stream == 0 {
        std::io::stdout().write_all(bytes)
    } else {
        std::io::stderr().write_all(bytes)
    };
}

/// A line each, made harmless: the text is the guest's.
fn trace(stream: usize, tail: &Tail, function: &str, worker: u64) {
    let function = Shown(function);
    if tail.lost > 0 {
        tracing::info!(target: "stockade::guest", %function, worker, lost_bytes = tail.lost, "output cut");
    }
    for line in String::from_utf8_lossy(&tail.tail).lines() {
        let line = Shown(line);
        if stream == 0 {
            tracing::info!(target: "stockade::guest", %function, worker, "{line}");
        } else {
            tracing::warn!(target: "stockade::guest", %function, worker, "{line}");
        }
    }
}
