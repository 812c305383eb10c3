//! What fuzzers feed with bytes that an attacker chose. Nothing here may panic, or allocate more than it was
//! given in proportion.

use rustix::io::pwrite;

use crate::message::{self, CompilerMessage, Failure, ProbeMessage, WorkerMessage};
use crate::slot::{Geometry, HostSlot, Seen, SeenEvent};

/// Messages from processes that are not trusted.
pub fn messages(bytes: &[u8]) {
    let _ = message::decode::<WorkerMessage>(bytes);
    let _ = message::decode::<CompilerMessage>(bytes);
    let _ = message::decode::<ProbeMessage>(bytes);
    let _ = message::decode::<Failure>(bytes);
}

/// The reply memory as a worker may have left it: the bytes are its words, and go on over rings and payload.
///
/// # Panics
/// When the kernel has no memory left, or a promise is broken.
pub fn slot(bytes: &[u8]) {
    const PAYLOAD_BYTES_MAX: usize = 8192;
    let geometry = Geometry::new(PAYLOAD_BYTES_MAX, 4096).expect("small");
    let (slot, [_, reply]) = HostSlot::new(geometry).expect("memory");
    let len = bytes.len().min(geometry.reply_bytes());
    pwrite(&reply, &bytes[..len], 0).expect("the slot is ours");
    for id in [1, 2, u64::MAX] {
        let _ = slot.accepted(id);
        for answered in [0, 1, u32::MAX] {
            if let SeenEvent::Event(head) = slot.look_for_event(id, answered) {
                let event = slot.read_event(head);
                assert_eq!(event.len(), head.len());
                let _ = message::split_host_call(&event);
            }
        }
        if let Seen::Reply(head) = slot.look(id) {
            let mut payload = Vec::new();
            slot.read(head, &mut payload);
            assert_eq!(payload.len(), head.len());
            let _ = message::decode::<Failure>(&payload);
        }
    }
    let _ = (slot.forbidden(), slot.output_totals(), slot.progress());
    for read in [0, 64, geometry.ring_bytes()] {
        let log = slot.log(read);
        assert!(log.read <= geometry.ring_bytes());
        let texts: usize = log.records.iter().map(|record| record.text.len()).sum();
        // What is no UTF-8 grows to three bytes.
        assert!(texts <= 3 * geometry.ring_bytes());
    }
    for stream in 0..2 {
        for read in [0, 64, slot.output_totals()[stream]] {
            let output = slot.output_since(stream, read);
            assert!(output.tail.len() <= geometry.ring_bytes());
            assert!(output.since(read).0.len() <= geometry.ring_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// What fuzzers have found worth keeping.
    fn replay(target: &str, feed: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(target);
        let files: Vec<_> = fs::read_dir(&corpus).unwrap().collect();
        assert!(files.len() >= 10, "{}", corpus.display());
        for file in files {
            feed(&fs::read(file.unwrap().path()).unwrap());
        }
    }

    #[test]
    fn the_corpora_do_no_harm() {
        replay("messages", super::messages);
        replay("slot", super::slot);
    }
}
