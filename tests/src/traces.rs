//! What Stockade reports through `tracing`, kept for tests to look at.
//!
//! There is one subscriber for the whole process, because builds and calls report from several threads.
//! Tests that run at the same time tell their events apart by what is in them: a path or a text of
//! their own.

use std::fmt::{self, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its level.
    pub level: Level,
    /// Where it comes from.
    pub target: String,
    /// Its message.
    pub message: String,
    /// Its other fields, as `name=value `.
    pub fields: String,
}

static TRACES: Mutex<Vec<Trace>> = Mutex::new(Vec::new());

/// Begins to keep events. Call it before what is to be seen.
///
/// # Panics
/// When the program has another subscriber.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Keeper).expect("no other subscriber");
    });
}

/// The events so far that have `text` in their message or in a field.
#[must_use]
pub fn with(text: &str) -> Vec<Trace> {
    let traces = TRACES.lock().unwrap_or_else(PoisonError::into_inner);
    let has = |trace: &&Trace| trace.message.contains(text) || trace.fields.contains(text);
    traces.iter().filter(has).cloned().collect()
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("stockade")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut trace = Trace {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: String::new(),
        };
        event.record(&mut trace);
        TRACES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(trace);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Trace {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, "{field}={value:?} ")
        };
    }
}
