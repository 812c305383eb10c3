//! What a guest writes to stdout and stderr. A ring each keeps the last bytes; of a call whose output is followed
//! no byte is overwritten before the host has had it.

use std::sync::atomic::Ordering;

use super::host::HostSlot;
use super::layout::{EventKind, reply};
use super::worker::WorkerSlot;

/// The end of an output stream of one call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The last bytes written, as many as the slot keeps.
    pub tail: Vec<u8>,
    /// How many bytes were written before those.
    pub lost: u64,
}

impl Output {
    /// What was written behind the first `read` bytes, as far as it is kept, and how many bytes were written.
    #[must_use]
    pub fn since(&self, read: u64) -> (&[u8], u64) {
        let known = usize::try_from(read.saturating_sub(self.lost)).unwrap_or(usize::MAX);
        let new = self.tail.get(known..).unwrap_or_default();
        (new, self.lost.saturating_add(self.tail.len() as u64))
    }
}

impl HostSlot {
    /// The end of what the current call wrote to stdout (0) or stderr (1).
    ///
    /// # Panics
    /// When there is no such stream.
    #[must_use]
    pub fn output(&self, stream: usize) -> Output {
        self.output_since(stream, 0)
    }

    /// The same without the first `read` bytes that it wrote.
    ///
    /// # Panics
    /// When there is no such stream.
    #[must_use]
    pub fn output_since(&self, stream: usize, read: u64) -> Output {
        let total = self.reply.load_u64(reply::OUTPUT_TOTALS[stream]);
        let ring_len = self.geometry.ring_bytes();
        let new = total.saturating_sub(read);
        let kept = usize::try_from(new).map_or(ring_len, |new| new.min(ring_len));
        let mut tail = Vec::new();
        if kept > 0 {
            let ring = self.geometry.ring(stream);
            // The oldest byte that is wanted, and how much lies before the ring's end.
            let start = ((total - kept as u64) % ring_len as u64) as usize;
            let first = kept.min(ring_len - start);
            self.reply.append_to(ring + start, first, &mut tail);
            self.reply.append_to(ring, kept - first, &mut tail);
        }
        Output {
            tail,
            lost: total - kept as u64,
        }
    }

    /// How many bytes the worker claims to have written to stdout and stderr.
    #[must_use]
    pub fn output_totals(&self) -> [u64; 2] {
        reply::OUTPUT_TOTALS.map(|total| self.reply.load_u64(total))
    }
}

impl WorkerSlot {
    /// Writes to stdout (0) or stderr (1) for call `id`. Only the end of it is kept; but if the host follows the
    /// output, the worker waits until the host has had what there is no room for. `false` when the call is to be
    /// stopped.
    ///
    /// # Panics
    /// When there is no such stream.
    #[must_use]
    pub fn write_output(&self, id: u64, stream: usize, bytes: &[u8]) -> bool {
        if !self.listens().output || self.geometry.ring_bytes() == 0 {
            self.keep_output(stream, bytes);
            return true;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let [untaken, other] = [stream, 1 - stream].map(|stream| self.untaken_output(stream));
            let room = self.geometry.ring_bytes().saturating_sub(untaken as usize);
            // The host knows no order of the two streams but that in which it gets them.
            if room == 0 || other > 0 {
                if self.raise(id, EventKind::Output, &[]).is_none() {
                    return false;
                }
                self.output_is_taken();
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(room));
            self.keep_output(stream, now);
            rest = later;
        }
        true
    }

    fn output_total(&self, stream: usize) -> u64 {
        self.reply.load_u64(reply::OUTPUT_TOTALS[stream])
    }

    fn untaken_output(&self, stream: usize) -> u64 {
        self.output_total(stream) - self.taken[stream].load(Ordering::Relaxed)
    }

    fn output_is_taken(&self) {
        for (stream, taken) in self.taken.iter().enumerate() {
            taken.store(self.output_total(stream), Ordering::Relaxed);
        }
    }

    fn keep_output(&self, stream: usize, bytes: &[u8]) {
        let ring_len = self.geometry.ring_bytes();
        let end = self.output_total(stream).saturating_add(bytes.len() as u64);
        if ring_len > 0 {
            let kept = &bytes[bytes.len().saturating_sub(ring_len)..];
            let start = ((end - kept.len() as u64) % ring_len as u64) as usize;
            let (first, second) = kept.split_at(kept.len().min(ring_len - start));
            let ring = self.geometry.ring(stream);
            self.reply.copy_in(ring + start, first);
            self.reply.copy_in(ring, second);
        }
        self.reply.store_u64(reply::OUTPUT_TOTALS[stream], end);
        self.has_told.store(true, Ordering::Relaxed);
    }

