//! What Stockade reports through `tracing`, kept for tests to look at.
//!
//! There is one subscriber for the whole process, because builds and calls report from several threads.
//! Tests that run at the same time tell their events apart by what is in them: a path or a text of
//! their own.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

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
    /// The names of the spans around it, the outermost first.
    pub spans: Vec<&'static str>,
}

static TRACES: Mutex<Vec<Trace>> = Mutex::new(Vec::new());

/// Every span that there has been; the id of each is its place plus one.
static SPANS: Mutex<Vec<&'static Metadata<'static>>> = Mutex::new(Vec::new());

thread_local! {
    /// The spans that this thread is in, the outermost first.
    static ENTERED: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

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
    let traces = lock(&TRACES);
    let has = |trace: &&Trace| trace.message.contains(text) || trace.fields.contains(text);
    traces.iter().filter(has).cloned().collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn metadata(span: &Id) -> &'static Metadata<'static> {
    let place = usize::try_from(span.into_u64() - 1).expect("as many as fit in memory");
    lock(&SPANS)[place]
}

struct Keeper;

impl Subscriber for Keeper {
    /// Spans are the tests' own.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() || metadata.target().starts_with("stockade")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut spans = lock(&SPANS);
        spans.push(span.metadata());
        Id::from_u64(spans.len() as u64)
    }

    fn current_span(&self) -> Current {
        let id = ENTERED.with_borrow(|entered| entered.last().cloned());
        id.map_or_else(Current::none, |id| {
            let metadata = metadata(&id);
            Current::new(id, metadata)
        })
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut trace = Trace {
            level: *event.metadata().level(),
            target: event.metadata().target().to_owned(),
            message: String::new(),
            fields: String::new(),
            spans: match event.is_root() {
                true => Vec::new(),
                false => ENTERED
                    .with_borrow(|entered| entered.iter().map(|id| metadata(id).name()).collect()),
            },
        };
        event.record(&mut trace);
        lock(&TRACES).push(trace);
    }

    fn enter(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(id.clone()));
    }

    fn exit(&self, id: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(at) = entered.iter().rposition(|other| other == id) {
                entered.remove(at);
            }
        });
    }
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
