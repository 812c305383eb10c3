//! A worker that a fork server is asked for: made before its process, which gets its ends of everything when it is
//! forked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use super::Worker;
use super::start::{Place, slot_for};
use crate::pool::{Pool, StartFor};
use crate::process::{Ends, ForkServer, Unadopted};

/// A worker without a process. Each order has a new one: what an earlier attempt left may have an owner.
#[derive(Debug)]
pub(crate) struct Prepared {
    place: Place,
    ours: Ends,
    theirs: [OwnedFd; 3],
    memories: [OwnedFd; 2],
}

impl Prepared {
    pub(crate) fn new(pool: &Pool, why: StartFor) -> io::Result<Self> {
        let (slot, memories) = slot_for(pool, why)?;
        let (ours, theirs) = Ends::new()?;
        let place = Place {
            id: pool.next_worker_id(),
            slot,
            eventfd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            given: None,
        };
        Ok(Self {
            place,
            ours,
            theirs,
            memories,
        })
    }

    /// The worker's number.
    pub(crate) fn id(&self) -> u64 {
        self.place.id
    }

    pub(crate) fn order(&self, server: &ForkServer) -> io::Result<()> {
        let [socket, diagnostics, string] = &self.theirs;
        let [request, reply] = &self.memories;
        let fds = [
            socket.as_fd(),
            diagnostics.as_fd(),
            string.as_fd(),
            request.as_fd(),
            reply.as_fd(),
            self.place.eventfd.as_fd(),
        ];
        server.order(self.place.id, fds)
    }

    /// It has been forked.
    pub(crate) fn adopt(
        self,
        server: &ForkServer,
        pidfd: OwnedFd,
        pool: &Arc<Pool>,
        why: StartFor,
        until: Instant,
    ) -> Result<Worker, Unadopted> {
        let process = server.adopt(pidfd, self.ours)?;
        Ok(Worker::of_process(pool, why, process, self.place, until))
    }
}

impl Worker {
    pub(crate) fn pool(&self) -> &Weak<Pool> {
        &self.pool
    }
}
