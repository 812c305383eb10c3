//! What keeps a pool in service.

use std::sync::Arc;

use arc_swap::Guard;

use crate::pool::{Detached, Pool};

/// Keeps a pool in service. Detached calls do without, so that they cannot keep it alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
}

/// What a call holds of its host.
#[derive(Debug)]
pub(crate) enum Hold {
    /// The pool stays in service while the call lives. As its host gave it: the count that all threads share
    /// is changed only if the host gets another pool meanwhile.
    Lent(Guard<Arc<Shared>>),
    /// The pool stays in service while the call lives.
    Service(Arc<Shared>),
    /// The call ends with the host's service: it is detached.
    Pool(Detached),
}

impl Hold {
    #[inline]
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        match self {
            Self::Lent(shared) => &shared.pool,
            Self::Service(shared) => &shared.pool,
            Self::Pool(detached) => detached.pool(),
        }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        match self {
            Self::Lent(shared) => Self::Service(Arc::clone(shared)),
            Self::Service(shared) => Self::Service(Arc::clone(shared)),
            Self::Pool(detached) => Self::Pool(detached.clone()),
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.leave_service();
    }
}