    /// Forgets what the last call wrote.
    pub(super) fn clear_output(&self) {
        for (word, taken) in reply::OUTPUT_TOTALS.into_iter().zip(&self.taken) {
            self.reply.store_u64(word, 0);
            taken.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the current call has written anything.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        [0, 1]
            .into_iter()
            .any(|stream| self.output_total(stream) != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::slot::{Geometry, Linger, Listens, SeenEvent};

    const RING: usize = 4096;

    fn both(listens: Listens) -> (HostSlot, WorkerSlot) {
        let geometry = Geometry::new(1 << 16, RING).unwrap();
        let (host, [request, reply]) = HostSlot::new(geometry).unwrap();
        let bell: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let worker = WorkerSlot::new(geometry, request, reply, bell).unwrap();
        host.listen(listens);
        host.publish(1, 0, Linger::NONE, host.writer().finish().unwrap());
        assert!(worker.accept(1));
        (host, worker)
    }

    /// What the host has of both streams, one after the other as it came.
    fn take(host: &HostSlot, read: &mut [u64; 2], all: &mut Vec<(usize, u8)>) {
        for (stream, read) in read.iter_mut().enumerate() {
            let output = host.output_since(stream, *read);
            let (new, total) = output.since(*read);
            assert_eq!(output.lost, *read, "nothing is overwritten");
            all.extend(new.iter().map(|byte| (stream, *byte)));
            *read = total;
        }
    }

    #[test]
    fn followed_output_arrives_whole_and_in_its_order() {
        let (host, worker) = both(Listens {
            output: true,
            ..Listens::default()
        });
        let pieces: Vec<(usize, Vec<u8>)> = (0..2000usize)
            .map(|n| {
                let len = n * 37 % if n % 100 == 0 { 3 * RING } else { 300 };
                (n / 3 % 2, vec![n as u8; len])
            })
            .collect();
        let expected: Vec<_> = pieces
            .iter()
            .flat_map(|(stream, bytes)| bytes.iter().map(|byte| (*stream, *byte)))
            .collect();
        let (mut read, mut all, mut answered) = ([0; 2], Vec::new(), 0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for (stream, bytes) in &pieces {
                    assert!(worker.write_output(1, *stream, bytes));
                }
            });
            while !writer.is_finished() {
                // Looks that nobody asked for come between.
                take(&host, &mut read, &mut all);
                match host.look_for_event(1, answered) {
                    SeenEvent::Nothing => std::thread::yield_now(),
                    SeenEvent::Lie(lie) => panic!("{lie}"),
                    SeenEvent::Event(event) => {
                        assert_eq!(event.kind, EventKind::Output);
                        answered = event.place;
                        take(&host, &mut read, &mut all);
                        host.answer(1, answered, &[]);
                    }
                }
            }
        });
        take(&host, &mut read, &mut all);
        assert!(all == expected, "{} of {}", all.len(), expected.len());
        assert!(answered > 0);
    }

    #[test]
    fn a_call_that_is_to_be_stopped_does_not_wait_to_be_followed() {
        let (host, worker) = both(Listens {
            output: true,
            ..Listens::default()
        });
        assert!(worker.write_output(1, 0, &[7; RING]));
        host.cancel(1);
        assert!(!worker.write_output(1, 0, &[7]));
    }

    #[test]
    fn output_that_nobody_follows_keeps_its_end_and_never_waits() {
        let (host, worker) = both(Listens::default());
        assert!(worker.write_output(1, 0, &[1; RING]));
        assert!(worker.write_output(1, 0, &[2; 10]));
        let output = host.output(0);
        assert_eq!((output.tail.len(), output.lost), (RING, 10));
        assert!(output.tail.ends_with(&[1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]));
        assert_eq!(output.since(RING as u64), (&[2; 10][..], RING as u64 + 10));
        assert_eq!(output.since(u64::MAX), (&[][..], RING as u64 + 10));
    }

    #[test]
    fn totals_that_lie_cost_no_more_than_a_ring() {
        let (host, worker) = both(Listens::default());
        for (total, read) in [(u64::MAX, 0), (u64::MAX, 5), (3, 9), (0, u64::MAX)] {
            worker.reply.store_u64(reply::OUTPUT_TOTALS[1], total);
            let output = host.output_since(1, read);
            assert!(output.tail.len() <= RING);
            assert!(output.since(read).0.len() <= RING);
        }
    }
}
