//! What is known of each pool's fork server and of its workers.

use std::collections::{HashMap, VecDeque};
use std::sync::Weak;
use std::time::Instant;

use crate::pool::{Pool, Prepared, StartFor};
use crate::process::ForkServer;

/// What only the thread itself has of fork servers.
#[derive(Default)]
pub(in crate::supervisor) struct Forking {
    /// By the place of their pool in memory, which is nobody else's while it is known here.
    pub(super) nurseries: HashMap<usize, Nursery>,
    /// The places of the pools that servers work for.
    pub(super) servers: HashMap<u64, usize>,
}

impl Forking {
    pub(in crate::supervisor) fn is_empty(&self) -> bool {
        self.nurseries.is_empty()
    }

    pub(super) fn at(&mut self, place: usize) -> Option<&mut Nursery> {
        self.nurseries.get_mut(&place)
    }
}

/// One pool's fork server and its workers.
pub(super) struct Nursery {
    pub(super) pool: Weak<Pool>,
    pub(super) server: Option<Server>,
    /// What the server is asked for, or will be when it is ready.
    pub(super) current: Option<Current>,
    /// What the server was asked for and nobody wants any more, and until when its answer is waited for.
    pub(super) cancelled: Option<(u64, Instant)>,
    /// What comes after that; a spare last.
    pub(super) orders: VecDeque<StartFor>,
    /// Whether there is to be a spare when nothing else is wanted.
    pub(super) lacks_spare: bool,
    /// What the server that is there has forked and not told the end of, by the worker's number.
    pub(super) children: HashMap<u64, Child>,
    /// How many workers there are whose death the pool has not been told of, of whatever server.
    pub(super) alive: usize,
    /// The pool is over: the server has been told to end, and is killed then.
    pub(super) ends_by: Option<Instant>,
}

pub(super) struct Server {
    pub(super) key: u64,
    pub(super) server: ForkServer,
    pub(super) is_ready: bool,
}

pub(super) struct Current {
    pub(super) why: StartFor,
    /// When the worker must be ready.
    pub(super) until: Instant,
    /// How often a server has died of it.
    pub(super) deaths: u32,
    /// What the server was asked for.
    pub(super) prepared: Option<Prepared>,
}

#[derive(Clone, Copy)]
pub(super) struct Child {
    /// None when nobody waits to hear how it ended.
    pub(super) key: Option<u64>,
    /// It is dead; until then its server may say how it ended.
    pub(super) status_by: Option<Instant>,
}

impl Child {
    pub(super) const FORGOTTEN: Self = Self {
        key: None,
        status_by: None,
    };
}

pub(super) fn place_of(pool: &Weak<Pool>) -> usize {
    Weak::as_ptr(pool).addr()
}

impl Nursery {
    pub(super) fn of(pool: Weak<Pool>) -> Self {
        Self {
            pool,
            server: None,
            current: None,
            cancelled: None,
            orders: VecDeque::new(),
            lacks_spare: false,
            children: HashMap::new(),
            alive: 0,
            ends_by: None,
        }
    }

    pub(super) fn queue(&mut self, why: StartFor) {
        let spare = match why {
            StartFor::Spare => None,
            StartFor::Call | StartFor::Pool => {
                self.orders.iter().position(|o| *o == StartFor::Spare)
            }
        };
        let at = spare.unwrap_or(self.orders.len());
        self.orders.insert(at, why);
    }

    /// Whether its server is about to tell something that ought to be heard.
    pub(super) fn awaits(&self) -> bool {
        let mut children = self.children.values();
        self.cancelled.is_some() || children.any(|child| child.status_by.is_some())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let current = self.current.as_ref().map(|current| current.until);
        let children = self.children.values().filter_map(|child| child.status_by);
        let cancelled = self.cancelled.map(|(_, by)| by);
        let ends = self.ends_by;
        children.chain(current).chain(cancelled).chain(ends).min()
    }
}
