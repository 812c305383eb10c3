//! What came back, and what it says.

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

impl<A, R: DeserializeOwned> Running<A, R> {
    /// What the items of a chunk replied, as many as have, of `all`. A worker whose reply makes no sense has run
    /// nobody knows what: it is killed, and none of the items is run again.
    pub(crate) fn items_of(&self, raw: Raw, all: usize) -> Vec<Result<R, Error>> {
        let Raw { payload, from } = raw;
        let (worker, call) = from.expect("a chunk's worker is not gone before its reply is judged");
        let (items, buffer) = payload.decoded(|replies| self.items(replies, call));
        if let Some(buffer) = buffer {
            worker.give_back(buffer);
        }
        let (mut results, damaged) = items;
        if damaged || !(1..=all).contains(&results.len()) {
            worker.condemn();
            let function = self.hold.pool().functions.entry(self.function);
            results.truncate(all);
            results.resize_with(all, || Err(disbelieved(call, function, Disbelief::Chunk)));
        }
        results
    }

    /// The same of a chunk whose worker has died, and how many items had been begun.
    pub(crate) fn items_left(&mut self) -> Option<(Vec<Result<R, Error>>, usize)> {
        let (Chunk { begun, replies }, of) = *self.left.take()?;
        Some((self.items(&replies, of).0, begun))
    }

    /// What the items replied, up to something that is damaged; and whether there is.
    fn items(&self, replies: &[u8], call: CallOf) -> (Vec<Result<R, Error>>, bool) {
        let pool = self.hold.pool();
        let (function, limits) = (pool.functions.entry(self.function), &pool.config.limits);
        let of = |reply| match reply {
            ItemReply::Value(reply) => self.decode(reply),
            ItemReply::Failure(bytes) => Err(match message::decode(bytes) {
                Ok(failure) => failed(call, function, limits, failure, String::new()),
                Err(_) => disbelieved(call, function, Disbelief::Failure),
            }),
        };
        let mut damaged = false;
        let mut results = Vec::new();
        for reply in split_chunk(replies) {
            match reply {
                Ok(reply) => results.push(of(reply)),
                Err(Damaged) => damaged = true,
            }
        }
        (results, damaged)
    }
}

impl<A, R> Running<A, R> {
    /// What a reply to this call says.
    pub(crate) fn decode<T: DeserializeOwned>(&self, reply: &[u8]) -> Result<T, Error> {
        let function = self.hold.pool().functions.entry(self.function);
        codec::decode(function.name(), &function.info.kind, self.codec, reply)
    }
}
