//! A worker from its start to its first call: what it says, and what it means when it says nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use stockade_wire::message::{self, WorkerMessage, WorkerRefusal};
use stockade_wire::namespaces::{Handed, Namespaces};
use stockade_wire::slot::Disbelief;
use stockade_wire::sys::packet;

use super::{ACCEPT_WITHIN, LastWord, Record, Worker};
use crate::Error;
use crate::error::Exit;
use crate::pool::StartError;
use crate::process::{HandedNamespaces, SeenNamespaces};
use crate::walls::ShownNamespaces;

/// Between calls a worker may have to run the module's start code, which took this many times less when it
/// was measured.
const START_CODE_SLACK: u32 = 3;

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Startup {
    /// Started, not heard of.
    Silent { until: Instant },
    /// Running the module's own start code.
    Loaded { until: Instant, since: Instant },
    /// Serving.
    Ready,
    /// It will never serve, and the pool has been told.
    Failed,
}

impl Startup {
    pub(super) fn is_pending(self) -> bool {
        self.until().is_some()
    }

    /// When it must be ready.
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Silent { until } | Self::Loaded { until, .. } => Some(until),
            Self::Ready | Self::Failed => None,
        }
    }
}

impl Record {
    /// Once, before it has loaded its artifact.
    fn may_hand_over(&self) -> bool {
        matches!(self.startup, Startup::Silent { .. }) && self.handed.is_none()
    }
}

