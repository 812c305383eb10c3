//! The slot, with every rule in reach of being broken.
//!
//! The words lie where `stockade_wire::slot` has them. Should that change, the lies miss, and the tests
//! that expect each to be named fail.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

use rustix::fs::SealFlags;
use stockade_wire::slot::{ChunkReply, Geometry, ReplyKind, Request, WorkerSlot};
use stockade_wire::sys::mapping::Mapping;

const PUBLISHED: usize = 0;

const ID: usize = 0;
const KIND: usize = 8;
const LEN: usize = 12;
const OUTPUT: usize = 16;
const ACCEPTED: usize = 128;
const OUTPUT_TOTALS: [usize; 2] = [384, 392];
const FORBIDDEN: usize = 448;
const EVENT: usize = 512;
const EVENT_KIND: usize = 520;
const EVENT_LEN: usize = 524;
const LOG_LEN: usize = 640;
const LOG_LOST: usize = 644;
const ASKED: usize = 768;
const WORN_OUT: usize = 776;
const RINGS: usize = 4096;

/// The reply to `answer`, by an honest worker.
fn answer(number: u64) -> u64 {
    number.wrapping_mul(2).wrapping_add(1)
}

pub(crate) struct Slot {
    pub(crate) honest: WorkerSlot,
    geometry: Geometry,
    request: Mapping,
    reply: Mapping,
    eventfd: OwnedFd,
}

impl Slot {
    /// Tries what the seals forbid.
    ///
    /// # Panics
    /// When the kernel lets it happen.
    pub(crate) fn try_seals(geometry: Geometry, request: &OwnedFd, reply: &OwnedFd) {
        assert!(
            Mapping::read_write(request, geometry.request_bytes()).is_err(),
            "the request is writable"
        );
        assert!(
            rustix::io::pwrite(request, &[1], 0).is_err(),
            "the request is writable"
        );
        for (memory, len) in [
            (request, geometry.request_bytes()),
            (reply, geometry.reply_bytes()),
        ] {
            for len in [0, len as u64 - 4096, len as u64 + 4096] {
                assert!(
                    rustix::fs::ftruncate(memory, len).is_err(),
                    "its size can be changed"
                );
            }
        }
        assert!(
            rustix::fs::fcntl_add_seals(reply, SealFlags::WRITE).is_err(),
            "it can be sealed further"
        );
    }

    pub(crate) fn new(
        geometry: Geometry,
        request: OwnedFd,
        reply: OwnedFd,
        eventfd: OwnedFd,
    ) -> io::Result<Self> {
        Ok(Self {
            geometry,
            request: Mapping::read_only(&request, geometry.request_bytes())?,
            reply: Mapping::read_write(&reply, geometry.reply_bytes())?,
            eventfd: eventfd.try_clone()?,
            honest: WorkerSlot::new(geometry, request, reply, eventfd)?,
        })
    }

    pub(crate) fn answer_accepted(&self, request: Request) {
        if request.is_chunk {
            return self.answer_chunk(request);
        }
        let mut args = vec![0; request.len as usize];
        self.honest.read_args(&mut args);
        self.honest
            .reply(request.id, ReplyKind::Value, &Self::value(request, args));
    }

    fn answer_chunk(&self, request: Request) {
        self.answer_items(request, |_| {});
    }

