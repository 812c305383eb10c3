//! The log of a call: records that the guest made and the host has not read. The first ones are kept and the
//! later ones counted: where a program went wrong stands at the beginning more often than at the end.

use std::sync::atomic::Ordering;

use super::host::HostSlot;
use super::layout::reply;
use super::worker::WorkerSlot;

/// One byte for the level, four for the length of the text.
const HEADER: usize = 5;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// 1 for an error to 5 for a trace; anything else is the guest's mistake.
    pub level: u8,
    /// What the guest wrote; its word.
    pub text: String,
}

/// What a host found in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// In the order in which they were made.
    pub records: Vec<LogRecord>,
    /// How many found no room.
    pub lost: u32,
    /// How many bytes the records take in the slot: where the next look begins.
    pub read: usize,
}

impl HostSlot {
    /// The records from `read` bytes on, which is what the last look returned, or 0.
    ///
    /// A worker that lies about lengths gets fewer or stranger records, and costs no more than the log is long.
    #[must_use]
    pub fn log(&self, read: usize) -> Log {
        let room = self.geometry.ring_bytes();
        let len = (self.reply.load_u32(reply::LOG_LEN) as usize).min(room);
        let mut log = Log {
            lost: self.reply.load_u32(reply::LOG_LOST),
            read: len,
            ..Log::default()
        };
        let Some(new) = len.checked_sub(read).filter(|new| *new > 0) else {
            return log;
        };
        let mut bytes = Vec::new();
        self.reply
            .append_to(self.geometry.log() + read, new, &mut bytes);
        let mut rest = &bytes[..];
        while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
            let [level, len @ ..] = *header;
            let len = (u32::from_le_bytes(len) as usize).min(after.len());
            let (text, next) = after.split_at(len);
            let text = String::from_utf8_lossy(text).into_owned();
            log.records.push(LogRecord { level, text });
            rest = next;
        }
        log
    }
}

impl WorkerSlot {
    /// Keeps a record, if there is room for it.
    pub fn write_log(&self, level: u8, text: &[u8]) {
        self.has_told.store(true, Ordering::Relaxed);
        let room = self.geometry.ring_bytes();
        let len = self.reply.load_u32(reply::LOG_LEN) as usize;
        let end = len.saturating_add(HEADER).saturating_add(text.len());
        if end > room {
            let lost = self.reply.load_u32(reply::LOG_LOST);
            self.reply
                .store_u32(reply::LOG_LOST, lost.saturating_add(1));
            return;
        }
        let mut header = [level, 0, 0, 0, 0];
        header[1..].copy_from_slice(&(text.len() as u32).to_le_bytes());
        let at = self.geometry.log() + len;
        self.reply.copy_in(at, &header);
        self.reply.copy_in(at + HEADER, text);
        self.reply.store_u32(reply::LOG_LEN, end as u32);
    }

    /// Whether the current call has made records.
    #[must_use]
    #[inline]
    pub fn has_log(&self) -> bool {
        // With the count of lost ones, which lies beside it.
        self.reply.load_u64(reply::LOG_LEN) != 0
    }

    /// Forgets the records of the last call.
    pub(super) fn clear_log(&self) {
        self.reply.store_u64(reply::LOG_LEN, 0);
    }
}
