//! Several requests for one function, run one after the other.
//!
//! Each has its own accept mark and its own reply, so that a death in the middle neither loses nor reruns one.

use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::{Ordering, fence};

use super::host::HostSlot;
use super::layout::{CHUNK_ROOM, Geometry, ITEM_HEADER, ReplyKind, reply, request};
use super::worker::{Request, WorkerSlot};

/// Before each request: its length.
const REQUEST_HEADER: usize = 4;

/// What a worker that is gone has left of a chunk; its word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// How many items guest code may have begun.
    pub begun: usize,
    /// The replies of those that were over; see [`split_chunk`].
    pub replies: Vec<u8>,
}

/// What one item replied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemReply<'a> {
    /// As [`ReplyKind::Value`].
    Value(&'a [u8]),
    /// As [`ReplyKind::Failure`].
    Failure(&'a [u8]),
}

/// The replies of a chunk's items, in order. What is damaged is the end, and an error.
pub fn split_chunk(replies: &[u8]) -> impl Iterator<Item = Result<ItemReply<'_>, Damaged>> {
    let mut rest = replies;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let split = split_one(rest);
        rest = split.map_or(&[], |(_, next)| next);
        Some(split.map(|(reply, _)| reply).ok_or(Damaged))
    })
}

/// No honest worker has written this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

fn split_one(replies: &[u8]) -> Option<(ItemReply<'_>, &[u8])> {
    let (header, rest) = replies.split_first_chunk::<ITEM_HEADER>()?;
    let [k0, k1, k2, k3, len @ ..] = *header;
    let len = u32::from_le_bytes(len).try_into().ok()?;
    let (bytes, rest) = rest.split_at_checked(len)?;
    let reply = match ReplyKind::from_word(u32::from_le_bytes([k0, k1, k2, k3]))? {
        ReplyKind::Value => ItemReply::Value(bytes),
        ReplyKind::Failure => ItemReply::Failure(bytes),
        _ => return None,
    };
    Some((reply, rest))
}

impl HostSlot {
    /// From here on no further item of the chunk that is call `id` begins. The one that [`Self::chunk`] then says
    /// has begun and is not over may turn out not to have.
    pub fn close_chunk(&self, id: u64) {
        self.request.store_u64(request::CLOSED, id);
        fence(Ordering::SeqCst);
    }

    /// What the worker has left of the chunk that is call `id`. One that is alive may be about to leave more: what
    /// is found are the first of its items.
    #[must_use]
    pub fn chunk(&self, id: u64) -> Chunk {
        if self.reply.load_u64(reply::ITEMS_OF) != id {
            return Chunk::default();
        }
        let [begun, over] = reply::ITEMS.map(|word| self.reply.load_u32(word) as usize);
        let len = self.reply.load_u32(reply::ITEMS_LEN) as usize;
        let max = self.geometry.reply_bytes_max(ReplyKind::Chunk);
        let mut replies = Vec::new();
        if over > 0 && len <= max {
            self.reply
                .append_to(self.geometry.reply_payload(), len, &mut replies);
        }
        Chunk { begun, replies }
    }
}

/// The requests of a chunk, as ranges of its payload.
#[derive(Debug)]
pub struct Items<'a> {
    slot: &'a WorkerSlot,
    offset: usize,
    next: usize,
    end: usize,
}

impl Iterator for Items<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.next + REQUEST_HEADER;
        if start > self.end {
            return None;
        }
        let mut len = [0; REQUEST_HEADER];
        let memory = &self.slot.request;
        memory.copy_out(self.offset + self.next, &mut len);
        self.next = start + u32::from_le_bytes(len) as usize;
        Some(start..self.next)
    }
}

/// The reply to a chunk, in the making.
#[derive(Debug)]
pub struct ChunkReply<'a> {
    slot: &'a WorkerSlot,
    of: Request,
    len: Cell<usize>,
    begun: Cell<u32>,
}

