//! Where a guest's stdout and stderr go.

use std::io::Write;

use stockade_wire::slot::{LogRecord, Output as Tail};

use tracing::Span;
use tracing::span::Id;

use crate::error::Shown;
use crate::later::{CallerSpan, later};
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

    /// How many, about.
    fn bytes(&self) -> usize {
        let streams = self.streams.iter().map(|stream| stream.tail.len());
        let records = self.log.records.iter();
        let records = records.map(|record| size_of::<LogRecord>() + record.text.len());
        streams.chain(records).sum()
    }

    /// Sends each stream to where the embedder wants it.
    pub(crate) fn deliver(
        &self,
        to: [Output; 2],
        function: &str,
        worker: u64,
        parent: Option<&Id>,
    ) {
        for (stream, (tail, to)) in self.streams.iter().zip(to).enumerate() {
            match to {
                Output::Discard | Output::Capture => {}
                Output::Inherit => inherit(stream, &tail.tail),
                Output::Tracing => trace(stream, tail, function, worker, parent),
            }
        }
        self.log.deliver(function, worker, parent);
    }
}

impl Logged {
    /// Sends each record to tracing, in this span.
    pub(crate) fn deliver(&self, function: &str, worker: u64, parent: Option<&Id>) {
        let function = Shown(function);
        for LogRecord { level, text } in &self.records {
            let text = Shown(text);
            macro_rules! record {
                ($level:ident) => {
                    tracing::$level!(target: "stockade::guest", parent: parent.cloned(), %function, worker, "{text}")
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
            tracing::warn!(target: "stockade::guest", parent: parent.cloned(), %function, worker, lost_records = self.lost, "log cut");
        }
    }
}

/// Output of a call, to be delivered by nobody who polls it.
pub(crate) struct Late {
    pub(crate) written: Written,
    pub(crate) to: [Output; 2],
    pub(crate) function: String,
    pub(crate) worker: u64,
    pub(crate) span: CallerSpan,
}

impl Late {
    /// Delivers it from another thread: whoever found it may not run the application's code.
    pub(crate) fn deliver(self) {
        later(self.written.bytes(), move || {
            let Self {
                written,
                to,
                function,
                worker,
                span,
            } = self;
            span.around(|| {
                let parent = Span::current().id();
                written.deliver(to, &function, worker, parent.as_ref());
            });
        });
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
fn trace(stream: usize, tail: &Tail, function: &str, worker: u64, parent: Option<&Id>) {
    let function = Shown(function);
    if tail.lost > 0 {
        tracing::info!(target: "stockade::guest", parent: parent.cloned(), %function, worker, lost_bytes = tail.lost, "output cut");
    }
    for line in String::from_utf8_lossy(&tail.tail).lines() {
        let line = Shown(line);
        if stream == 0 {
            tracing::info!(target: "stockade::guest", parent: parent.cloned(), %function, worker, "{line}");
        } else {
            tracing::warn!(target: "stockade::guest", parent: parent.cloned(), %function, worker, "{line}");
        }
    }
}
