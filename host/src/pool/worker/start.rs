//! The start of a worker's process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use stockade_wire::message::{self, StopBy};
use stockade_wire::slot::machine::{Machine, StopStyle};
use stockade_wire::slot::{HostSlot, Listens};
use stockade_wire::sys::packet;

use super::life::{self, Life};
use super::startup::Startup;
use super::worn_out::Asking;
use super::{ACCEPT_WITHIN, Record, Worker};
use crate::clock;
use crate::pool::tally::Bytes;
use crate::pool::{Pool, StartFor};
use crate::process::{HandedNamespaces, Process};
use crate::spin;

/// What a worker has before it has a process.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) slot: HostSlot,
    pub(super) eventfd: OwnedFd,
    pub(super) given: Option<Arc<HandedNamespaces>>,
}

/// Memory to be shared with a worker, which is told there how to wait for its first call.
pub(super) fn slot_for(pool: &Pool, why: StartFor) -> io::Result<(HostSlot, [OwnedFd; 2])> {
    let (slot, memories) = HostSlot::new(pool.recipe().geometry)?;
    if why == StartFor::Call {
        slot.linger_first(spin::linger_first());
    }
    Ok((slot, memories))
}

impl Worker {
    /// Starts a worker's process and tells it what to be.
    pub(crate) fn start(pool: &Arc<Pool>, why: StartFor) -> io::Result<Self> {
        let recipe = pool.recipe();
        let id = pool.next_worker_id();
        let (slot, memories) = slot_for(pool, why)?;
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let process = recipe.start_worker()?;
        let given = pool.kept_namespaces(process.started_by());
        let mut setup = recipe.setup.clone();
        setup.worker = id;
        if let Some(given) = &given {
            setup.enter = given.said().clone();
        }
        let mut fds = vec![
            memories[0].as_fd(),
            memories[1].as_fd(),
            eventfd.as_fd(),
            recipe.artifact.as_fd(),
        ];
        fds.extend(recipe.directories.fds());
        fds.extend(given.iter().flat_map(|given| given.fds()));
        match packet::send(process.socket(), &message::encode(&setup), &fds) {
            // Dead already: its death will say why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
        let until = clock::after(Instant::now(), pool.config.spawn_timeout);
        let place = Place {
            id,
            slot,
            eventfd,
            given,
        };
        Ok(Self::of_process(pool, why, process, place, until))
    }

    /// A process that has been told what to be, and must say that it is ready before `until`.
    pub(super) fn of_process(
        pool: &Arc<Pool>,
        why: StartFor,
        process: Process,
        place: Place,
        until: Instant,
    ) -> Self {
        let recipe = pool.recipe();
        let style = match recipe.setup.stop {
            StopBy::Epoch | StopBy::Signal => StopStyle::Interrupt,
            StopBy::Kill => StopStyle::Kill,
        };
        let now = Instant::now();
        pool.supervisor.look_at(until);
        Self {
            id: place.id,
            process,
            slot: place.slot,
            eventfd: place.eventfd,
            pool: Arc::downgrade(pool),
            given: place.given,
            interrupt_grace: pool.config.interrupt_grace,
            dead: AtomicBool::new(false),
            life: Life::new(
                pool.config.retire,
                pool.config.idle_timeout,
                why,
                recipe.asks,
            ),
            pages_due: AtomicBool::new(false),
            record: Mutex::new(Record {
                machine: Machine::new(style),
                startup: Startup::Silent { until },
                handed: None,
                shown: None,
                walls: None,
                accept_within: ACCEPT_WITHIN,
                call: None,
                term: life::Term::new(now, pool.config.retire),
                asking: Asking::default(),
                bytes: Bytes::default(),
                settled: Vec::new(),
                scratch: Vec::new(),
                calls: 0,
                output_totals: [0; 2],
                empty_rings: 0,
                pages_touched: false,
                listens: Listens::default(),
                release_pages: None,
                renews: false,
            }),
        }
    }
}