    /// Answers all items, and does something before the whole is answered.
    pub(crate) fn answer_items(&self, request: Request, then: impl FnOnce(&ChunkReply<'_>)) {
        let chunk = self.honest.begin_chunk(request);
        for item in self.honest.items(request) {
            if !chunk.begin_item() {
                break;
            }
            let mut args = vec![0; item.len()];
            self.honest.read_args_at(request.len, item.start, &mut args);
            chunk.put(ReplyKind::Value, &[&Self::value(request, args)]);
        }
        then(&chunk);
        chunk.finish();
    }

    fn value(request: Request, args: Vec<u8>) -> Vec<u8> {
        // Some microseconds: the shortest calls do not travel together.
        (0..500).for_each(|_| std::hint::spin_loop());
        match request.function {
            0 => {
                let number = args.try_into().expect("the host sends one number");
                answer(u64::from_le_bytes(number)).to_le_bytes().to_vec()
            }
            // The codec's byte becomes the status.
            1 => args,
            _ => b"\0\x05hello".to_vec(),
        }
    }

    /// The head of a reply, as given, whether there is such a reply or not.
    pub(crate) fn claim(&self, id: u64, kind: u32, len: u32) {
        self.reply.store_u32(KIND, kind);
        self.reply.store_u32(LEN, len);
        self.reply.store_u32(OUTPUT, 0);
        self.reply.store_u64(ID, id);
        fence(Ordering::SeqCst);
        self.ring();
    }

    /// A forbidden system call that was never made.
    pub(crate) fn claim_forbidden(&self, number: u32) {
        self.reply.store_u32(FORBIDDEN, number.wrapping_add(1));
    }

    /// The head of an event, as given.
    pub(crate) fn claim_event(&self, number: u64, kind: u32, len: u32) {
        self.reply.store_u32(EVENT_KIND, kind);
        self.reply.store_u32(EVENT_LEN, len);
        self.reply.store_u64(EVENT, number);
        fence(Ordering::SeqCst);
        self.ring();
    }

    /// A log of this length, whatever it holds.
    pub(crate) fn claim_log(&self, len: u32, lost: u32) {
        // The reply that follows will say that there is one.
        self.honest.write_log(1, b"");
        let at = RINGS + 2 * self.geometry.ring_bytes();
        self.reply
            .copy_in(at, &[9, 255, 255, 255, 255, b'x', 0xff, 0x1b]);
        self.reply.store_u32(LOG_LEN, len);
        self.reply.store_u32(LOG_LOST, lost);
    }

    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.eventfd, &1u64.to_ne_bytes());
    }

    /// One of the words that the host looks at, or one that nobody does.
    pub(crate) fn overwrite(&self, place: usize, number: u64) {
        const LOOKED_AT: [usize; 8] = [
            ID,
            KIND,
            OUTPUT,
            ACCEPTED,
            OUTPUT_TOTALS[0],
            EVENT,
            EVENT_KIND,
            LOG_LEN,
        ];
        let anywhere = place % (RINGS / 8) * 8;
        let at = LOOKED_AT.get(place % 10).copied().unwrap_or(anywhere);
        self.reply.store_u64(at, number);
    }

    pub(crate) fn claim_output(&self, bytes: u64) {
        for total in OUTPUT_TOTALS {
            self.reply.store_u64(total, bytes);
        }
    }

    pub(crate) fn claim_accepted(&self, id: u64) {
        self.reply.store_u64(ACCEPTED, id);
    }

    /// That the guest wants another worker in its place, since this call.
    pub(crate) fn claim_worn_out(&self, id: u64) {
        self.reply.store_u64(WORN_OUT, id);
        self.reply.store_u64(ASKED, id);
        fence(Ordering::SeqCst);
        self.ring();
    }

    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.geometry.payload_bytes_max()
    }

    /// Writes to every page that the host does not look at.
    pub(crate) fn dirty_all_pages(&self) {
        for at in (RINGS..self.reply.len()).step_by(4096) {
            self.reply.copy_in(at, &[1]);
        }
    }

    /// Changes the payload and the length of the reply to call `id` until there is a next call.
    pub(crate) fn keep_rewriting(&self, id: u64, len: usize) {
        let at = RINGS + 3 * self.geometry.ring_bytes();
        let mut turn = 0u8;
        while self.request.load_u64(PUBLISHED) == id {
            turn = turn.wrapping_add(1);
            self.reply.copy_in(at, &vec![turn; len.min(4096)]);
            self.reply.copy_in(at + len.saturating_sub(1), &[turn]);
            self.reply.store_u32(
                LEN,
                if turn.is_multiple_of(2) {
                    len as u32
                } else {
                    u32::MAX
                },
            );
        }
    }
}
