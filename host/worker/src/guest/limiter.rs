//! Ceilings of an instance's memory and tables, and the memory of having refused.
//!
//! A refused `memory.grow` is not a trap: the guest's allocator gives up with a bare `unreachable`. What was
//! refused is kept so that the trap can be explained.

use wasmtime::{Error, ResourceLimiter, Result};

use crate::process;

/// The limiter of one instance.
///
/// Modules have at most one memory (a second one does not validate), so a size is a total. They may have
/// several tables, whose sizes are added up.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_bytes_max: u64,
    table_elements_max: u64,
    table_elements: u64,
    denied: Option<Denied>,
}

/// A refusal that nothing has made up for yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The memory would have had `requested` bytes.
    Memory { limit: u64, requested: u64 },
    /// The tables would have had `requested` elements.
    Table { limit: u64, requested: u64 },
}

impl Limiter {
    pub(crate) fn new(memory_bytes_max: u64, table_elements_max: u64) -> Self {
        Self {
            memory_bytes_max,
            table_elements_max,
            table_elements: 0,
            denied: None,
        }
    }

    /// Forgets what an earlier call was refused.
    pub(crate) fn begin_call(&mut self) {
        self.denied = None;
    }

    /// The last refusal, unless the same thing was granted since: then the guest has coped with it.
    pub(crate) fn denied(&self) -> Option<Denied> {
        self.denied
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let requested = desired as u64;
        let granted = requested <= self.memory_bytes_max;
        self.denied = (!granted).then_some(Denied::Memory {
            limit: self.memory_bytes_max,
            requested,
        });
        // What is granted fails by the kernel alone, as pages of a single byte are not offered.
        Ok(granted && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: Error) -> Result<()> {
        // The kernel may have made a part of it accessible before it refused: that is in nobody's size, and would not be
        // reset.
        process::complain(&format!(
            "the kernel has refused memory that the guest's limits allow: {error:#}"
        ));
        std::process::abort()
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool> {
        // A growth that is granted here and fails later stays counted, which errs on the safe side.
        let requested = self
            .table_elements
            .saturating_add(desired.saturating_sub(current) as u64);
        let granted = requested <= self.table_elements_max;
        if granted {
            self.table_elements = requested;
        } else {
            self.denied = Some(Denied::Table {
                limit: self.table_elements_max,
                requested,
            });
        }
        Ok(granted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_kept_until_the_guest_has_coped_with_it() {
        let mut limiter = Limiter::new(100, 0);
        assert!(limiter.memory_growing(0, 100, None).unwrap());
        assert_eq!(limiter.denied(), None);
        assert!(!limiter.memory_growing(100, 101, None).unwrap());
        let denied = Denied::Memory {
            limit: 100,
            requested: 101,
        };
        assert_eq!(limiter.denied(), Some(denied));
        assert!(limiter.memory_growing(90, 95, None).unwrap());
        assert_eq!(limiter.denied(), None);
        assert!(!limiter.memory_growing(0, usize::MAX, None).unwrap());
        limiter.begin_call();
        assert_eq!(limiter.denied(), None);
        // The module's own limit is no refusal of ours.
        assert!(!limiter.memory_growing(50, 70, Some(60)).unwrap());
        assert_eq!(limiter.denied(), None);
    }

    #[test]
    fn tables_share_one_ceiling() {
        let mut limiter = Limiter::new(0, 10);
        assert!(limiter.table_growing(0, 6, None).unwrap());
        assert!(!limiter.table_growing(0, 5, None).unwrap());
        assert!(limiter.table_growing(6, 10, None).unwrap());
        assert!(!limiter.table_growing(0, 1, None).unwrap());
    }
}
