//! Where a guest's stdout and stderr go.

use std::io::Write;

use stockade_wire::slot::Output as Tail;

use crate::error::Shown;
use crate::wasi::Output;

/// What one call wrote.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    /// stdout and stderr.
    pub(crate) streams: [Tail; 2],
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
