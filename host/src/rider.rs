//! A call that waits in line, and that one of the same kind before it may take along.
//!
//! Those that are taken along travel as one call, whose [`Carrier`] is attended to by whichever of their callers looks.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::wake::wake;
use crate::{Codec, Error};

/// What calls must have in common to travel together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// Where its pool lies, which lives as long as the call does.
    pub(crate) pool: usize,
    /// The function's place.
    pub(crate) function: usize,
    pub(crate) codec: Codec,
    pub(crate) timeout: Option<Duration>,
}

/// A call in line.
#[derive(Debug)]
pub(crate) struct Rider {
    pub(crate) route: Route,
    /// Whether it takes no longer than what its caller does besides.
    pub(crate) is_short: bool,
    /// Encoded, as a caller's own code must not run for another's call.
    pub(crate) request: Vec<u8>,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
enum Stage {
    /// In line, or called out of it; its caller's waker, if it was.
    InLine(Option<Waker>),
    Riding(Arc<dyn Carrier>, Option<Waker>),
    Landed(Landed),
    /// Its caller has what there is to have, or is gone.
    Left,
}

/// How a ride has ended.
#[derive(Debug)]
pub(crate) enum Landed {
    /// With the worker's reply.
    Reply(Vec<u8>),
    Failed(Box<Error>),
    /// Before it had begun.
    Unbegun,
    /// Nobody knows: the application's code has panicked where it must not.
    Lost,
}

/// What carries calls that travel together.
pub(crate) trait Carrier: Debug + Send + Sync {
    /// Goes on, as far as that is possible now. Whoever rides is woken when there is something to be done.
    fn attend(self: Arc<Self>);

    /// One that rides does not want to any more.
    fn left(self: Arc<Self>);
}

impl Rider {
    pub(crate) fn new(route: Route, is_short: bool, request: Vec<u8>) -> Arc<Self> {
        Arc::new(Self {
            route,
            is_short,
            request,
            stage: Mutex::new(Stage::InLine(None)),
        })
    }

    /// How much of a request it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<u32>() + self.request.len()
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is called out of the line, where its caller had left this waker.
    pub(crate) fn call(&self, waker: Option<Waker>) {
        if let Stage::InLine(place) = &mut *self.stage() {
            *place = waker;
        }
    }

    /// Boards; `false` when its caller is gone.
    pub(crate) fn board(&self, carrier: Arc<dyn Carrier>) -> bool {
        let mut stage = self.stage();
        let Stage::InLine(waker) = &mut *stage else {
            return false;
        };
        let waker = waker.take();
        *stage = Stage::Riding(carrier, waker);
        true
    }

    /// Whether its caller still waits for it to land.
    pub(crate) fn rides(&self) -> bool {
        matches!(*self.stage(), Stage::Riding(..))
    }

    /// Has its caller look.
    pub(crate) fn wake(&self) {
        let waker = match &mut *self.stage() {
            Stage::Riding(_, waker) => waker.take(),
            _ => None,
        };
        if let Some(waker) = waker {
            wake(waker);
        }
    }

    /// Ends its ride, unless that has ended.
    pub(crate) fn land(&self, landed: Landed) {
        let mut stage = self.stage();
        if !matches!(*stage, Stage::Riding(..)) {
            return;
        }
        let rode = std::mem::replace(&mut *stage, Stage::Landed(landed));
        drop(stage);
        if let Stage::Riding(_, Some(waker)) = rode {
            wake(waker);
        }
    }
}

/// A call that has been taken along, as its caller holds it. Dropped, it is stopped.
#[derive(Debug)]
pub(crate) struct Ride(Arc<Rider>);

impl Ride {
    pub(crate) fn new(rider: Arc<Rider>) -> Self {
        Self(rider)
    }

    /// How it has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Landed> {
        let landed = self.look(cx).or_else(|carrier| {
            carrier.ok_or(())?.attend();
            self.look(cx).map_err(drop)
        });
        landed.map_or(Poll::Pending, Poll::Ready)
    }

    /// The same, or who carries it, if anybody does yet. Its caller is woken when there is more to be seen.
    fn look(&self, cx: &Context<'_>) -> Result<Landed, Option<Arc<dyn Carrier>>> {
        // Dropped after the lock: wakers are the application's code.
        let mut _old = None;
        let mut stage = self.0.stage();
        match &mut *stage {
            Stage::InLine(waker) | Stage::Riding(_, waker) => {
                if !waker.as_ref().is_some_and(|old| old.will_wake(cx.waker())) {
                    _old = waker.replace(cx.waker().clone());
                }
            }
            Stage::Landed(_) | Stage::Left => {}
        }
        if let Stage::Riding(carrier, _) = &*stage {
            return Err(Some(Arc::clone(carrier)));
        }
        match std::mem::replace(&mut *stage, Stage::Left) {
            Stage::Landed(landed) => Ok(landed),
            still => {
                *stage = still;
                Err(None)
            }
        }
    }
}

impl Drop for Ride {
    fn drop(&mut self) {
        let left = std::mem::replace(&mut *self.0.stage(), Stage::Left);
        if let Stage::Riding(carrier, _) = left {
            carrier.left();
        }
    }
}