impl Worker {
    /// The worker has said something on its socket; `false` when it will not be listened to any more.
    pub(crate) fn on_message(self: &Arc<Self>) -> bool {
        loop {
            match self.receive() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It is dying, and its death will tell how. If it only closed its socket before it was
                // ready, its time runs out.
                Ok((bytes, _)) if bytes.is_empty() => return false,
                // Longer than anything that it could have to say.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.hear(&[], Vec::new());
                }
                Err(_) => return false,
                Ok((bytes, fds)) => {
                    if !self.hear(&bytes, fds) {
                        return false;
                    }
                }
            }
        }
    }

    /// Looks at the namespaces of a worker that was forked into all that it will have, while it puts up its other walls.
    pub(crate) fn look_ahead(&self) {
        if let Some(seen) = self.process.seen_of_server() {
            let shown = ShownNamespaces::of(&self.process, &seen, None);
            self.lock().shown = Some(shown);
        }
    }

    /// Descriptors come with the first message, if at all.
    fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let socket = self.process.socket();
        match self.lock().may_hand_over() && !self.process.is_forked() {
            true => packet::receive_untrusted_with(socket, Handed::FDS_MAX),
            false => packet::receive_untrusted(socket).map(|bytes| (bytes, Vec::new())),
        }
    }

    fn hear(self: &Arc<Self>, bytes: &[u8], fds: Vec<OwnedFd>) -> bool {
        let mut record = self.lock();
        if record.startup == Startup::Failed {
            return false;
        }
        let Some(until) = record.startup.until() else {
            // A worker that serves has nothing to say here.
            let step = record.machine.lied();
            self.act(record, step, LastWord::Lie(Disbelief::Chatter));
            return false;
        };
        let error = match (message::decode(bytes), record.startup) {
            (Ok(WorkerMessage::Handed(said)), _) if record.may_hand_over() => {
                record.handed = Some(HandedNamespaces::new(said, fds));
                return true;
            }
            (Ok(WorkerMessage::Loaded(namespaces)), Startup::Silent { .. }) => 'refused: {
                let since = Instant::now();
                let handed = record.handed.take().unwrap_or_default();
                let shown = record.shown.take().unwrap_or_else(|| {
                    let given = self.given.as_deref();
                    let seen = SeenNamespaces::of_worker(&namespaces, &handed, given);
                    ShownNamespaces::of(&self.process, &seen, given)
                });
                record.handed = handed.is_made_by(&namespaces).then_some(handed);
                // Now, while the worker makes its first instance: what stands by now it cannot take down.
                if let Err(breach) = self.inspect(&mut record, &namespaces, &shown) {
                    if !self.process.is_dead() {
                        break 'refused breach;
                    }
                    // Whoever reaped it took what there was to see. Its end, which is about to be told, says why.
                    record.handed = None;
                }
                record.startup = Startup::Loaded { until, since };
                return true;
            }
            (Ok(WorkerMessage::Ready), startup) => 'refused: {
                // One that says no more than that has no namespaces.
                if record.walls.is_none() {
                    if matches!(startup, Startup::Loaded { .. }) {
                        // It was dead when they were looked at.
                        return false;
                    }
                    let (said, shown) = Default::default();
                    if let Err(breach) = self.inspect(&mut record, &said, &shown) {
                        break 'refused breach;
                    }
                }
                if let (Some(walls), Some(pool)) = (record.walls.take(), self.pool.upgrade()) {
                    pool.note_walls(walls);
                }
                if let Startup::Loaded { since, .. } = startup {
                    // Not before all its walls were seen to stand.
                    if let (Some(handed), Some(pool)) = (record.handed.take(), self.pool.upgrade())
                    {
                        pool.keep_namespaces(self.process.started_by(), handed);
                    }
                    let slack = since.elapsed().saturating_mul(START_CODE_SLACK);
                    record.accept_within = ACCEPT_WITHIN.max(slack);
                }
                (record.startup, record.handed) = (Startup::Ready, None);
                self.idle_from(&mut record, Instant::now());
                drop(record);
                if let Some(pool) = self.pool.upgrade() {
                    pool.worker_ready(Arc::clone(self));
                }
                return true;
            }
            (
                Ok(WorkerMessage::Refused {
                    why,
                    message: reason,
                }),
                _,
            ) => match why {
                WorkerRefusal::Artifact => StartError::Artifact(reason),
                WorkerRefusal::Init => StartError::Error(Error::Init { reason }),
                WorkerRefusal::Grant => StartError::Error(Error::config("wasi", reason)),
                WorkerRefusal::Dump => self.cannot_start("it spoke out of turn"),
                WorkerRefusal::Setup => StartError::Error(Error::Spawn { reason }),
            },
            (Ok(WorkerMessage::Handed(_) | WorkerMessage::Loaded(_)), _) => {
                self.cannot_start("it spoke out of turn")
            }
            (Err(malformed), _) => self.cannot_start(malformed),
        };
        self.fail_startup(record, error);
        false
    }

    /// Looks whether all walls stand that must.
    fn inspect(
        &self,
        record: &mut Record,
        namespaces: &Namespaces,
        shown: &ShownNamespaces,
    ) -> Result<(), StartError> {
        if let Some(pool) = self.pool.upgrade() {
            let walls = pool.inspect_walls(self, namespaces, shown);
            record.walls = Some(walls.map_err(|breach| self.cannot_start(breach))?);
        }
        Ok(())
    }

    fn fail_startup(self: &Arc<Self>, mut record: MutexGuard<'_, Record>, error: StartError) {
        (record.startup, record.handed) = (Startup::Failed, None);
        let step = record.machine.condemn();
        self.act(record, step, LastWord::Nothing);
        if let Some(pool) = self.pool.upgrade() {
            pool.worker_failed(self, error);
        }
    }

    /// The process died before it was ready.
    pub(super) fn died_early(
        self: &Arc<Self>,
        mut record: MutexGuard<'_, Record>,
        exit: Option<Exit>,
    ) {
        let how = match exit {
            Some(exit) => format!("it ended ({exit})"),
            None => "it ended".to_owned(),
        };
        let stderr = self.process.stderr_tail();
        let said = match stderr.trim() {
            "" => String::new(),
            said => format!("; it said: {said}"),
        };
        let while_loaded = format!("{how} while the module's start code ran{said}");
        let error = match (record.startup, exit) {
            // Killed from outside, for all we know: the next one may live.
            (Startup::Loaded { .. }, Some(Exit::Signal(_))) => self.cannot_start(while_loaded),
            (Startup::Loaded { .. }, _) => StartError::Error(Error::Init {
                reason: while_loaded,
            }),
            _ => self.cannot_start(format_args!(
                "no stockade worker, or broken: {how} before it was ready{said}"
            )),
        };
        (record.startup, record.handed) = (Startup::Failed, None);
        let step = record.machine.died(None, false);
        self.act(record, step, LastWord::Death(exit));
        if let Some(pool) = self.pool.upgrade() {
            pool.worker_failed(self, error);
        }
    }

    /// It was not ready in time.
    pub(super) fn started_too_slowly(self: &Arc<Self>, record: MutexGuard<'_, Record>) {
        let timeout = self.pool.upgrade().map(|pool| pool.config.spawn_timeout);
        let timeout = timeout.unwrap_or_default();
        let error = match record.startup {
            Startup::Loaded { .. } => StartError::Error(Error::Init {
                reason: format!(
                    "the module's start code did not end within {timeout:?} (`spawn_timeout`)"
                ),
            }),
            _ => self.cannot_start(format_args!(
                "it did not answer within {timeout:?} (`spawn_timeout`)"
            )),
        };
        self.fail_startup(record, error);
    }

    fn cannot_start(&self, why: impl std::fmt::Display) -> StartError {
        let reason = match self.pool.upgrade() {
            Some(pool) => format!("{}: {why}", pool.recipe().program.shown()),
            None => why.to_string(),
        };
        StartError::Error(Error::Spawn { reason })
    }
}
