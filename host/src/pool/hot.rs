//! The worker that served last, where the next call finds it without the pool's lock.
//!
//! A gate says whether whoever holds the pool's lock leaves it to others: shut, everything goes through the lock.
//! Whoever puts a worker here without the lock has looked at the gate before, and looks again afterwards. The lock's
//! holder shuts the gate first and takes what is here then. Both change the one place, so one of them comes first
//! there: either the holder finds the worker, or whoever put it finds the gate changed. Nothing is left behind.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::atomic::AtomicCell;

/// Room for one worker, a `T` of the size of a pointer.
pub(super) struct Hot<T> {
    place: AtomicCell<Option<T>>,
    /// Whether there is one, about: it may have changed already.
    taken: AtomicBool,
    /// Changed under the pool's lock only, and never back: odd while it is shut.
    gate: AtomicU64,
}

/// What the gate was when it was seen open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pass(u64);

impl<T> fmt::Debug for Hot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shut = self.gate.load(Ordering::Relaxed) % 2 == 1;
        f.debug_struct("Hot")
            .field("shut", &shut)
            .finish_non_exhaustive()
    }
}

impl<T> Default for Hot<T> {
    fn default() -> Self {
        Self {
            place: AtomicCell::new(None),
            taken: AtomicBool::new(false),
            gate: AtomicU64::new(0),
        }
    }
}

impl<T> Hot<T> {
    /// `None` while the gate is shut.
    #[inline]
    pub(super) fn pass(&self) -> Option<Pass> {
        let gate = self.gate.load(Ordering::Acquire);
        gate.is_multiple_of(2).then_some(Pass(gate))
    }

    /// Whether the gate has been open all the time.
    #[inline]
    pub(super) fn is_valid(&self, pass: Pass) -> bool {
        self.gate.load(Ordering::Acquire) == pass.0
    }

    #[inline]
    pub(super) fn take(&self) -> Option<T> {
        let worker = self.place.take();
        if worker.is_some() {
            self.taken.store(false, Ordering::Relaxed);
        }
        worker
    }

    /// Whether a worker that is put here would take another one's place, which would be nobody's for a moment.
    #[inline]
    pub(super) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Puts a worker here, and returns the one that was here before.
    #[inline]
    pub(super) fn put(&self, worker: T) -> Option<T> {
        let displaced = self.place.swap(Some(worker));
        self.taken.store(true, Ordering::Relaxed);
        displaced
    }

    /// `false` if it was shut. For the holder of the pool's lock.
    pub(super) fn shut(&self) -> bool {
        let was_open = self.gate.load(Ordering::Relaxed).is_multiple_of(2);
        if was_open {
            self.gate.fetch_add(1, Ordering::AcqRel);
        }
        was_open
    }

    /// The opposite. For the holder of the pool's lock, who has shut it.
    pub(super) fn open(&self) {
        self.gate.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What a pool does with its hot place, with tokens for workers.
    struct Tokens {
        hot: Hot<Arc<usize>>,
        idle: Mutex<Idle>,
    }

    struct Idle {
        tokens: Vec<Arc<usize>>,
        calm: bool,
    }

    impl Tokens {
        fn locked<R>(&self, f: impl FnOnce(&mut Idle) -> R) -> R {
            let mut idle = self.idle.lock().unwrap();
            if self.hot.shut()
                && let Some(token) = self.hot.take()
            {
                idle.tokens.push(token);
            }
            let result = f(&mut idle);
            if idle.calm {
                self.hot.open();
            }
            result
        }

        fn acquire(&self) -> Option<Arc<usize>> {
            if let Some(pass) = self.hot.pass()
                && let Some(token) = self.hot.take()
            {
                if self.hot.is_valid(pass) {
                    return Some(token);
                }
                self.release(token);
            }
            self.locked(|idle| idle.tokens.pop())
        }

        fn release(&self, token: Arc<usize>) {
            let put = |token| self.locked(|idle| idle.tokens.push(token));
            let Some(pass) = self.hot.pass() else {
                return put(token);
            };
            if let Some(displaced) = self.hot.put(token) {
                put(displaced);
            }
            if !self.hot.is_valid(pass)
                && let Some(token) = self.hot.take()
            {
                put(token);
            }
        }
    }

    #[test]
    fn nothing_is_left_behind_the_gate() {
        const TOKENS: usize = 3;
        let tokens = Tokens {
            hot: Hot::default(),
            idle: Mutex::new(Idle {
                tokens: (0..TOKENS).map(Arc::new).collect(),
                calm: true,
            }),
        };
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let users: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20_000 {
                            if let Some(token) = tokens.acquire() {
                                tokens.release(token);
                            }
                        }
                    })
                })
                .collect();
            let (tokens, over) = (&tokens, &over);
            let holder = scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    tokens.locked(|idle| idle.calm = false);
                    // Whoever was past the gate comes back through the lock.
                    std::thread::yield_now();
                    tokens.locked(|idle| idle.calm = true);
                }
            });
            users.into_iter().for_each(|user| user.join().unwrap());
            over.store(true, Ordering::Relaxed);
            holder.join().unwrap();
        });
        tokens.locked(|idle| {
            idle.calm = false;
            idle.tokens.sort_unstable();
            let all: Vec<_> = idle.tokens.iter().map(|token| **token).collect();
            assert_eq!(all, [0, 1, 2]);
        });
        assert!(tokens.hot.pass().is_none() && tokens.hot.take().is_none());
    }

    #[test]
    fn the_place_needs_no_lock() {
        assert!(AtomicCell::<Option<Arc<u8>>>::is_lock_free());
    }
}
