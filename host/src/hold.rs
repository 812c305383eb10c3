//! What keeps a pool in service.

use std::sync::Arc;

use crate::pool::Pool;

/// Keeps a pool in service. Detached calls do without, so that they cannot keep it alive.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
}

/// What a call holds of its host.
#[derive(Debug, Clone)]
pub(crate) enum Hold {
    /// The pool stays in service while the call lives.
    Service(Arc<Shared>),
    /// The call ends with the pool's service: it is detached.
    Pool(Arc<Pool>),
}

impl Hold {
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        match self {
            Self::Service(shared) => &shared.pool,
            Self::Pool(pool) => pool,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.pool.shut_down();
    }
}