impl WorkerSlot {
    /// The requests of a chunk.
    #[must_use]
    pub fn items(&self, request: Request) -> Items<'_> {
        let end = request.len as usize;
        Items {
            slot: self,
            offset: Geometry::request_offset(end),
            next: 0,
            end,
        }
    }

    /// Copies a part of the payload of a request of `len` bytes.
    ///
    /// # Panics
    /// When the part is longer than a payload may be.
    pub fn read_args_at(&self, len: u32, at: usize, to: &mut [u8]) {
        self.request
            .copy_out(Geometry::request_offset(len as usize) + at, to);
    }

    /// Begins to reply to a chunk.
    #[must_use]
    pub fn begin_chunk(&self, request: Request) -> ChunkReply<'_> {
        for word in reply::ITEMS.into_iter().chain([reply::ITEMS_LEN]) {
            self.reply.store_u32(word, 0);
        }
        self.reply.store_u64(reply::ITEMS_OF, request.id);
        ChunkReply {
            slot: self,
            of: request,
            len: Cell::new(0),
            begun: Cell::new(0),
        }
    }
}

impl ChunkReply<'_> {
    /// Marks the next item as begun: from here on its guest code may run. `false` when it must not, because the
    /// replies of the others leave no room for its own, because the chunk is to be stopped, or because no further item of
    /// it is to begin.
    #[must_use]
    pub fn begin_item(&self) -> bool {
        if self.len.get() > CHUNK_ROOM || self.slot.stop_requested(self.of.id) {
            return false;
        }
        let [begun, _] = reply::ITEMS;
        let before = self.begun.get();
        self.slot.reply.store_u32(begun, before + 1);
        if self.is_closed() {
            self.slot.reply.store_u32(begun, before);
            return false;
        }
        self.begun.set(before + 1);
        true
    }

    /// Whether an item that has just been marked may not begin after all.
    fn is_closed(&self) -> bool {
        // The host closes the chunk first and looks at the marks then: one of the two sees the other's.
        fence(Ordering::SeqCst);
        self.slot.request.load_u64(request::CLOSED) == self.of.id
    }

    /// What the item that was begun replied, in pieces. One reply each.
    ///
    /// # Panics
    /// When it is longer than a reply of its kind may be.
    pub fn put(&self, kind: ReplyKind, payload: &[&[u8]]) {
        let slot = self.slot;
        let len: usize = payload.iter().map(|piece| piece.len()).sum();
        assert!(len <= slot.geometry.reply_bytes_max(kind));
        let mut at = slot.geometry.reply_payload() + self.len.get();
        let header = [(kind as u32).to_le_bytes(), (len as u32).to_le_bytes()];
        for piece in [header.as_flattened()].iter().chain(payload) {
            slot.reply.copy_in(at, piece);
            at += piece.len();
        }
        self.len.set(self.len.get() + ITEM_HEADER + len);
        slot.reply
            .store_u32(reply::ITEMS_LEN, self.len.get() as u32);
        let [_, over] = reply::ITEMS;
        slot.reply.store_u32(over, self.begun.get());
    }

    /// Answers with what the items have replied.
    pub fn finish(self) {
        self.slot
            .reply_in_place(self.of.id, ReplyKind::Chunk, self.len.get());
    }
}

const _: () = assert!(request::INLINE_LEN >= REQUEST_HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, bytes: &[u8]) -> Vec<u8> {
        let len = (bytes.len() as u32).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, bytes].concat()
    }

    #[test]
    fn replies_are_split_as_far_as_they_make_sense() {
        let whole = [record(1, b"one"), record(2, b""), record(1, b"three")].concat();
        let expected = [
            ItemReply::Value(b"one"),
            ItemReply::Failure(b""),
            ItemReply::Value(b"three"),
        ];
        let split = |replies: &[u8]| split_chunk(replies).filter_map(Result::ok).count();
        let all: Result<Vec<_>, _> = split_chunk(&whole).collect();
        assert_eq!(all.unwrap(), expected);
        let borders = [0, 11, 19];
        for cut in 0..whole.len() {
            let all: Result<Vec<_>, _> = split_chunk(&whole[..cut]).collect();
            assert_eq!(all.is_ok(), borders.contains(&cut), "{cut}");
            assert_eq!(
                split(&whole[..cut]),
                borders[1..].iter().filter(|b| **b <= cut).count()
            );
        }
        let mut huge = record(1, b"");
        huge[4..8].fill(0xff);
        for damaged in [record(3, b""), record(77, b"x"), record(5, b""), huge] {
            let all: Vec<_> = split_chunk(&damaged).collect();
            assert_eq!(all, [Err(Damaged)]);
        }
    }
}
