//! What came back, and what it says.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stockade_wire::message;
use stockade_wire::slot::{Chunk, Damaged, Disbelief, ItemReply, split_chunk};

use super::blame::{disbelieved, failed};
use super::running::Running;
use crate::pool::{CallOf, Payload, Worker};
use crate::{Error, codec};

/// A reply that is not decoded yet.
#[derive(Debug)]
pub(crate) struct Raw {
    payload: Payload,
    /// None when nothing is left to be done with the worker.
    from: Option<(Arc<Worker>, CallOf)>,
}

/// What a chunk has left beside its replies.
#[derive(Debug)]
pub(crate) struct Left {
    /// Of one that was stopped or whose worker died: which of its items are over, and which have begun.
    pub(super) chunk: Chunk,
    pub(super) of: CallOf,
    /// Of one that replied: what its items have written to stderr.
    pub(super) stderr: String,
}

impl Left {
    pub(super) fn of_chunk(chunk: Chunk, of: CallOf) -> Self {
        Self {
            chunk,
            of,
            stderr: String::new(),
        }
    }
}

impl<A, R: DeserializeOwned> Running<A, R> {
    #[inline]
    pub(super) fn decode_raw(&self, raw: Raw) -> Result<R, Error> {
        if let Payload::Inline(bytes, len) = &raw.payload {
            return self.decode(&bytes[..usize::from(*len)]);
        }
        let Raw { payload, from } = raw;
        let (result, buffer) = payload.decoded(|bytes| self.decode(bytes));
        if let (Some(buffer), Some((worker, _))) = (buffer, from) {
            worker.give_back(buffer);
        }
        result
    }
}

impl Raw {
    pub(super) fn new(payload: Payload, from: Option<(Arc<Worker>, CallOf)>) -> Self {
        Self { payload, from }
    }

    /// What a worker replied to one of several calls that travelled together.
    pub(super) fn of_rider(reply: Vec<u8>) -> Self {
        Self {
            payload: Payload::Buffer(reply),
            from: None,
        }
    }

    /// For how long a worker had the call, by now, if that is known.
    pub(crate) fn took(&self) -> Option<Duration> {
        let (_, call) = self.from.as_ref()?;
        Some(call.published.elapsed())
    }

    /// The reply itself.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.payload.into_bytes()
    }
}

impl<A, R> Running<A, R> {
    /// What the items of a chunk replied, as many as have, each as `read` gives it. A worker whose reply makes no sense has
    /// run nobody knows what: it is killed, and none of the items, of which there are as many as there may be replies, is run
    /// again.
    pub(crate) fn replies<T>(
        &mut self,
        raw: Raw,
        count: RangeInclusive<usize>,
        read: impl Fn(&Self, &[u8]) -> Result<T, Error>,
    ) -> Vec<Result<T, Error>> {
        let Raw { payload, from } = raw;
        let (worker, call) = from.expect("a chunk's worker is not gone before its reply is judged");
        let left = self.left.take();
        let stderr = left.as_ref().map_or("", |left| &left.stderr);
        let all = *count.end();
        let (items, buffer) =
            payload.decoded(|replies| self.items(replies, all, call, stderr, read));
        if let Some(buffer) = buffer {
            worker.give_back(buffer);
        }
        let (mut results, damaged) = items;
        if damaged || !count.contains(&results.len()) {
            worker.disbelieve(Disbelief::Chunk);
            let function = self.hold.pool().functions.entry(self.function);
            results.truncate(all);
            results.resize_with(all, || Err(disbelieved(call, function, Disbelief::Chunk)));
        }
        results
    }

    /// The same of a chunk that was stopped or whose worker has died, and how many items had been begun.
    pub(crate) fn replies_left<T>(
        &mut self,
        all: usize,
        read: impl Fn(&Self, &[u8]) -> Result<T, Error>,
    ) -> Option<(Vec<Result<T, Error>>, usize)> {
        let Left { chunk, of, .. } = *self.left.take()?;
        let (results, _) = self.items(&chunk.replies, all, of, "", read);
        Some((results, chunk.begun))
    }

    /// What `all` items replied, up to something that is damaged; and whether there is. Of more than there are, one is
    /// enough to tell.
    fn items<T>(
        &self,
        replies: &[u8],
        all: usize,
        call: CallOf,
        stderr: &str,
        read: impl Fn(&Self, &[u8]) -> Result<T, Error>,
    ) -> (Vec<Result<T, Error>>, bool) {
        let pool = self.hold.pool();
        let (function, limits) = (pool.functions.entry(self.function), &pool.config.limits);
        let mut results = Vec::new();
        for reply in split_chunk(replies).take(all.saturating_add(1)) {
            results.push(match reply {
                Ok(ItemReply::Value(reply)) => read(self, reply),
                Ok(ItemReply::Failure(bytes)) => match message::decode(bytes) {
                    Ok(failure) => Err(failed(call, function, limits, failure, stderr.to_owned())),
                    Err(_) => return (results, true),
                },
                Err(Damaged) => return (results, true),
            });
        }
        (results, false)
    }

    /// What a reply to this call says.
    pub(crate) fn decode<T: DeserializeOwned>(&self, reply: &[u8]) -> Result<T, Error> {
        let function = self.hold.pool().functions.entry(self.function);
        codec::decode(function.name(), &function.info.kind, self.codec, reply)
    }
}
