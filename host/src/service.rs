//! The pools of a host: the one that new calls get, and those of earlier modules, until their calls are over.
//!
//! A call holds on to the pool that was current when it was made, so it runs the module that its types were
//! compared with, and a pool whose module was replaced goes when nobody holds on to it any more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::sync::OwnedMutexGuard;

use crate::hold::{Hold, Shared};
use crate::pool::Pool;
use crate::{Error, ShutdownReport, Stats};

/// What a host is, however many clones of its handle there are.
#[derive(Debug)]
pub(crate) struct Service {
    /// Read at every call, without a lock.
    current: ArcSwap<Shared>,
    pools: Mutex<Pools>,
    /// Fair: one reload after the other, in the order in which they began.
    turns: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Default)]
struct Pools {
    /// Of earlier modules, oldest first; some may be gone.
    older: Vec<Weak<Pool>>,
    /// All there were when closing began: there will be no others.
    closing: Option<Vec<Arc<Pool>>>,
}

impl Service {
    pub(crate) fn new(first: Arc<Shared>) -> Self {
        Self {
            current: ArcSwap::new(first),
            pools: Mutex::default(),
            turns: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pool of the newest module, for a call. Far cheaper than [`Self::current`] while a thread has few.
    #[inline]
    pub(crate) fn lend(&self) -> Hold {
        Hold::Lent(self.current.load())
    }

    /// The pool of the newest module.
    pub(crate) fn current(&self) -> Arc<Shared> {
        self.current.load_full()
    }

    /// Waits until no other reload is under way.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turns).lock_owned().await
    }

    /// From now on calls get the pool of this module.
    pub(crate) fn replace(&self, new: Arc<Shared>) -> Result<(), Error> {
        let mut pools = self.lock();
        if pools.closing.is_some() {
            drop(pools);
            return Err(Error::Closed);
        }
        new.pool.enter_service();
        let old = self.current.swap(new);
        old.pool.supersede();
        pools.older.retain(|pool| pool.strong_count() > 0);
        pools.older.push(Arc::downgrade(&old.pool));
        drop(pools);
        // The last holder ends its workers.
        drop(old);
        Ok(())
    }

    /// Those that are there, the newest last.
    fn all(&self, pools: &Pools) -> Vec<Arc<Pool>> {
        let mut all: Vec<_> = pools.older.iter().filter_map(Weak::upgrade).collect();
        all.push(Arc::clone(&self.current.load().pool));
        all
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closing.is_some()
    }

    /// Closes every pool, and waits for the last worker's end.
    pub(crate) async fn close(&self) -> ShutdownReport {
        let all = {
            let mut pools = self.lock();
            let all = self.all(&pools);
            pools.closing.get_or_insert(all).clone()
        };
        for pool in &all {
            pool.begin_closing();
        }
        let mut report: Option<ShutdownReport> = None;
        for pool in all {
            let other = pool.close().await;
            report = Some(match report {
                None => other,
                Some(report) => report.and(other),
            });
        }
        report.expect("there is a current pool")
    }

    pub(crate) fn stats(&self) -> Stats {
        let all = self.all(&self.lock());
        Pool::stats(&all)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Detached calls of earlier modules end with their host, like all others.
        for pool in self.lock().older.iter().filter_map(Weak::upgrade) {
            pool.host_is_gone();
        }
    }
}
